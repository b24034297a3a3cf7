-- Moments of the dwell times of the sessions that closed in each hour; m2_s2 is the sum of squared
-- deviations from the mean, so that hours can be merged without going back to the values.
-- in:  closed: rows of `sessions` of the range
-- out: rows of `dwell_hours`
SELECT
    hour,
    COUNT(dwell_s) AS n,
    AVG(dwell_s) AS mean_s,
    VAR_POP(dwell_s) * COUNT(dwell_s) AS m2_s2,
    MIN(dwell_s) AS min_s,
    MAX(dwell_s) AS max_s
FROM closed
WHERE dwell_s IS NOT NULL
GROUP BY hour
