-- How long users dwelt: events by whole minutes of dwell time.
-- in:  sessions: one event of a closed session; the last event of a session has no dwell time
-- out: dwell_min (0 is less than a minute), events, share (of all events with a dwell time)
WITH minutes AS (
    SELECT
        CAST(FLOOR(dwell_s / 60) AS BIGINT) AS dwell_min,
        COUNT(*) AS events
    FROM sessions
    WHERE dwell_s IS NOT NULL
    GROUP BY CAST(FLOOR(dwell_s / 60) AS BIGINT)
)

SELECT
    dwell_min,
    events,
    events * 1.0 / SUM(events) OVER () AS share
FROM minutes
ORDER BY dwell_min
