-- A fingerprint of each hour's events that no order of rows or files can change.
-- Where a value is missing is said apart: hashing would pass over it.  Of a user's events of equal
-- time the order of their records counts too; the first, like one that is alone, adds nothing.
-- in:  kept: rows of `events`
-- params: passes, nth: only every so many-th hour, so that memory holds what a pass looks at
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
            -- A single field is in order, and sorting costs as much as all the rest.
            IF(
                CARDINALITY(context) > 1,
                ARRAY_SORT(MAP_ENTRIES(context)),
                MAP_ENTRIES(context)
            ),
            event_key
        ) AS content
    FROM kept
    WHERE MOD(CAST(UNIX_MICROS(hour) / 3600000000 AS BIGINT), :passes) = :nth
),

ties AS (
    SELECT
        user_id,
        event_time
    FROM kept
    WHERE MOD(CAST(UNIX_MICROS(hour) / 3600000000 AS BIGINT), :passes) = :nth
    GROUP BY user_id, event_time
    HAVING COUNT(*) > 1
),

ranked AS (
    SELECT
        hashed.hour,
        hashed.content,
        ROW_NUMBER() OVER (
            PARTITION BY hashed.hour, hashed.user_id, hashed.event_time
            ORDER BY hashed.source_file, hashed.line, hashed.event_key
        ) AS tie_rank
    FROM hashed
    SEMI JOIN ties
        ON hashed.user_id = ties.user_id AND hashed.event_time = ties.event_time
    UNION ALL
    SELECT
        hashed.hour,
        hashed.content,
        1 AS tie_rank
    FROM hashed
    ANTI JOIN ties
        ON hashed.user_id = ties.user_id AND hashed.event_time = ties.event_time
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
