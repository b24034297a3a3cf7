-- A fingerprint of each hour's events that no order of rows or files can change.
-- Where a value is missing is said apart: hashing would pass over it.  Of a user's events of equal
-- time the order of their records counts too; the first, like one that is alone, adds nothing.
-- in:  kept: rows of `events`
-- params: passes, nth: only every so many-th hour, so that memory holds what a pass looks at
-- out: hour_index (hours since 1970), digest, row_count
WITH events AS (
    SELECT *
    FROM kept
    WHERE MOD(CAST(UNIX_MICROS(hour) / 3600000000 AS BIGINT), :passes) = :nth
),

ties AS (
    SELECT
        user_id,
        event_time
    FROM events
    GROUP BY user_id, event_time
    HAVING COUNT(*) > 1
),

ranked AS (
    SELECT
        events.*,
        ROW_NUMBER() OVER (
            PARTITION BY events.hour, events.user_id, events.event_time
            ORDER BY events.source_file, events.line, events.event_key
        ) AS tie_rank
    FROM events
    SEMI JOIN ties
        ON events.user_id = ties.user_id AND events.event_time = ties.event_time
),

-- To hash costs more than all the rest, so each event is hashed once, without regard to ties.
-- Those behind the first of a tie come twice again: as they are, which takes them out, since equal
-- numbers leave nothing of each other, and with their rank.
terms AS (
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
        1 AS tie_rank,
        1 AS counted
    FROM events
    UNION ALL
    SELECT
        ranked.hour,
        ranked.event_time,
        ranked.user_id,
        ranked.item_id,
        ranked.event_type,
        ranked.value,
        ranked.given_session,
        ranked.context,
        ranked.event_key,
        IF(sides.is_as_it_is, 1, ranked.tie_rank) AS tie_rank,
        0 AS counted
    FROM ranked
    CROSS JOIN (
        SELECT TRUE AS is_as_it_is
        UNION ALL
        SELECT FALSE AS is_as_it_is
    ) AS sides
    WHERE ranked.tie_rank > 1
),

hashed AS (
    SELECT
        hour,
        tie_rank,
        counted,
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
    FROM terms
)

SELECT
    CAST(UNIX_MICROS(hour) / 3600000000 AS BIGINT) AS hour_index,
    CONCAT(
        SUM(counted),
        '-',
        HEX(BIT_XOR(IF(tie_rank = 1, content, XXHASH64(content, CAST(tie_rank AS INT)))))
    ) AS digest,
    SUM(counted) AS row_count
FROM hashed
GROUP BY hour
