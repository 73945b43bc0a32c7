-- The estimates of one run, in the order of their series.
SELECT series.backend, series.workload, series.metric, series.unit, series.better,
       estimate.n, estimate.median, estimate.low, estimate.high,
       estimate.ratio, estimate.ratio_low, estimate.ratio_high
FROM estimate JOIN series ON series.number = estimate.series
WHERE estimate.run = ?1
  AND (?2 IS NULL OR series.backend = ?2)
  AND (?3 IS NULL OR series.workload = ?3)
  AND (?4 IS NULL OR series.metric = ?4)
ORDER BY estimate.series
