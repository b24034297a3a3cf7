-- How many events grown files own, and how many of these they no longer tell of: a file that was
-- cut off in a line may have said something else there.
-- in:  known: rows of `events`
--      grown: source_file of files that arrived with all that was known of them
--      arrived: rows of `events`
-- out: hour_index (hours since 1970), row_count, withdrawn
WITH told AS (
    SELECT DISTINCT
        hour,
        event_key,
        source_file
    FROM arrived
)

SELECT
    CAST(UNIX_MICROS(known.hour) / 3600000000 AS BIGINT) AS hour_index,
    COUNT(*) AS row_count,
    COUNT_IF(told.event_key IS NULL) AS withdrawn
FROM known
SEMI JOIN grown ON known.source_file = grown.source_file
LEFT JOIN told
    ON
        known.hour = told.hour
        AND known.event_key = told.event_key
        AND known.source_file = told.source_file
GROUP BY known.hour
