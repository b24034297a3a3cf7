-- All that is known before :as_of_us of the events since :since_us, each once: closed sessions and,
-- as they stood at the end of the last hour, the open ones.
-- in:  closed: rows of `sessions` that closed before as_of
--      opened: rows of `open_sessions` of the last hour before as_of
-- out: user_id, session_id, item_id, event_us, tie_rank, event_key, event_type, value, dwell_s,
--      told: the event's value of each of :context_fields, null where it has none
WITH known AS (
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
        dwell_s
    FROM closed
    UNION ALL
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
        (
            LEAD(UNIX_MICROS(event_time)) OVER (
                PARTITION BY user_id, session_id
                ORDER BY position
            ) - UNIX_MICROS(event_time)
        ) / 1E6D AS dwell_s
    FROM opened
)

SELECT
    user_id,
    session_id,
    item_id,
    event_us,
    tie_rank,
    event_key,
    event_type,
    value,
    dwell_s,
    -- Where no field is asked for, the maps are not even read.
    IF(
        :context_fields = '',
        CAST(ARRAY() AS ARRAY<STRING>),
        TRANSFORM(
            SPLIT(:context_fields, '\u001F'),
            field -> TRY_ELEMENT_AT(context, field)
        )
    ) AS told
FROM known
WHERE
    event_us >= :since_us
    AND event_us < :as_of_us
    AND (:all_types OR ARRAY_CONTAINS(SPLIT(:event_types, '\u001F'), event_type))
