-- One row a user: parallel lists of the user's events in time order; events of equal time as their
-- records follow one another in the log.
-- in:  context_events: known events before the window
--      window_events: those of the window; both with codes, the context as numbers
--      vocabulary: item, item_id; events on other items are left out
--      event_codes: event_type, code
-- out: user_id, n_context and the lists of the data set's format (codes is a list of lists); users
--      whose window is empty are left out unless :keep_idle
WITH both_parts AS (
    SELECT
        *,
        FALSE AS in_window
    FROM context_events
    UNION ALL
    SELECT
        *,
        TRUE AS in_window
    FROM window_events
),

coded AS (
    SELECT
        both_parts.user_id,
        both_parts.event_us,
        both_parts.tie_rank,
        both_parts.event_key,
        both_parts.in_window,
        both_parts.codes,
        vocabulary.item,
        event_codes.code,
        CAST(both_parts.value AS FLOAT) AS value,
        CAST(both_parts.dwell_s AS FLOAT) AS dwell_s,
        -- Told anew, because the session's true first event may have been on an item left out.
        ROW_NUMBER() OVER (
            PARTITION BY both_parts.user_id, both_parts.session_id
            ORDER BY both_parts.event_us, both_parts.tie_rank, both_parts.event_key
        ) = 1 AS session_start,
        CAST(
            IF(
                both_parts.dwell_s IS NULL OR :width_s <= 0,
                0,
                FLOOR(LEAST(both_parts.dwell_s / :width_s, :bins - 1)) + 1
            ) AS SMALLINT
        ) AS dwell_bin,
        -- Only the latest context is kept, counted back from the window.
        ROW_NUMBER() OVER (
            PARTITION BY both_parts.user_id, both_parts.in_window
            ORDER BY
                both_parts.event_us DESC,
                both_parts.tie_rank DESC,
                both_parts.event_key DESC
        ) AS age
    FROM both_parts
    INNER JOIN vocabulary ON both_parts.item_id = vocabulary.item_id
    INNER JOIN event_codes ON both_parts.event_type = event_codes.event_type
),

sorted AS (
    SELECT
        user_id,
        CAST(COUNT_IF(NOT in_window) AS INT) AS n_context,
        COUNT_IF(in_window) AS n_window,
        ARRAY_SORT(COLLECT_LIST(NAMED_STRUCT(
            'event_us', event_us,
            'tie_rank', tie_rank,
            'event_key', event_key,
            'item', item,
            'session_start', session_start,
            'dwell_s', dwell_s,
            'dwell_bin', dwell_bin,
            'code', code,
            'value', value,
            'codes', codes
        ))) AS history
    FROM coded
    WHERE in_window OR age <= :max_context
    GROUP BY user_id
)

SELECT
    user_id,
    n_context,
    TRANSFORM(history, e -> e.item) AS item,
    TRANSFORM(history, e -> e.event_us) AS time_us,
    TRANSFORM(history, e -> e.session_start) AS session_start,
    TRANSFORM(history, e -> e.dwell_s) AS dwell_s,
    TRANSFORM(history, e -> e.dwell_bin) AS dwell_bin,
    TRANSFORM(history, e -> e.code) AS event_type,
    TRANSFORM(history, e -> e.value) AS value,
    TRANSFORM(history, e -> e.codes) AS codes
FROM sorted
WHERE n_window > 0 OR :keep_idle
