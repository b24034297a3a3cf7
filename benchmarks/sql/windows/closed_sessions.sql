-- The sessions that closed in the range.
-- in:  placed: what sessionize.sql gives; :first_us and :stop_us, the range's ends
-- out: rows of `sessions`
SELECT
    close_hour AS hour,
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
    dwell_s,
    CAST(NULL AS INT) AS tie_rank,
    CAST(NULL AS BOOLEAN) AS is_robot,
    CAST(NULL AS STRING) AS anonymous_id
FROM placed
WHERE close_hour >= TIMESTAMP_MICROS(:first_us) AND close_hour < TIMESTAMP_MICROS(:stop_us)
