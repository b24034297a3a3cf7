-- The hundred items with the most events; narrow the hours with a WHERE on `hour`.
-- in:  item_hours: events and users of one item in one hour
-- out: item_id, events, hours (in which it had any), share (of the events of all items)
WITH items AS (
    SELECT
        item_id,
        SUM(events) AS events,
        COUNT(DISTINCT hour) AS hours
    FROM item_hours
    GROUP BY item_id
)

SELECT
    item_id,
    events,
    hours,
    events * 1.0 / SUM(events) OVER () AS share
FROM items
ORDER BY events DESC, item_id ASC
LIMIT 100
