-- A fingerprint of each hour's events that no order of rows or files can change.
-- Where a value is missing is said apart: hashing would pass over it.
-- in:  kept: rows of `events`
-- out: hour_index (hours since 1970), digest, row_count
SELECT
    UNIX_MICROS(hour) DIV 3600000000 AS hour_index,
    CONCAT(COUNT(*), '-', HEX(BIT_XOR(XXHASH64(
        event_time,
        user_id,
        item_id,
        event_type,
        value IS NULL,
        value,
        given_session IS NULL,
        given_session,
        SIZE(context),
        ARRAY_SORT(MAP_ENTRIES(context)),
        event_key
    )))) AS digest,
    COUNT(*) AS row_count
FROM kept
GROUP BY UNIX_MICROS(hour)
