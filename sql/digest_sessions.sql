-- A fingerprint of each hour's rows that no order of rows or files can change.
-- in:  placed_rows: rows of `sessions` or `open_sessions`
-- out: hour_index (hours since 1970), digest, row_count
SELECT
    UNIX_MICROS(hour) DIV 3600000000 AS hour_index,
    CONCAT(COUNT(*), '-', HEX(BIT_XOR(XXHASH64(
        session_id,
        session_start,
        position,
        event_time,
        user_id,
        item_id,
        event_type,
        value,
        given_session,
        ARRAY_SORT(MAP_ENTRIES(context)),
        event_key,
        edge
    )))) AS digest,
    COUNT(*) AS row_count
FROM placed_rows
GROUP BY UNIX_MICROS(hour)
