-- Which keys more than one record may have, told by their ends: that costs half of looking at
-- whole keys, and most keys are those of a single record.  Some that are returned are not shared.
-- in:  records: event_key of records
-- params: passes, nth: only keys of the nth share of all, told by their last characters, so that
--      no more keys than memory holds are looked at in a pass
-- out: key_end, the last 12 characters of keys, each once
SELECT RIGHT(event_key, 12) AS key_end
FROM records
WHERE MOD(ASCII(RIGHT(event_key, 1)), :passes) = :nth
GROUP BY RIGHT(event_key, 12)
HAVING COUNT(*) > 1
