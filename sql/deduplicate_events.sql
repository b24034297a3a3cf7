-- Keep each event once: of the records of one key in an hour the first by time, file and line, so
-- that the result does not depend on the order in which the files arrived; and none where an hour
-- before, no further than a window, tells of the key too.  Of a line that has changed since its
-- file was first ingested, the new wording stays.
-- Of a key told of in the hours 1, 2, 4 and 9, a window of two hours keeps the events of 1 and 9.
-- in:  arrived, known: rows of `events`, for the same hours
--      repeated: rows of `repeated_keys` of these hours
--      elsewhere: hour, event_key of keys that other hours tell of
--      grown: source_file of files that arrived with all that was known of them
--      shared: key_end of all keys that more than one of these records has, see `shared_keys`
--      reworded: source_file, line, event_key of records of files whose content is another now
-- params: window_us: how far before an hour another may lie to keep what both tell of
-- out: rows of `events`, is_new: whether it is a row of `arrived`, and is_kept: false where it is
--      the first record of its hour but an hour before keeps the event; then it may be nothing but
--      a row of `repeated_keys`
WITH first_told AS (
    SELECT
        repeated.hour,
        repeated.event_time,
        repeated.event_key,
        repeated.source_file,
        repeated.line,
        2 AS age
    FROM repeated
    ANTI JOIN grown ON repeated.source_file = grown.source_file
    ANTI JOIN reworded
        ON
            repeated.event_key = reworded.event_key
            AND repeated.source_file = reworded.source_file
            AND repeated.line = reworded.line
    UNION ALL
    SELECT
        hour,
        NULL AS event_time,
        event_key,
        NULL AS source_file,
        NULL AS line,
        3 AS age
    FROM elsewhere
),

records AS (
    SELECT
        known.*,
        1 AS age
    FROM known
    ANTI JOIN grown ON known.source_file = grown.source_file
    ANTI JOIN reworded
        ON
            known.event_key = reworded.event_key
            AND known.source_file = reworded.source_file
            AND known.line = reworded.line
    UNION ALL
    SELECT
        *,
        0 AS age
    FROM arrived
    UNION ALL
    SELECT
        hour,
        event_time,
        NULL AS user_id,
        NULL AS item_id,
        NULL AS event_type,
        NULL AS value,
        NULL AS given_session,
        NULL AS context,
        event_key,
        source_file,
        line,
        age
    FROM first_told
),

judged AS (
    SELECT
        records.*,
        LAG(records.hour) OVER (
            PARTITION BY records.event_key
            ORDER BY
                records.hour, records.event_time, records.source_file, records.line, records.age
        ) AS told_hour
    FROM records
    SEMI JOIN shared ON RIGHT(records.event_key, 12) = shared.key_end
    UNION ALL
    SELECT
        records.*,
        NULL AS told_hour
    FROM records
    ANTI JOIN shared ON RIGHT(records.event_key, 12) = shared.key_end
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
    age = 0 AS is_new,
    age < 2 AND (
        told_hour IS NULL
        OR UNIX_MICROS(hour) - UNIX_MICROS(told_hour) > :window_us
    ) AS is_kept
FROM judged
WHERE age < 3 AND (told_hour IS NULL OR told_hour < hour)
