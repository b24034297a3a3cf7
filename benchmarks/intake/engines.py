"""The same work by DuckDB and by Polars: read, check, key, deduplicate, write by hour.

Python says which file and engine; each runs in a process of its own (``python -m
benchmarks.intake.engines duckdb csv LOG OUT``) and prints how many records became events.
"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.intake.raw_log import ENDINGS

_READERS = {
    "csv": "read_csv('{files}', all_varchar = true, filename = true)",
    "json": (
        "(SELECT * REPLACE (CAST(ts AS VARCHAR) AS ts, CAST(price AS VARCHAR) AS price), "
        "ctx.device AS device FROM read_json('{files}', format = 'newline_delimited', "
        "columns = {{ts: 'BIGINT', user: 'VARCHAR', item: 'VARCHAR', kind: 'VARCHAR', "
        "price: 'DOUBLE', ctx: 'STRUCT(device VARCHAR)'}}, filename = true))"
    ),
    "parquet": "read_parquet('{files}', filename = true)",
}
_CHECKED = """
CREATE TEMP VIEW checked AS
SELECT
    make_timestamp(TRY_CAST(ts AS BIGINT) * 1000) AS event_time,
    "user" AS user_id,
    item AS item_id,
    kind AS event_type,
    TRY_CAST(price AS DOUBLE) AS value,
    MAP {{'device': device}} AS context,
    md5(concat_ws('|', ts, "user", item, kind, price)) AS event_key,
    filename AS source_file,
    coalesce("user", '') <> '' AND coalesce(item, '') <> ''
        AND TRY_CAST(ts AS BIGINT) IS NOT NULL
        AND (coalesce(CAST(price AS VARCHAR), '') = '' OR TRY_CAST(price AS DOUBLE) IS NOT NULL)
        AS is_event
FROM {rows}
"""
_EVENTS = """
COPY (
    SELECT * EXCLUDE (is_event, nth) FROM (
        SELECT
            *,
            date_trunc('hour', event_time) AS hour,
            row_number() OVER (PARTITION BY event_key ORDER BY source_file) AS nth
        FROM checked
        WHERE is_event
    ) WHERE nth = 1
) TO '{out}/events' (FORMAT parquet, PARTITION_BY (hour), COMPRESSION zstd)
"""
_REFUSED = "COPY (SELECT * FROM checked WHERE NOT is_event) TO '{out}/refused.parquet'"


def by_duckdb(form: str, log: Path, out: Path, memory: str) -> int:
    """Take a log in by DuckDB."""
    import duckdb

    with duckdb.connect(config={"memory_limit": memory, "temp_directory": str(out / "tmp")}) as con:
        con.execute("SET preserve_insertion_order = false")
        rows = _READERS[form].format(files=f"{log}/**/*.{ENDINGS[form]}")
        con.execute(_CHECKED.format(rows=rows))
        con.execute(_EVENTS.format(out=out))
        con.execute(_REFUSED.format(out=out))
        counted = f"SELECT count(*) FROM '{out}/events/**/*.parquet'"  # noqa: S608 - our own path
        ((events,),) = con.sql(counted).fetchall()
    return int(events)


def by_polars(form: str, log: Path, out: Path) -> int:
    """Take a log in by Polars."""
    import polars as pl

    files = f"{log}/**/*.{ENDINGS[form]}"
    if form == "csv":
        rows = pl.scan_csv(files, infer_schema=False, include_file_paths="source_file")
    elif form == "parquet":
        rows = pl.scan_parquet(files, include_file_paths="source_file")
    else:
        rows = pl.scan_ndjson(files, include_file_paths="source_file").with_columns(
            pl.col("ctx").struct.field("device")
        )
    time_ms = pl.col("ts").cast(pl.Int64, strict=False)
    named = ["ts", "user", "item", "kind", "price"]
    checked = rows.select(
        pl.from_epoch(time_ms, "ms").alias("event_time"),
        pl.col("user").alias("user_id"),
        pl.col("item").alias("item_id"),
        pl.col("kind").alias("event_type"),
        pl.col("price").cast(pl.Float64, strict=False).alias("value"),
        "device",
        pl.struct(named).hash().alias("event_key"),
        "source_file",
        (
            (pl.col("user").fill_null("") != "")
            & (pl.col("item").fill_null("") != "")
            & time_ms.is_not_null()
        ).alias("is_event"),
    ).collect()
    checked.filter(~pl.col("is_event")).write_parquet(out / "refused.parquet")
    events = (
        checked.filter(pl.col("is_event"))
        .unique("event_key", keep="any")
        .with_columns(pl.col("event_time").dt.truncate("1h").alias("hour"))
    )
    for (hour,), of_hour in events.group_by("hour"):
        of_hour.write_parquet(out / f"events-{hour:%Y-%m-%dT%H}.parquet", compression="zstd")
    return len(events)


if __name__ == "__main__":
    engine, form, log, out, *memory = sys.argv[1:]
    Path(out).mkdir(parents=True)
    if engine == "duckdb":
        print(by_duckdb(form, Path(log), Path(out), *memory))
    else:
        print(by_polars(form, Path(log), Path(out)))
