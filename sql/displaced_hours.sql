-- The hours of which an event may no longer be their own.
-- in:  keys_nearby: what the query of this name gives
-- out: hour_index (hours since 1970), each once
SELECT DISTINCT hour_index
FROM keys_nearby
WHERE is_displaced
