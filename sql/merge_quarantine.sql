-- Add refused records to those of the same hours; ingesting a file again adds nothing, and takes
-- out what is refused no longer: all else of a file that has grown, and the records let in of one
-- that had come too late.
-- Of a row of which one element was let in and another is refused again, the other stays.
-- in:  refused: rows of `quarantine` that arrived
--      known: rows of `quarantine`, of these hours and all hours in which the same files had some
--      grown: source_file of files that arrived with all that was known of them
--      let_in: source_file, line of records that were let in though they had come too late
-- params: too_late: the reason of records that came too late
-- out: rows of `quarantine`
WITH judged AS (
    SELECT
        known.hour,
        known.reason,
        known.source_file,
        known.line,
        known.raw,
        refused.line IS NOT NULL AS is_again
    FROM known
    LEFT JOIN refused
        ON
            known.source_file = refused.source_file
            AND known.line = refused.line
            AND known.reason = refused.reason
            AND known.raw = refused.raw
)

SELECT
    hour,
    reason,
    source_file,
    line,
    raw
FROM judged
ANTI JOIN grown ON judged.source_file = grown.source_file AND NOT judged.is_again
ANTI JOIN let_in
    ON
        judged.source_file = let_in.source_file
        AND judged.line = let_in.line
        AND judged.reason = :too_late
        AND NOT judged.is_again
UNION ALL
SELECT
    refused.hour,
    refused.reason,
    refused.source_file,
    refused.line,
    refused.raw
FROM refused
ANTI JOIN known
    ON
        refused.source_file = known.source_file
        AND refused.line = known.line
        AND refused.reason = known.reason
        AND refused.raw = known.raw
