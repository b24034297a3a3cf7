-- Which keys a file tells of more than once; most logs with fine times have none.
-- in:  arrived: source_file, event_key of records that arrived
--      shared: key_end of keys that more than one of them may have, see `shared_keys`
-- out: source_file, event_key, each pair once
SELECT
    arrived.source_file,
    arrived.event_key
FROM arrived
SEMI JOIN shared ON RIGHT(arrived.event_key, 12) = shared.key_end
GROUP BY arrived.source_file, arrived.event_key
HAVING COUNT(*) > 1
