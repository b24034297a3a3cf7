-- Add refused records to those of the same hours; ingesting a file again adds nothing.
-- in:  refused, known: rows of `quarantine`, of the same hours
--      earlier: rows of `quarantine` among which a refused record may be already
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
LEFT ANTI JOIN earlier
    ON
        refused.source_file = earlier.source_file
        AND refused.line = earlier.line
        AND refused.reason = earlier.reason
        AND refused.raw = earlier.raw
