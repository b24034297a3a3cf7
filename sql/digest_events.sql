-- A fingerprint of each hour's events that no order of rows or files can change.
-- Where a value is missing is said apart: hashing would pass over it.  Of a user's events of equal
-- time the order of their records counts too; the first, like one that is alone, adds nothing.
-- in:  kept: rows of `events`
-- out: hour_index (hours since 1970), digest, row_count
WITH hashed AS (
    SELECT
        hour,
        event_time,
        user_id,
        source_file,
        line,
        event_key,
        XXHASH64(
            event_time,
            user_id,
            item_id,
            event_type,
            value IS NULL,
            value,
            given_session IS NULL,
            given_session,
            CAST(CARDINALITY(context) AS INT),
            ARRAY_SORT(MAP_ENTRIES(context)),
            event_key
        ) AS content
    FROM kept
),

ranked AS (
    SELECT
        hour,
        content,
        ROW_NUMBER() OVER (
            PARTITION BY hour, user_id, event_time
            ORDER BY source_file, line, event_key
        ) AS tie_rank
    FROM hashed
)

SELECT
    CAST(UNIX_MICROS(hour) / 3600000000 AS BIGINT) AS hour_index,
    CONCAT(
        COUNT(*),
        '-',
        HEX(BIT_XOR(IF(tie_rank = 1, content, XXHASH64(content, CAST(tie_rank AS INT)))))
    ) AS digest,
    COUNT(*) AS row_count
FROM ranked
GROUP BY hour
