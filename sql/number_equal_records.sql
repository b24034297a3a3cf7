-- Of equal records of one file, which have one key by what they say, each gets a key of its own:
-- the first keeps the key, by line, the others add their number to it.  So the second of a file is
-- the same event as the second of another, and a file that comes twice tells of nothing new.
-- Lines 4, 7 and 9 of a file with the keys a, b and a have the keys a, b and a-2.
-- in:  arrived: rows of `events` of a log that gives no keys
--      repeated: source_file, event_key of those that a file tells of more than once
-- out: rows of `events`
WITH numbered AS (
    SELECT
        arrived.*,
        ROW_NUMBER() OVER (
            PARTITION BY arrived.source_file, arrived.event_key
            ORDER BY arrived.line
        ) AS nth
    FROM arrived
    SEMI JOIN repeated
        ON
            arrived.source_file = repeated.source_file
            AND arrived.event_key = repeated.event_key
)

SELECT
    hour,
    event_time,
    user_id,
    item_id,
    event_type,
    value,
    given_session,
    context,
    event_key,
    source_file,
    line
FROM arrived
ANTI JOIN repeated
    ON
        arrived.source_file = repeated.source_file
        AND arrived.event_key = repeated.event_key
UNION ALL
SELECT
    hour,
    event_time,
    user_id,
    item_id,
    event_type,
    value,
    given_session,
    context,
    IF(nth = 1, event_key, CONCAT(event_key, '-', nth)) AS event_key,
    source_file,
    line
FROM numbered
