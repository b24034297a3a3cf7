-- Add refused records to those of the same hours; ingesting a file again adds nothing.
-- in:  refused, known: rows of `quarantine`, of the same hours
--      before: rows of `quarantine` among which a refused record may be already
-- out: rows of `quarantine`
SELECT
    hour,
    reason,
    source_file,
    line,
    raw
FROM known
UNION ALL
SELECT
    refused.hour,
    refused.reason,
    refused.source_file,
    refused.line,
    refused.raw
FROM refused
LEFT ANTI JOIN before
    ON
        refused.source_file = before.source_file
        AND refused.line = before.line
        AND refused.reason = before.reason
        AND refused.raw = before.raw
