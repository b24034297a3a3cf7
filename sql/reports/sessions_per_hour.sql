-- How many sessions closed in each hour, and what they were like.
-- in:  sessions: one event of a closed session
-- out: hour, sessions, users, events, events_per_session, mean_dwell_s; a row per hour that has any
SELECT
    hour,
    COUNT(DISTINCT session_id) AS sessions,
    COUNT(DISTINCT user_id) AS users,
    COUNT(*) AS events,
    COUNT(*) * 1.0 / COUNT(DISTINCT session_id) AS events_per_session,
    AVG(dwell_s) AS mean_dwell_s
FROM sessions
GROUP BY hour
ORDER BY hour
