-- What stood open at the end of each hour of the range.  Within a session no silence is long
-- enough to close it, so an event is carried from its own hour to the one before the close.
-- in:  placed: what sessionize.sql gives; :first_us and :stop_us, the range's ends
-- out: rows of `open_sessions`
SELECT
    carried_hour AS hour,
    session_id,
    session_start,
    position,
    event_time,
    user_id,
    item_id,
    event_type,
    value,
    given_session,
    context,
    event_key,
    chain_start,
    CAST(NULL AS INT) AS tie_rank,
    CAST(NULL AS BOOLEAN) AS is_robot,
    CAST(NULL AS STRING) AS anonymous_id,
    CAST(NULL AS TIMESTAMP) AS passive_until
FROM placed
    LATERAL VIEW EXPLODE(
        IF(
            close_hour > GREATEST(hour, TIMESTAMP_MICROS(:first_us)),
            SEQUENCE(
                GREATEST(hour, TIMESTAMP_MICROS(:first_us)),
                LEAST(close_hour, TIMESTAMP_MICROS(:stop_us)) - INTERVAL 1 HOUR,
                INTERVAL 1 HOUR
            ),
            ARRAY()
        )
    ) AS carried_hour
