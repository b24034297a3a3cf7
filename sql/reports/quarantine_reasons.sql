-- Why records were refused.
-- in:  quarantine: one refused raw record, by hour of arrival
-- out: reason, records, files, first_hour, last_hour, example (one raw record)
SELECT
    reason,
    COUNT(*) AS records,
    COUNT(DISTINCT source_file) AS files,
    MIN(hour) AS first_hour,
    MAX(hour) AS last_hour,
    MIN(raw) AS example
FROM quarantine
GROUP BY reason
ORDER BY records DESC, reason ASC
