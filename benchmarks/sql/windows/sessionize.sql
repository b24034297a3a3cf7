-- Place every event in its session (ASARS 3.1).
-- A chain is a run of a user's events without a silence of :gap_us; a session is a chain, cut into
-- pieces of :max_session_us counted from the chain's first event.  Where the log gives session
-- ids, :given is true and each id is a trail of its own.
-- in:  hour_events: rows of `events` of the range
--      carried: rows of `open_sessions` of the hour before the range
-- out: the columns of events, session_id, session_start, position, chain_start, dwell_s (null on
--      the last event), hour (of the event) and close_hour (in which the silence ends)
WITH trail AS (
    SELECT
        event_time,
        user_id,
        item_id,
        event_type,
        value,
        given_session,
        context,
        event_key,
        source_file,
        line,
        CAST(NULL AS INT) AS carried_position,
        UNIX_MICROS(event_time) AS event_us,
        CAST(NULL AS BIGINT) AS carried_chain_us,
        IF(:given, COALESCE(given_session, ''), '') AS trail_key
    FROM hour_events
    UNION ALL
    SELECT
        event_time,
        user_id,
        item_id,
        event_type,
        value,
        given_session,
        context,
        event_key,
        CAST(NULL AS STRING) AS source_file,
        CAST(NULL AS BIGINT) AS line,
        position AS carried_position,
        UNIX_MICROS(event_time) AS event_us,
        UNIX_MICROS(chain_start) AS carried_chain_us,
        IF(:given, COALESCE(given_session, ''), '') AS trail_key
    FROM carried
),

silences AS (
    SELECT
        *,
        event_us - LAG(event_us) OVER (
            PARTITION BY user_id, trail_key
            ORDER BY event_us, carried_position, source_file, line, event_key
        ) AS silence_us
    FROM trail
),

chains AS (
    SELECT
        *,
        LAST_VALUE(
            IF(
                silence_us IS NULL OR silence_us >= :gap_us,
                COALESCE(carried_chain_us, event_us),
                NULL
            ),
            TRUE
        ) OVER (
            PARTITION BY user_id, trail_key
            ORDER BY event_us, carried_position, source_file, line, event_key
            ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ) AS chain_us
    FROM silences
),

pieces AS (
    SELECT
        *,
        (event_us - chain_us) DIV :max_session_us AS piece
    FROM chains
),

placed AS (
    SELECT
        *,
        MIN(event_us) OVER (PARTITION BY user_id, trail_key, chain_us, piece) AS start_us,
        MAX(event_us) OVER (PARTITION BY user_id, trail_key, chain_us, piece) AS last_us,
        ROW_NUMBER() OVER (
            PARTITION BY user_id, trail_key, chain_us, piece
            ORDER BY event_us, carried_position, source_file, line, event_key
        ) - 1 AS position,
        LEAD(event_us) OVER (
            PARTITION BY user_id, trail_key, chain_us, piece
            ORDER BY event_us, carried_position, source_file, line, event_key
        ) AS next_us
    FROM pieces
)

SELECT
    event_time,
    user_id,
    item_id,
    event_type,
    value,
    given_session,
    context,
    event_key,
    MD5(CONCAT_WS('\u001F', user_id, trail_key, start_us)) AS session_id,
    TIMESTAMP_MICROS(start_us) AS session_start,
    position,
    TIMESTAMP_MICROS(chain_us) AS chain_start,
    (next_us - event_us) / 1e6D AS dwell_s,
    TIMESTAMP_MICROS(event_us - event_us % :hour_us) AS hour,
    TIMESTAMP_MICROS(last_us + :gap_us - (last_us + :gap_us) % :hour_us) AS close_hour
FROM placed
