"""The same work by several engines: the files of an event log in, the four session tables out."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.event_log import EventLog, arrive, lake_of
from pipeline.errors import HourglassError
from pipeline.hours import HOUR_S
from pipeline.lake.tables import DWELL_HOURS, EVENTS, ITEM_HOURS, OPEN_SESSIONS, SESSIONS, TableSpec
from pipeline.settings.settings import Settings, SparkSettings
from pipeline.settings.tables import SessionSettings
from pipeline.spark.compute import Compute

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

SQL = Path(__file__).with_name("sql")
TABLES = (SESSIONS, OPEN_SESSIONS, ITEM_HOURS, DWELL_HOURS)
# The other engines mark no robots.
RULES = SessionSettings(robot_events_per_hour=None, robot_run_hours=None)
US = 1_000_000
HOUR_US = HOUR_S * US
GAP_US = RULES.gap_s * US
MAX_SESSION_US = RULES.max_session_hours * HOUR_US


@dataclass(frozen=True)
class Made:
    """Parquet files by table, and the seconds that each stage took, where an engine has stages."""

    paths: dict[str, list[str]]
    stages_s: dict[str, float]


@dataclass(frozen=True)
class Limits:
    """What an engine may use; memory as DuckDB and Spark write it."""

    driver_memory: str
    duckdb_memory: str
    threads: int


# Fills a folder that does not exist yet.
Engine = Callable[[EventLog, Path], Made]


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def spark_session(limits: Limits, scratch: Path) -> SparkSession:
    """Spark as the commands start it."""
    from pipeline.spark.session import start_spark

    settings = SparkSettings(driver_memory=limits.driver_memory)
    return start_spark(settings, scratch, lasting=True)


def engine(name: str, limits: Limits, scratch: Path) -> Engine:
    """An engine by name, started; what it needs for itself goes below ``scratch``."""
    if name == "hourglass":
        return partial(_hourglass, Compute(_no_spark, SparkSettings().from_mib, True))
    if name == "hourglass_spark":
        session = spark_session(limits, scratch)
        return partial(_hourglass, Compute(lambda: session, from_mib=0))
    if name == "windows":
        return partial(_windows, spark_session(limits, scratch))
    if name == "polars":
        from benchmarks.polars_engine import sessionize

        return sessionize
    return partial(_duckdb, limits, scratch, *_DUCKDB[name])


# Whether each hour has its own file, and which tables are written.
_DUCKDB = {
    "duckdb": (True, TABLES),
    "duckdb_one_file": (False, TABLES),
    "duckdb_loose": (False, (SESSIONS,)),
}
ENGINES = ("hourglass", "hourglass_spark", "windows", *_DUCKDB, "polars")


def _no_spark() -> SparkSession:
    raise HourglassError("Spark would be started: so much is not computed in one process")


def _hourglass(compute: Compute, log: EventLog, folder: Path) -> Made:
    """What `hourglass sessionize` does, from files to commits."""
    from pipeline.sessions.sessionize import sessionize

    settings = Settings(work=folder, sessions=RULES)
    lake = lake_of(settings)
    arrive(lake, log, log.hours)
    started = time.perf_counter()
    sessionize(compute, lake, settings, log.hours)
    took_s = time.perf_counter() - started
    paths = {spec.name: [file.path for file in lake.files(spec)] for spec in TABLES}
    return Made(paths, {"all": took_s})


def _windows(spark: SparkSession, log: EventLog, folder: Path) -> Made:
    """Spark SQL window functions throughout, and the same commits; no digests of the content."""
    from pyspark import StorageLevel

    from pipeline.lake.parquet_files import read_by_hour, write_by_hour

    def ask(name: str, **parameters: int | bool) -> DataFrame:
        text = (SQL / "windows" / f"{name}.sql").read_text(encoding="utf-8")
        return spark.sql(text, args=parameters)

    lake = lake_of(Settings(work=folder, sessions=RULES))
    arrive(lake, log, log.hours)
    started = time.perf_counter()
    first_us, stop_us = log.hours.first.index * HOUR_US, log.hours.stop.index * HOUR_US
    read_by_hour(spark, EVENTS.schema, log.files).createOrReplaceTempView("hour_events")
    read_by_hour(spark, OPEN_SESSIONS.schema, ()).createOrReplaceTempView("carried")
    placed = ask(
        "sessionize", given=False, gap_us=GAP_US, max_session_us=MAX_SESSION_US, hour_us=HOUR_US
    ).persist(StorageLevel.MEMORY_AND_DISK)
    placed.createOrReplaceTempView("placed")
    closed = ask("closed_sessions", first_us=first_us, stop_us=stop_us)
    closed.createOrReplaceTempView("closed")
    frames = {
        SESSIONS: closed,
        OPEN_SESSIONS: ask("open_sessions", first_us=first_us, stop_us=stop_us),
        ITEM_HOURS: ask("item_hours", first_us=first_us, stop_us=stop_us),
        DWELL_HOURS: ask("dwell_hours"),
    }
    stages_s = {}
    for spec, frame in frames.items():
        before = time.perf_counter()
        files = write_by_hour(frame, spec.schema, lake.staging(spec))
        lake.replace(spec, log.hours, files, {})
        stages_s[spec.name] = time.perf_counter() - before
    placed.unpersist()
    stages_s["all"] = time.perf_counter() - started
    return Made({spec.name: [f.path for f in lake.files(spec)] for spec in TABLES}, stages_s)


def _duckdb(
    limits: Limits,
    scratch: Path,
    by_hour: bool,
    tables: Sequence[TableSpec],
    log: EventLog,
    folder: Path,
) -> Made:
    """DuckDB: a file an hour, or for comparison one a table; and all tables, or only some."""
    import duckdb

    def sql(name: str) -> str:
        return (SQL / "duckdb" / f"{name}.sql").read_text(encoding="utf-8")

    folder.mkdir(parents=True)
    stages_s = {}
    started = time.perf_counter()
    config: dict[str, str | bool | int | float | list[str]] = {
        "threads": limits.threads,
        "memory_limit": limits.duckdb_memory,
        "temp_directory": str(scratch / "duckdb"),
        "preserve_insertion_order": False,
        # More hours than this would be written in several rounds, into ever smaller row groups.
        "partitioned_write_max_open_files": len(log.files) + 1000,
    }
    with duckdb.connect(config=config) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        variables = {
            "files": [file.path for file in log.files],
            "gap_us": GAP_US,
            "max_session_us": MAX_SESSION_US,
            "hour_us": HOUR_US,
            "stop_hour": log.hours.stop.index,
        }
        for name, value in variables.items():
            connection.execute(f"SET VARIABLE {name} = $1", [value])
        connection.execute(sql("place"))
        stages_s["place"] = time.perf_counter() - started
        parted = "PARTITION_BY (hour), WRITE_PARTITION_COLUMNS true," if by_hour else ""
        for spec in tables:
            before = time.perf_counter()
            target = folder / spec.name / ("" if by_hour else "all.parquet")
            target.parent.mkdir(exist_ok=True)
            connection.execute(
                f"COPY ({sql('closed_sessions' if spec is SESSIONS else spec.name)}) "
                f"TO '{target}' (FORMAT parquet, {parted} COMPRESSION zstd, COMPRESSION_LEVEL 1)"
            )
            stages_s[spec.name] = time.perf_counter() - before
    stages_s["all"] = time.perf_counter() - started
    return Made({spec.name: _below(folder / spec.name) for spec in tables}, stages_s)


def _below(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*.parquet"))
