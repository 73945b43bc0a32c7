-- The series that fit. An absent parameter fits everything.
SELECT number, backend, workload, metric, unit, better
FROM series
WHERE (?1 IS NULL OR backend = ?1)
  AND (?2 IS NULL OR workload = ?2)
  AND (?3 IS NULL OR metric = ?3)
