-- sqlfluff:dialect:duckdb
-- Moments of the dwell times of the sessions that closed in each hour.
-- in:  placed; variables stop_hour and hour_us
-- out: rows of `dwell_hours`
SELECT
    MAKE_TIMESTAMPTZ(close_hour * GETVARIABLE('hour_us')) AS hour,
    COUNT(*) AS n,
    AVG(dwell_s) AS mean_s,
    VAR_POP(dwell_s) * COUNT(*) AS m2_s2,
    MIN(dwell_s) AS min_s,
    MAX(dwell_s) AS max_s
FROM placed
WHERE close_hour < GETVARIABLE('stop_hour') AND dwell_s IS NOT NULL
GROUP BY close_hour
