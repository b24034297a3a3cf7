-- Which hours around the arriving ones tell of a key that arrives, and which of them may lose it.
-- in:  known_keys: hour, event_key of the events of those hours
--      arrived: hour, event_key, source_file of records that arrived
--      changed: source_file of files that were known with another content
-- params: window_us: how far before an hour another must lie to keep what both tell of
-- out: hour, hour_index (hours since 1970), event_key; is_displaced: whether any event of the hour
--      may now belong to an earlier one, or to a line that has changed
WITH arriving AS (
    SELECT DISTINCT
        arrived.hour,
        arrived.event_key,
        changed.source_file IS NOT NULL AS is_changed
    FROM arrived
    LEFT JOIN changed ON arrived.source_file = changed.source_file
),

met AS (
    SELECT
        known_keys.hour,
        known_keys.event_key,
        MAX(
            arriving.is_changed
            OR UNIX_MICROS(known_keys.hour) - UNIX_MICROS(arriving.hour) BETWEEN 0 AND :window_us
        ) AS is_displaced
    FROM known_keys
    INNER JOIN arriving ON known_keys.event_key = arriving.event_key
    GROUP BY known_keys.hour, known_keys.event_key
)

SELECT
    hour,
    CAST(UNIX_MICROS(hour) / 3600000000 AS BIGINT) AS hour_index,
    event_key,
    MAX(is_displaced) OVER (PARTITION BY hour) AS is_displaced
FROM met
