-- Add refused records to those of the same hours; ingesting a file again adds nothing.
-- in:  refused, known: rows of `quarantine`
-- out: rows of `quarantine`
SELECT
    hour,
    reason,
    source_file,
    line,
    raw
FROM known
UNION DISTINCT
SELECT
    hour,
    reason,
    source_file,
    line,
    raw
FROM refused
