-- Events of sessions of at least :least events (ASARS 3.1).
-- in:  kept_events; out: its rows
WITH supported AS (
    SELECT session_id
    FROM kept_events
    GROUP BY session_id
    HAVING COUNT(*) >= :least
)

SELECT events_in.*
FROM kept_events AS events_in
LEFT SEMI JOIN supported ON events_in.session_id = supported.session_id
