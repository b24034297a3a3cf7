-- How long users stayed away: the silence between a session and the same user's one before.
-- in:  sessions: one event of a closed session
-- out: user_id, session_id, session_start, gap_s (whole seconds from the last event of the session
--      before to this session's first; null on a user's first session)
WITH spans AS (
    SELECT
        user_id,
        session_id,
        session_start,
        MAX(event_time) AS session_end
    FROM sessions
    GROUP BY user_id, session_id, session_start
),

silences AS (
    SELECT
        user_id,
        session_id,
        session_start,
        session_start - LAG(session_end) OVER (
            PARTITION BY user_id
            ORDER BY session_start, session_id
        ) AS silence
    FROM spans
)

SELECT
    user_id,
    session_id,
    session_start,
    CAST(
        EXTRACT(DAY FROM silence) * 86400
        + EXTRACT(HOUR FROM silence) * 3600
        + EXTRACT(MINUTE FROM silence) * 60
        + FLOOR(EXTRACT(SECOND FROM silence))
        AS BIGINT
    ) AS gap_s
FROM silences
ORDER BY user_id, session_start, session_id
