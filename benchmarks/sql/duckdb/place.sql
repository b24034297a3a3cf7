-- sqlfluff:dialect:duckdb
-- Place every event in its session.  Windows sort narrow rows, twice; the wide ones stay in `kept`.
-- in:  variables files, gap_us, max_session_us, hour_us
-- out: table kept, the events; table placed, one row an event, `event_row` being its rowid in kept
CREATE TABLE kept AS
SELECT
    event_time,
    user_id,
    item_id,
    event_type,
    value,
    given_session,
    context,
    event_key,
    source_file,
    line
FROM READ_PARQUET(GETVARIABLE('files'));

CREATE TABLE neighbours AS
SELECT
    rowid AS event_row,
    user_id,
    EPOCH_US(event_time) AS event_us,
    ROW_NUMBER() OVER trail AS nth,
    LAG(EPOCH_US(event_time)) OVER trail AS previous_us,
    LEAD(EPOCH_US(event_time)) OVER trail AS next_us
FROM kept
WINDOW trail AS (PARTITION BY user_id ORDER BY event_time, source_file, line, event_key);

CREATE TABLE chains AS
SELECT
    event_row,
    user_id,
    event_us,
    next_us,
    nth,
    LAST_VALUE(
        CASE
            WHEN previous_us IS NULL OR event_us - previous_us >= GETVARIABLE('gap_us')
                THEN event_us
        END IGNORE NULLS
    ) OVER so_far AS chain_us,
    LAST_VALUE(
        CASE
            WHEN previous_us IS NULL OR event_us - previous_us >= GETVARIABLE('gap_us') THEN nth
        END IGNORE NULLS
    ) OVER so_far AS first_nth,
    FIRST_VALUE(
        CASE
            WHEN next_us IS NULL OR next_us - event_us >= GETVARIABLE('gap_us') THEN event_us
        END IGNORE NULLS
    ) OVER from_here AS last_us
FROM neighbours
WINDOW
    so_far AS (
        PARTITION BY user_id ORDER BY nth ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    ),
    from_here AS (
        PARTITION BY user_id ORDER BY nth ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING
    );

DROP TABLE neighbours;

-- Chains that need no cut are sessions; the few others are cut, which takes one sort more of them.
CREATE TABLE placed AS
WITH pieces AS (
    SELECT
        event_row,
        event_us,
        chain_us,
        MIN(event_us) OVER piece AS start_us,
        MAX(event_us) OVER piece AS last_us,
        ROW_NUMBER() OVER in_piece - 1 AS position,
        LEAD(event_us) OVER in_piece AS next_us
    FROM chains
    WHERE last_us - chain_us >= GETVARIABLE('max_session_us')
    WINDOW
        piece AS (
            PARTITION BY
                user_id, chain_us, (event_us - chain_us) // GETVARIABLE('max_session_us')
        ),
        in_piece AS (
            PARTITION BY
                user_id, chain_us, (event_us - chain_us) // GETVARIABLE('max_session_us')
            ORDER BY nth
        )
),

sessions AS (
    SELECT
        event_row,
        event_us,
        chain_us,
        start_us,
        last_us,
        position,
        next_us
    FROM pieces
    UNION ALL
    SELECT
        event_row,
        event_us,
        chain_us,
        chain_us AS start_us,
        last_us,
        nth - first_nth AS position,
        CASE WHEN next_us - event_us < GETVARIABLE('gap_us') THEN next_us END AS next_us
    FROM chains
    WHERE last_us - chain_us < GETVARIABLE('max_session_us')
)

SELECT
    event_row,
    event_us,
    chain_us,
    start_us,
    CAST(position AS INTEGER) AS position,
    (next_us - event_us) / 1e6 AS dwell_s,
    CAST(event_us // GETVARIABLE('hour_us') AS INTEGER) AS event_hour,
    CAST((last_us + GETVARIABLE('gap_us')) // GETVARIABLE('hour_us') AS INTEGER) AS close_hour
FROM sessions;

DROP TABLE chains;
