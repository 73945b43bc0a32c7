-- The estimates of one run, in the order of their series.
SELECT series, n, median, low, high, ratio, ratio_low, ratio_high
FROM estimate
WHERE run = ?1
ORDER BY series
