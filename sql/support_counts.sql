-- What is left after a step of the support filter.
-- in:  kept_events: user_id, session_id, item_id, one row an event
-- out: events, items, users, sessions
SELECT
    COUNT(*) AS events,
    COUNT(DISTINCT item_id) AS items,
    COUNT(DISTINCT user_id) AS users,
    COUNT(DISTINCT session_id) AS sessions
FROM kept_events
