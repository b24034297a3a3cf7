-- How often, and by how many users, each item was touched in each hour.
-- in:  placed: what sessionize.sql gives; :first_us and :stop_us, the range's ends
-- out: rows of `item_hours`
SELECT
    hour,
    item_id,
    COUNT(*) AS events,
    COUNT(DISTINCT user_id) AS users
FROM placed
WHERE hour >= TIMESTAMP_MICROS(:first_us) AND hour < TIMESTAMP_MICROS(:stop_us)
GROUP BY hour, item_id
