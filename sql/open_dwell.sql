-- Dwell times within sessions that are still open.
-- in:  opened: rows of `open_sessions` of one hour
-- out: hour, dwell_s (null on the last event of each)
SELECT
    hour,
    (
        LEAD(UNIX_MICROS(event_time)) OVER (
            PARTITION BY user_id, session_id
            ORDER BY position
        ) - UNIX_MICROS(event_time)
    ) / 1E6D AS dwell_s
FROM opened
