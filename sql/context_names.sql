-- Names of the context fields that events have.
-- in:  closed, opened: rows of `sessions` and `open_sessions`
-- out: name
SELECT EXPLODE(MAP_KEYS(context)) AS name
FROM closed
UNION
SELECT EXPLODE(MAP_KEYS(context)) AS name
FROM opened
