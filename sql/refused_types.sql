-- The most frequent event types of records that were refused for them.
-- in:  refused: event_type of refused records; null where they were refused for something else
-- params: most: how many are told
-- out: event_type, records
WITH counted AS (
    SELECT
        event_type,
        COUNT(*) AS records
    FROM refused
    WHERE event_type IS NOT NULL
    GROUP BY event_type
),

ranked AS (
    SELECT
        *,
        ROW_NUMBER() OVER (ORDER BY records DESC, event_type ASC) AS nth
    FROM counted
)

SELECT
    event_type,
    records
FROM ranked
WHERE nth <= :most
