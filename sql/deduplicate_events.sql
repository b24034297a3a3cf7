-- Keep each event once: of its records the one whose file and line come first, so that the
-- result does not depend on the order in which the files arrived.  Of a line that has changed
-- since its file was first ingested, the new wording stays.
-- in:  arrived, known: rows of `events`, for the same hours
--      grown: source_file of files that arrived with all that was known of them
-- out: rows of `events`, and is_new: whether it is a row of `arrived`
WITH records AS (
    SELECT
        *,
        1 AS age
    FROM known
    LEFT ANTI JOIN grown ON known.source_file = grown.source_file
    UNION ALL
    SELECT
        *,
        0 AS age
    FROM arrived
),

numbered AS (
    SELECT
        *,
        ROW_NUMBER() OVER (
            PARTITION BY hour, event_key
            ORDER BY source_file, line, age
        ) AS nth
    FROM records
)

SELECT
    hour,
    event_time,
    user_id,
    item_id,
    event_type,
    value,
    given_session,
    context,
    event_key,
    source_file,
    line,
    age = 0 AS is_new
FROM numbered
WHERE nth = 1
