-- Dwell times within sessions that are still open.
-- in:  opened: rows of `open_sessions` of one hour
-- out: dwell_us (null on the last event of each)
SELECT
    LEAD(UNIX_MICROS(event_time)) OVER (
        PARTITION BY user_id, session_id
        ORDER BY position
    ) - UNIX_MICROS(event_time) AS dwell_us
FROM opened
