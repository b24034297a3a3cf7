-- The most frequent values of each context field.
-- in:  kept_events: told, a list with the value of each field
-- out: field (its place in the list), value, events; at most :most rows a field
WITH each_told AS (
    SELECT POSEXPLODE(told) AS (field, value)
    FROM kept_events
),

counted AS (
    SELECT
        field,
        value,
        COUNT(*) AS events
    FROM each_told
    WHERE value IS NOT NULL
    GROUP BY field, value
),

ranked AS (
    SELECT
        *,
        ROW_NUMBER() OVER (
            PARTITION BY field
            ORDER BY events DESC, value ASC
        ) AS place
    FROM counted
)

SELECT
    field,
    value,
    events
FROM ranked
WHERE place <= :most
