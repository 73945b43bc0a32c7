SELECT number, unit, better FROM series WHERE backend = ?1 AND workload = ?2 AND metric = ?3
