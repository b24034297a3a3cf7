-- What became of the records of each file.
-- in:  parsed: records that arrived, with their kind, and the reader's own count of them
--      kept: rows of `events` as they stand after these arrivals
-- out: source_file, records, accepted, duplicates, quarantined
WITH fates AS (
    SELECT
        parsed.source_file,
        parsed.records,
        CAST(parsed.kind = 'event' AND kept.line IS NOT NULL AS INT) AS accepted,
        CAST(parsed.kind = 'event' AND kept.line IS NULL AS INT) AS duplicate,
        CAST(parsed.kind = 'refused' AS INT) AS refused
    FROM parsed
    LEFT JOIN kept
        ON
            parsed.hour = kept.hour
            AND parsed.event_key = kept.event_key
            AND parsed.source_file = kept.source_file
            AND parsed.line = kept.line
)

SELECT
    source_file,
    SUM(records) AS records,
    SUM(accepted) AS accepted,
    SUM(duplicate) AS duplicates,
    SUM(refused) AS quarantined
FROM fates
GROUP BY source_file
