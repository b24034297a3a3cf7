-- In which hours records that arrived lie: events by their time, refused ones by their arrival.
-- in:  parsed: records that arrived, with their kind
-- out: kind, hour_index (hours since 1970), each pair once
SELECT DISTINCT
    kind,
    CAST(UNIX_MICROS(hour) / 3600000000 AS BIGINT) AS hour_index
FROM parsed
WHERE kind IN ('event', 'refused')
