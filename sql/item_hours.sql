-- How often, and by how many users, each item was touched in each hour.
-- in:  hour_events: rows of `events` of the range
-- out: rows of `item_hours`
SELECT
    hour,
    item_id,
    COUNT(*) AS events,
    COUNT(DISTINCT user_id) AS users
FROM hour_events
GROUP BY hour, item_id
