-- What became of the records of each file that arrived, and which files lost events to it.
-- in:  parsed: records that arrived, with their kind, and the reader's own counts of them
--      known: rows of `events` as they stood, of the hours of these records
--      kept: rows of `events` as they stand now, with is_new
-- params: numbered: whether keys of equal records of one file are numbered
-- out: source_file; of its records: records as the reader counted them, events, of these accepted
--      once duplicates are out, quarantined, and late, let in though they had come too late;
--      displaced: how many of its events no longer belong to the record that they belonged to;
--      repeats: of the accepted, those that say the same as an earlier one of the file
WITH counted AS (
    SELECT
        source_file,
        records,
        late,
        CAST(kind = 'event' AS INT) AS event,
        CAST(kind = 'refused' AS INT) AS refused,
        0 AS accepted,
        0 AS displaced,
        0 AS repeats
    FROM parsed
    UNION ALL
    SELECT
        source_file,
        NULL AS records,
        NULL AS late,
        0 AS event,
        0 AS refused,
        CAST(is_new AS INT) AS accepted,
        CAST(is_new AS INT) - 1 AS displaced,
        CAST(:numbered AND is_new AND event_key LIKE '%-%' AS INT) AS repeats
    FROM kept
    UNION ALL
    SELECT
        source_file,
        NULL AS records,
        NULL AS late,
        0 AS event,
        0 AS refused,
        0 AS accepted,
        1 AS displaced,
        0 AS repeats
    FROM known
)

SELECT
    source_file,
    SUM(records) AS records,
    SUM(event) AS events,
    SUM(accepted) AS accepted,
    SUM(refused) AS quarantined,
    SUM(late) AS late,
    SUM(displaced) AS displaced,
    SUM(repeats) AS repeats
FROM counted
GROUP BY source_file
