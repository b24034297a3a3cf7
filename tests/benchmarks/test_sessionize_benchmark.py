"""That the benchmark compares like with like: every engine makes the same four tables."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.agreement import checksums, compare
from benchmarks.engines import GAP_US, Limits, engine
from benchmarks.event_log import EventLog, generate
from benchmarks.hourly import measure
from pipeline.errors import HourglassError
from pipeline.hours import DAY_H
from pipeline.lake.tables import EVENTS
from pipeline.spark.compute import Compute

LIMITS = Limits(driver_memory="2g", duckdb_memory="1GB", threads=2)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> EventLog:
    return generate(tmp_path_factory.mktemp("logs"), events=20_000, days=2, seed=7)


def made_by(name: str, log: EventLog, folder: Path) -> dict[str, list[str]]:
    return engine(name, LIMITS, folder / "scratch")(log, folder / name).paths


def test_a_log_holds_what_was_asked_for(log: EventLog) -> None:
    assert log.events == 20_000
    assert len(log.hours) == 2 * DAY_H
    tables = [pq.read_table(file.path, partitioning=None) for file in log.files]
    assert all(table.schema == EVENTS.schema for table in tables)
    for file, table in zip(log.files, tables, strict=True):
        assert set(table["hour"].to_pylist()) == {file.hour.start}
    keys = pa.chunked_array([chunk for table in tables for chunk in table["event_key"].chunks])
    assert len(keys.unique()) == 20_000


def test_a_log_has_sessions_across_hours_and_midnight_and_endless_ones(log: EventLog) -> None:
    rows = pl.read_parquet([file.path for file in log.files]).sort("user_id", "event_time")
    us = rows["event_time"].dt.epoch("us").to_numpy()
    days = rows["event_time"].dt.date().to_numpy()
    same = (rows["user_id"][1:] == rows["user_id"][:-1]).to_numpy() & (np.diff(us) < GAP_US)
    assert np.sum(same & (np.diff(us // GAP_US) > 0)) > 100
    assert np.sum(same & (days[1:] != days[:-1])) > 2
    assert np.sum(same & (np.diff(us) == 0)) > 2
    chain = np.cumsum(~np.insert(same, 0, False))
    lengths_us: dict[int, int] = defaultdict(int)
    for number, passed in zip(chain[1:], np.diff(us) * same, strict=True):
        lengths_us[int(number)] += int(passed)
    assert max(lengths_us.values()) > DAY_H * GAP_US


def test_the_same_arguments_give_the_same_log(log: EventLog, tmp_path: Path) -> None:
    again = generate(tmp_path, events=20_000, days=2, seed=7)
    assert again.digests == log.digests
    assert [Path(f.path).read_bytes() for f in again.files] == [
        Path(f.path).read_bytes() for f in log.files
    ]


@pytest.mark.nightly
def test_engines_agree(log: EventLog, compute: Compute, tmp_path: Path) -> None:
    names = ("hourglass", "duckdb", "duckdb_loose", "polars")
    found = {name: checksums(made_by(name, log, tmp_path), "1GB") for name in names}
    compare(found)
    rows = {table: figures[0] for table, figures in found["hourglass"].items()}
    assert 15_000 < rows["sessions"] < 20_000 < rows["open_sessions"]
    assert found["duckdb_loose"].keys() == {"sessions"}


def test_another_value_is_noticed(log: EventLog, tmp_path: Path) -> None:
    paths = made_by("duckdb", log, tmp_path)
    right = checksums(paths, "1GB")
    changed = tmp_path / "changed.parquet"
    duckdb.read_parquet(paths["sessions"]).project(
        "* REPLACE (CASE WHEN position = 3 THEN 2 ELSE position END AS position)"
    ).write_parquet(str(changed))
    wrong = checksums({**paths, "sessions": [str(changed)]}, "1GB")
    with pytest.raises(HourglassError, match="disagree about sessions"):
        compare({"one": right, "other": wrong})


@pytest.mark.nightly
def test_hours_are_timed_after_history_of_several_lengths(compute: Compute, tmp_path: Path) -> None:
    found = measure(
        tmp_path / "logs",
        tmp_path / "lakes",
        LIMITS,
        days=[0],
        by_the_hour=[],
        events_per_hour=20,
        steps=2,
        seed=0,
    )
    assert found.keys() == {"0 d, by the day"}
    assert len(found["0 d, by the day"]["steps_s"]) == 2
