-- Dwell times within sessions that are still open, those of robots' events aside.
-- in:  opened: rows of `open_sessions` of one hour
-- out: dwell_us (null on the last event of each)
WITH followed AS (
    SELECT
        is_robot,
        UNIX_MICROS(event_time) AS event_us,
        UNIX_MICROS(passive_until) AS passive_us,
        LEAD(UNIX_MICROS(event_time)) OVER (
            PARTITION BY user_id, session_id
            ORDER BY position
        ) AS next_us
    FROM opened
)

SELECT IF(next_us IS NULL, NULL, LEAST(next_us, passive_us)) - event_us AS dwell_us
FROM followed
WHERE is_robot IS NULL
