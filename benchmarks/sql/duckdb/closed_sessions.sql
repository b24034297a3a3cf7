-- sqlfluff:dialect:duckdb
-- The sessions that closed in the range.
-- in:  kept and placed as place.sql leaves them; variables stop_hour and hour_us
-- out: rows of `sessions`
SELECT
    MAKE_TIMESTAMPTZ(placed.close_hour * GETVARIABLE('hour_us')) AS hour,
    LPAD(HEX(HASH(kept.user_id)), 16, '0') || LPAD(HEX(placed.start_us), 16, '0') AS session_id,
    MAKE_TIMESTAMPTZ(placed.start_us) AS session_start,
    placed.position,
    kept.event_time,
    kept.user_id,
    kept.item_id,
    kept.event_type,
    kept.value,
    kept.given_session,
    kept.context,
    kept.event_key,
    placed.dwell_s
FROM kept
INNER JOIN placed ON kept.rowid = placed.event_row
WHERE placed.close_hour < GETVARIABLE('stop_hour')
