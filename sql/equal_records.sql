-- Which keys a file tells of more than once; most logs with fine times have none.
-- in:  arrived: source_file, event_key of records that arrived
-- out: source_file, event_key, each pair once
SELECT
    source_file,
    event_key
FROM arrived
GROUP BY source_file, event_key
HAVING COUNT(*) > 1
