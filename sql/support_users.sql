-- Events of users with at least :least sessions (ASARS 3.1).
-- in:  kept_events; out: its rows
WITH supported AS (
    SELECT user_id
    FROM kept_events
    GROUP BY user_id
    HAVING COUNT(DISTINCT session_id) >= :least
)

SELECT events_in.*
FROM kept_events AS events_in
LEFT SEMI JOIN supported ON events_in.user_id = supported.user_id
