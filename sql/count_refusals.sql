-- How many records of each file were refused for each reason.
-- in:  refused: rows of `quarantine`
-- out: source_file, reason, records
SELECT
    source_file,
    reason,
    COUNT(*) AS records
FROM refused
GROUP BY source_file, reason
