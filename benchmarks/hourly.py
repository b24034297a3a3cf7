"""What one hour costs after more or less history."""

from __future__ import annotations

import shutil
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.engines import RULES, Limits, spark_session
from benchmarks.event_log import EventLog, arrive, generate, lake_of
from pipeline.hours import DAY_H, Hour, HourRange
from pipeline.lake.tables import SESSIONS
from pipeline.settings.settings import Settings
from pipeline.spark.compute import Compute

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from pipeline.lake.lake import Lake


@dataclass
class _History:
    """A lake with so many days behind it; ``by_the_hour`` says how they were filled."""

    days: int
    by_the_hour: bool
    lake: Lake
    settings: Settings
    filling_s: float = 0.0
    steps_s: list[float] = field(default_factory=list)

    @property
    def name(self) -> str:
        """How the result is headed."""
        return f"{self.days} d, by the {'hour' if self.by_the_hour else 'day'}"


def measure(
    logs: Path,
    scratch: Path,
    limits: Limits,
    *,
    days: Sequence[int],
    by_the_hour: Sequence[int],
    events_per_hour: int,
    steps: int,
    seed: int,
) -> dict[str, Any]:
    """Time the same hours, one by one, in lakes with different history, taking turns.

    All lakes hold the same log, cut off at different times in the past.  History is filled a day
    a step and its last day by the hour, or all of it by the hour; each step commits its events
    before, as ingest does, and only ``sessionize`` is timed.
    """
    # A day more than is timed: logs end in whole days.
    whole_days = max([*days, *by_the_hour]) + -(-steps // DAY_H)
    log = generate(logs, whole_days * DAY_H * events_per_hour, whole_days, seed)
    spark = spark_session(limits, scratch / "spark")
    begin = log.hours.first + max([*days, *by_the_hour]) * DAY_H
    histories = []
    for length, hourly in [(d, False) for d in days] + [(d, True) for d in by_the_hour]:
        folder = scratch / f"history-{length}-{'hours' if hourly else 'days'}"
        shutil.rmtree(folder, ignore_errors=True)
        settings = Settings(work=folder, sessions=RULES)
        history = _History(length, hourly, lake_of(settings), settings)
        started = time.perf_counter()
        for part in _history_steps(begin, length, hourly):
            _step(spark, history, log, part)
        history.filling_s = time.perf_counter() - started
        print(f"{history.name}: filled in {history.filling_s:.0f} s", file=sys.stderr, flush=True)
        histories.append(history)
    for nth in range(steps):
        # Who goes first changes, so that no lake always meets the others' leavings.
        turn = nth % len(histories)
        for history in histories[turn:] + histories[:turn]:
            history.steps_s.append(
                _step(spark, history, log, HourRange(begin + nth, begin + nth + 1))
            )
    return {
        history.name: {
            "median_s": statistics.median(history.steps_s),
            "steps_s": history.steps_s,
            "filling_s": history.filling_s,
            "snapshots": len(list(history.lake.table(SESSIONS).snapshots())),
        }
        for history in histories
    }


def _history_steps(end: Hour, days: int, by_the_hour: bool) -> list[HourRange]:
    first = end - days * DAY_H
    last_day = first if by_the_hour else max(first, end - DAY_H)
    return [*HourRange(first, last_day).steps(DAY_H), *HourRange(last_day, end).steps(1)]


def _step(spark: SparkSession, history: _History, log: EventLog, hours: HourRange) -> float:
    from pipeline.sessions.sessionize import sessionize

    arrive(history.lake, log, hours)
    started = time.perf_counter()
    sessionize(Compute(lambda: spark, from_mib=0), history.lake, history.settings, hours)
    return time.perf_counter() - started
