-- All that is known before :as_of_us of the events since :since_us, each once: closed sessions and,
-- as they stood at the end of the last hour, the open ones; but nothing of users who have an event
-- there that is marked as a robot's.
-- in:  closed: rows of `sessions` that closed before as_of
--      opened: rows of `open_sessions` of the last hour before as_of
-- out: user_id, session_id, item_id, event_us, tie_rank, event_key, event_type, value, dwell_s,
--      told: the event's value of each of :context_fields, null where it has none
WITH followed AS (
    SELECT
        *,
        UNIX_MICROS(event_time) AS event_us,
        UNIX_MICROS(passive_until) AS passive_us,
        LEAD(UNIX_MICROS(event_time)) OVER (
            PARTITION BY user_id, session_id
            ORDER BY position
        ) AS next_us
    FROM opened
),

known AS (
    SELECT
        user_id,
        session_id,
        item_id,
        UNIX_MICROS(event_time) AS event_us,
        tie_rank,
        event_key,
        event_type,
        value,
        context,
        is_robot,
        dwell_s
    FROM closed
    UNION ALL
    SELECT
        user_id,
        session_id,
        item_id,
        event_us,
        tie_rank,
        event_key,
        event_type,
        value,
        context,
        is_robot,
        -- What passive events tell of the last one may change until its session closes.
        (IF(next_us IS NULL, NULL, LEAST(next_us, passive_us)) - event_us) / 1E6D AS dwell_s
    FROM followed
),

robots AS (
    SELECT DISTINCT user_id
    FROM known
    WHERE is_robot AND event_us >= :since_us AND event_us < :as_of_us
)

SELECT
    known.user_id,
    known.session_id,
    known.item_id,
    known.event_us,
    known.tie_rank,
    known.event_key,
    known.event_type,
    known.value,
    known.dwell_s,
    -- Where no field is asked for, the maps are not even read.
    IF(
        :context_fields = '',
        CAST(ARRAY() AS ARRAY<STRING>),
        TRANSFORM(
            SPLIT(:context_fields, '\u001F'),
            field -> TRY_ELEMENT_AT(known.context, field)
        )
    ) AS told
FROM known
ANTI JOIN robots ON known.user_id = robots.user_id
WHERE
    known.event_us >= :since_us
    AND known.event_us < :as_of_us
    AND (:all_types OR ARRAY_CONTAINS(SPLIT(:event_types, '\u001F'), known.event_type))
