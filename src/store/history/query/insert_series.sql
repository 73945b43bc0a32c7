INSERT INTO series (backend, workload, metric, unit, better) VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT (backend, workload, metric) DO NOTHING
