-- Events per item and hour, of items in the vocabulary.
-- in:  recent_hours: rows of `item_hours`; vocabulary: item, item_id
-- out: item, hour_index (hours since 1970), events
SELECT
    vocabulary.item,
    UNIX_MICROS(recent_hours.hour) DIV 3600000000 AS hour_index,
    recent_hours.events
FROM recent_hours
INNER JOIN vocabulary ON recent_hours.item_id = vocabulary.item_id
