-- Moments of the dwell times of the sessions that closed in each hour; m2_s2 is the sum of squared
-- deviations from the mean, so that hours can be merged without going back to the values.  Summed
-- in whole microseconds, because sums of fractions would differ with the order of the rows.
-- in:  closed: rows of `sessions` of the range
-- out: rows of `dwell_hours`
WITH dwells AS (
    SELECT
        hour,
        CAST(ROUND(dwell_s * 1E6D) AS DECIMAL(38, 0)) AS dwell_us
    FROM closed
    WHERE dwell_s IS NOT NULL
),

sums AS (
    SELECT
        hour,
        COUNT(*) AS n,
        SUM(dwell_us) AS total,
        SUM(dwell_us * dwell_us) AS squares,
        CAST(SUM(dwell_us) DIV COUNT(*) AS DECIMAL(38, 0)) AS middle,
        MIN(dwell_us) AS least,
        MAX(dwell_us) AS most
    FROM dwells
    GROUP BY hour
)

SELECT
    hour,
    n,
    CAST(total AS DOUBLE) / n / 1E6D AS mean_s,
    -- About a whole number close to the mean, which the last term then moves to the mean.
    (
        CAST(squares - 2 * middle * total + n * middle * middle AS DOUBLE)
        - POWER(CAST(total - n * middle AS DOUBLE), 2) / n
    ) / 1E12D AS m2_s2,
    CAST(least AS DOUBLE) / 1E6D AS min_s,
    CAST(most AS DOUBLE) / 1E6D AS max_s
FROM sums
