-- Events on items with at least :least events (ASARS 3.1).
-- in:  kept_events; out: its rows
WITH supported AS (
    SELECT item_id
    FROM kept_events
    GROUP BY item_id
    HAVING COUNT(*) >= :least
)

SELECT events_in.*
FROM kept_events AS events_in
LEFT SEMI JOIN supported ON events_in.item_id = supported.item_id
