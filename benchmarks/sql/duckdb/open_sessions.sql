-- sqlfluff:dialect:duckdb
-- What stood open at the end of each hour of the range.
-- in:  kept and placed as place.sql leaves them; variables stop_hour and hour_us
-- out: rows of `open_sessions`
WITH carried AS (
    SELECT
        event_row,
        start_us,
        chain_us,
        position,
        UNNEST(RANGE(event_hour, LEAST(close_hour, GETVARIABLE('stop_hour')))) AS open_hour
    FROM placed
)

SELECT
    MAKE_TIMESTAMPTZ(carried.open_hour * GETVARIABLE('hour_us')) AS hour,
    LPAD(HEX(HASH(kept.user_id)), 16, '0') || LPAD(HEX(carried.start_us), 16, '0') AS session_id,
    MAKE_TIMESTAMPTZ(carried.start_us) AS session_start,
    carried.position,
    kept.event_time,
    kept.user_id,
    kept.item_id,
    kept.event_type,
    kept.value,
    kept.given_session,
    kept.context,
    kept.event_key,
    MAKE_TIMESTAMPTZ(carried.chain_us) AS chain_start
FROM kept
INNER JOIN carried ON kept.rowid = carried.event_row
