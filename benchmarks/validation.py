"""What validating an hour costs, beside sessionizing it, and after a long time of validating.

python -m benchmarks.validation --work FOLDER
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.engines import RULES, Limits, cores, spark_session
from benchmarks.event_log import EventLog, arrive, generate, lake_of
from benchmarks.sessionize import machine
from pipeline.hours import Hour, HourRange
from pipeline.settings.settings import Settings
from pipeline.spark.compute import Compute

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from pipeline.lake.lake import Lake

# Of a day's events the busiest hour has 7.5 %.
_DAY_OF_PEAK = 13.4


def main(arguments: list[str]) -> int:
    """Run what the arguments ask for, and print the results as JSON."""
    asked = _arguments(arguments)
    results: dict[str, Any] = {"machine": machine()}
    asked.work.mkdir(parents=True, exist_ok=True)
    if asked.events:
        results["one hour"] = _one_hour(asked.work, asked.events, asked.repeats)
    if asked.hours:
        results["over time"] = _over_time(asked.work, asked.hours)
    print(json.dumps(results, indent=1))
    return 0


def _arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.validation", description=__doc__)
    parser.add_argument("--events", type=float, default=1e6, help="of the large hour; 0: leave out")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--hours", type=int, default=1000, help="validated in a row; 0: leave out")
    parser.add_argument("--work", type=Path, required=True, help="folder for logs and tables")
    return parser.parse_args(arguments)


def _one_hour(work: Path, events: float, repeats: int) -> dict[str, Any]:
    """Sessionize and validate the same hour, in turns, each time in a new lake."""
    spark = spark_session(Limits("4g", "8GB", cores()), work / "spark")
    small = generate(work / "logs", 100_000, 1, seed=1)
    _measure(spark, work, small)
    log = generate(work / "logs", int(events * _DAY_OF_PEAK), 1, seed=0)
    runs = [_measure(spark, work, log) for _ in range(repeats)]
    medians = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    validating_s = medians["validate_events_s"] + medians["validate_sessions_s"]
    return {**medians, "validate / sessionize": validating_s / medians["sessionize_s"]}


def _measure(spark: SparkSession, work: Path, log: EventLog) -> dict[str, float]:
    from pipeline.quality.validate_hours import validate
    from pipeline.sessions.sessionize import sessionize

    largest = max(log.files, key=lambda file: file.rows)
    if largest.hour is None:
        raise ValueError(f"{largest.path}: not a file of one hour")
    hour = HourRange(largest.hour, largest.hour + 1)
    settings, lake = _new_lake(work / "lake")
    arrive(lake, log, hour)
    seconds: dict[str, float] = {"events": largest.rows}
    began = time.perf_counter()
    validate(lake, settings, hour, ("events",))
    seconds["validate_events_s"] = time.perf_counter() - began
    began = time.perf_counter()
    # The hour after it too, in which its sessions close.
    sessionize(
        Compute(lambda: spark, from_mib=0), lake, settings, HourRange(hour.first, hour.stop + 1)
    )
    seconds["sessionize_s"] = time.perf_counter() - began
    began = time.perf_counter()
    validate(lake, settings, HourRange(hour.stop, hour.stop + 1), ("sessions",))
    seconds["validate_sessions_s"] = time.perf_counter() - began
    return seconds


def _over_time(work: Path, hours: int) -> dict[str, Any]:
    """Add a page for one hour after the other; what that costs early, and what late."""
    from pipeline.lake.tables import SESSIONS
    from pipeline.quality.checks.expectations import validate_frame
    from pipeline.quality.checks.suite import load_suite, suite_values
    from pipeline.quality.hour_metrics import session_facts

    settings, _ = _new_lake(work / "long")
    first = Hour.parse("2024-03-01T00")
    suite = load_suite("session_hours", suite_values(first, settings))
    frame = session_facts(HourRange(first, first + 1), SESSIONS.schema.empty_table())
    frame = frame.assign(**_nothing())
    seconds = []
    for nth in range(hours):
        began = time.perf_counter()
        site, keep = settings.path("data_docs"), settings.quality.keep
        validate_frame(suite, frame, str(first + nth), site, keep)
        seconds.append(time.perf_counter() - began)
        if nth % 100 == 0:
            print(f"{nth} hours: {seconds[-1]:.3f} s", file=sys.stderr)
    return {
        "hours": hours,
        "kept": settings.quality.keep,
        "data_docs_s, hours 5 to 15": statistics.median(seconds[5:15]),
        "data_docs_s, last ten": statistics.median(seconds[-10:]),
    }


def _nothing() -> dict[str, float]:
    """The columns of a comparison without a past."""
    from pipeline.lake.tables import PROFILES
    from pipeline.quality.baseline import Baseline, session_comparison

    return session_comparison(None, Baseline({}, PROFILES.schema.empty_table()))


def _new_lake(folder: Path) -> tuple[Settings, Lake]:
    shutil.rmtree(folder, ignore_errors=True)
    settings = Settings(work=folder, sessions=RULES)
    return settings, lake_of(settings)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
