INSERT INTO estimate (series, run, n, median, low, high, ratio, ratio_low, ratio_high)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
