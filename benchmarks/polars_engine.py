"""Polars doing the same work: one sort of narrow rows, then each hour's rows are gathered."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl

from benchmarks.engines import GAP_US, HOUR_US, MAX_SESSION_US, Made, cores
from benchmarks.event_log import EventLog
from pipeline.lake.tables import DWELL_HOURS, ITEM_HOURS, OPEN_SESSIONS, SESSIONS

_US_PER_S = 1e6
_EVENT_FIELDS = (
    *("event_time", "user_id", "item_id", "event_type"),
    *("value", "given_session", "context", "event_key"),
)
_LOG_ORDER = ("source_file", "line")
_TIME = pl.Datetime("us", "UTC")


def sessionize(log: EventLog, folder: Path) -> Made:
    """All four tables of the log's hours, a file an hour."""
    started = time.perf_counter()
    stages_s: dict[str, float] = {}

    def lap(stage: str) -> None:
        stages_s[stage] = time.perf_counter() - started - sum(stages_s.values())

    stop = log.hours.stop.index
    events = pl.scan_parquet([file.path for file in log.files])
    events = events.select(*_EVENT_FIELDS, *_LOG_ORDER).collect()
    # Gathering maps from many chunks takes forty times as long.
    events = events.rechunk()
    lap("read")
    placed = _placed(events)
    lap("place")
    closed = placed.filter(pl.col("close_hour") < stop).with_columns(hour="close_hour")
    opened = placed.with_columns(
        hour=pl.int_ranges("event_hour", pl.min_horizontal("close_hour", pl.lit(stop)))
    ).explode("hour", empty_as_null=False)
    paths = {
        SESSIONS.name: _write(folder / SESSIONS.name, closed, lambda rows: _sessions(events, rows)),
    }
    lap("sessions")
    paths[OPEN_SESSIONS.name] = _write(
        folder / OPEN_SESSIONS.name, opened, lambda rows: _open_sessions(events, rows)
    )
    lap("open_sessions")
    paths[ITEM_HOURS.name] = _write(folder / ITEM_HOURS.name, _item_hours(events), _as_it_is)
    lap("item_hours")
    paths[DWELL_HOURS.name] = _write(folder / DWELL_HOURS.name, _dwell_hours(closed), _as_it_is)
    lap("dwell_hours")
    stages_s["all"] = time.perf_counter() - started
    return Made(paths, stages_s)


def _placed(events: pl.DataFrame) -> pl.DataFrame:
    """One narrow row an event, by user and time: where it belongs."""
    us = pl.col("event_us")
    first_of_user = pl.col("user") != pl.col("user").shift(1).fill_null(-1)
    silent = (us - us.shift(1)) >= GAP_US
    return (
        events.lazy()
        .select(
            # Users as whole numbers: they sort faster than their names.
            user=pl.col("user_id").cast(pl.Categorical).to_physical().cast(pl.Int64),
            event_us=pl.col("event_time").dt.epoch("us"),
            # A number for each file, in the order of their names.
            file=pl.col("source_file").rank("dense"),
            line="line",
            event_row=pl.int_range(pl.len(), dtype=pl.UInt32),
        )
        .sort("user", "event_us", "file", "line")
        .drop("file", "line")
        .with_columns(first_of_chain=(first_of_user | silent).fill_null(value=True))
        .with_columns(chain_us=pl.when("first_of_chain").then(us).forward_fill())
        .with_columns(piece=(us - pl.col("chain_us")) // MAX_SESSION_US)
        .with_columns(
            first=pl.col("first_of_chain")
            | (pl.col("piece") != pl.col("piece").shift(1)).fill_null(value=True)
        )
        .with_columns(last=pl.col("first").shift(-1).fill_null(value=True))
        .with_columns(nth=pl.int_range(pl.len(), dtype=pl.Int32))
        .select(
            "event_row",
            "chain_us",
            start_us=pl.when("first").then(us).forward_fill(),
            position=pl.col("nth") - pl.when("first").then("nth").forward_fill(),
            dwell_us=pl.when(~pl.col("last")).then(us.shift(-1) - us),
            event_hour=(us // HOUR_US).cast(pl.Int32),
            close_hour=((pl.when("last").then(us).backward_fill() + GAP_US) // HOUR_US).cast(
                pl.Int32
            ),
        )
        .collect()
    )


def _write(
    folder: Path, rows: pl.DataFrame, complete: Callable[[pl.DataFrame], pl.DataFrame]
) -> list[str]:
    """One file for each value of ``hour``; an hour's rows are completed when they are written."""
    folder.mkdir(parents=True)
    rows = rows.sort("hour", maintain_order=True)

    def write(part: pl.DataFrame) -> str:
        path = str(folder / f"{part['hour'][0]}.parquet")
        complete(part).write_parquet(path, compression="zstd", compression_level=1)
        return path

    with ThreadPoolExecutor(cores()) as pool:
        return list(pool.map(write, _parts(rows)))


def _parts(rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
    lengths: list[int] = rows["hour"].rle().struct.field("len").to_list()
    start = 0
    for length in lengths:
        yield rows.slice(start, length)
        start += length


def _sessions(events: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    return _in_session(events, rows).select(
        "hour",
        "session_id",
        "session_start",
        "position",
        *_EVENT_FIELDS,
        dwell_s=pl.col("dwell_us") / _US_PER_S,
    )


def _open_sessions(events: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    return _in_session(events, rows).select(
        "hour",
        "session_id",
        "session_start",
        "position",
        *_EVENT_FIELDS,
        chain_start=pl.col("chain_us").cast(_TIME),
    )


def _in_session(events: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    moved = events[rows["event_row"]]
    return pl.concat([rows, moved], how="horizontal").with_columns(
        # Decimal digits: Polars has none of base 16 for numbers.
        session_id=pl.format("{}-{}", pl.col("user_id").hash(), "start_us"),
        session_start=pl.col("start_us").cast(_TIME),
        hour=(pl.col("hour").cast(pl.Int64) * HOUR_US).cast(_TIME),
    )


def _item_hours(events: pl.DataFrame) -> pl.DataFrame:
    return (
        events.lazy()
        .group_by(pl.col("event_time").dt.truncate("1h").alias("hour"), "item_id", "user_id")
        .agg(events=pl.len().cast(pl.Int64))
        .group_by("hour", "item_id")
        .agg(pl.col("events").sum(), users=pl.len().cast(pl.Int64))
        .collect(engine="streaming")
    )


def _dwell_hours(closed: pl.DataFrame) -> pl.DataFrame:
    dwell_s = pl.col("dwell_us") / _US_PER_S
    return (
        closed.filter(pl.col("dwell_us").is_not_null())
        .group_by(hour=(pl.col("hour").cast(pl.Int64) * HOUR_US).cast(_TIME))
        .agg(
            n=pl.len().cast(pl.Int64),
            mean_s=dwell_s.mean(),
            m2_s2=dwell_s.var(ddof=0) * pl.len(),
            min_s=dwell_s.min(),
            max_s=dwell_s.max(),
        )
    )


def _as_it_is(rows: pl.DataFrame) -> pl.DataFrame:
    return rows
