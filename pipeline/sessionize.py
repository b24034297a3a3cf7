"""Sessionize: events -> ``sessions``, ``open_sessions``, ``item_hours``, ``dwell_hours``.

One code path for one hour and for a range of any length: it reads the range's events and the
sessions that stood open in the hour before, nothing more.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from pipeline import ingest
from pipeline.hours import HOUR_S, Hour, HourRange, contiguous
from pipeline.lake import FilledHour, Lake, State
from pipeline.queries import query, statement
from pipeline.schemas import (
    DWELL_HOURS,
    EVENTS,
    FILLED_HOURS,
    ITEM_HOURS,
    OPEN_SESSIONS,
    SESSIONS,
)
from pipeline.settings import SessionSettings, Settings
from pipeline.version import code_version

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

STEP = "sessionize"
NOTHING = "0-0"
_US = 1_000_000
_FORWARD_STEP_H = 24
_TRANSFORMS = ("sessionize", "closed_sessions", "open_sessions", "item_hours", "dwell_hours")
_EVENTS_PER_STEP = 20_000_000


@dataclass(frozen=True)
class SessionizeSummary:
    """What one run wrote: the hours in the order they were filled, and what was counted."""

    filled: tuple[HourRange, ...]
    asked: int
    missing_or_changed: int
    carried_on: int
    events: int
    closed_events: int


def place_events(
    spark: SparkSession, events: DataFrame, carried: DataFrame, rules: SessionSettings
) -> DataFrame:
    """Each event in its session: see ``sql/sessionize.sql`` for the columns."""
    return query(
        spark,
        "sessionize",
        {"hour_events": events, "carried": carried},
        given=rules.given,
        gap_us=rules.gap_s * _US,
        max_session_us=rules.max_session_hours * HOUR_S * _US,
        hour_us=HOUR_S * _US,
    )


def rules_digest(settings: Settings) -> str:
    """Digest of all that decides how events become sessions: the settings and the transforms."""
    rules = [settings.sessions.model_dump_json(), *map(statement, _TRANSFORMS)]
    return hashlib.sha256("\n".join(rules).encode()).hexdigest()[:16]


def stale_hours(
    lake: Lake, settings: Settings, stop: Hour, state: State | None = None
) -> list[Hour]:
    """Hours before ``stop`` that are unfilled, or filled from other events or other rules.

    Every hour from the first event on is wanted: an empty one still carries open sessions.
    ``state`` asks it of the tables as they stood then.
    """
    arrived = lake.filled(ingest.STEP, state=state)
    filled = lake.filled(STEP, state=state)
    first = min(arrived, default=stop)
    if stop <= first:
        return []
    rules = rules_digest(settings)
    return [
        hour
        for hour in HourRange(first, stop)
        if hour not in filled
        or filled[hour].config_digest != rules
        or filled[hour].input_digest != input_digest(arrived, hour, state_digest(filled, hour - 1))
    ]


def sessionize(
    spark: SparkSession,
    lake: Lake,
    settings: Settings,
    hours: HourRange,
    report: Callable[[HourRange], None] = lambda _hours: None,
) -> SessionizeSummary:
    """Fill a range, what is missing or has changed before it, and what that changes after it.

    Hours follow from one another, so a range can only be right when all before it is.  The
    recomputation goes forward over hours that were filled before, until the sessions left open
    at an hour's end come out as they were.
    """
    lake.undo_unfinished()
    arrived = lake.filled(ingest.STEP)
    before = lake.filled(STEP)
    asked = {hour for hour in hours if hour >= min(arrived, default=hours.first)}
    stale = set(stale_hours(lake, settings, hours.stop)) - asked
    pending = asked | stale
    done: list[HourRange] = []
    states: dict[Hour, FilledHour | str] = dict(before)
    events = closed_events = 0
    while pending:
        step = _first_step(pending, arrived)
        report(step)
        made, counted, closed = _fill(spark, lake, settings, step, arrived, states)
        states.update(made)
        pending.difference_update(step)
        done.append(step)
        events += counted
        closed_events += closed
        after = step.stop
        if after in before and made[after - 1] != state_digest(before, after - 1):
            # A day at once: an hour is too little work for one Spark job.
            pending.update(h for h in HourRange(after, after + _FORWARD_STEP_H) if h in before)
    filled = sum(len(step) for step in done)
    return SessionizeSummary(
        tuple(contiguous(hour for step in done for hour in step)),
        len(asked),
        len(stale),
        filled - len(asked | stale),
        events,
        closed_events,
    )


def _first_step(pending: set[Hour], arrived: Mapping[Hour, FilledHour]) -> HourRange:
    """The earliest pending hours, as many in a row as one Spark job should take."""
    first = stop = min(pending)
    rows = 0
    while stop in pending and (stop == first or rows < _EVENTS_PER_STEP):
        rows += arrived[stop].rows if stop in arrived else 0
        stop += 1
    return HourRange(first, stop)


def _fill(
    spark: SparkSession,
    lake: Lake,
    settings: Settings,
    hours: HourRange,
    arrived: Mapping[Hour, FilledHour],
    before: Mapping[Hour, FilledHour | str],
) -> tuple[dict[Hour, str], int, int]:
    """Compute and commit one range; returns its hours' state digests and what it counted."""
    from pyspark import StorageLevel

    hour_us = HOUR_S * _US
    bounds = {"first_us": hours.first.index * hour_us, "stop_us": hours.stop.index * hour_us}
    events = lake.read(spark, EVENTS, hours)
    previous = HourRange(hours.first - 1, hours.first)
    carried = lake.read(spark, OPEN_SESSIONS, previous)
    placed = place_events(spark, events, carried, settings.sessions)
    placed.persist(StorageLevel.MEMORY_AND_DISK)
    try:
        # Everything below is read from `placed`: opening thousands of small files is what costs.
        views = {"placed": placed}
        closed = query(spark, "closed_sessions", views, **bounds)
        opened = query(spark, "open_sessions", views, **bounds)
        item_hours = query(spark, "item_hours", views, **bounds)
        dwell_hours = query(spark, "dwell_hours", {"closed": closed})
        staged = [
            (spec, lake.stage(frame, spec))
            for spec, frame in (
                (SESSIONS, closed),
                (OPEN_SESSIONS, opened),
                (ITEM_HOURS, item_hours),
                (DWELL_HOURS, dwell_hours),
            )
        ]
        closed_digests = _digests(spark, closed, "CAST(dwell_s AS STRING)")
        open_digests = _digests(spark, opened, "CAST(UNIX_MICROS(chain_start) AS STRING)")
    finally:
        placed.unpersist()

    made_by = {
        "hourglass.step": STEP,
        "hourglass.config": rules_digest(settings),
        "hourglass.code": code_version(),
        "hourglass.inputs": json.dumps(
            {spec.name: lake.snapshots()[spec.name] for spec in (EVENTS, OPEN_SESSIONS)}
        ),
    }
    for spec, files in staged:
        lake.replace(spec, hours, files, made_by)
    states = {hour: open_digests.get(hour, (NOTHING, 0))[0] for hour in hours}
    rows = []
    for hour in hours:
        digest, count = closed_digests.get(hour, (NOTHING, 0))
        carried_state = states.get(hour - 1) or state_digest(before, hour - 1)
        rows.append(
            {
                "hour": hour.start,
                "step": STEP,
                "input_digest": input_digest(arrived, hour, carried_state),
                "output_digest": digest,
                "state_digest": states[hour],
                "config_digest": made_by["hourglass.config"],
                "code_version": made_by["hourglass.code"],
                "rows": count,
            }
        )
    lake.record_filled(STEP, hours, pa.Table.from_pylist(rows, FILLED_HOURS.schema), made_by)
    counted = sum(arrived[hour].rows for hour in hours if hour in arrived)
    return states, counted, sum(count for _, count in closed_digests.values())


def state_digest(filled: Mapping[Hour, FilledHour | str], hour: Hour) -> str:
    """Digest of the sessions open at the end of an hour; of nothing where it is not filled."""
    found = filled.get(hour, NOTHING)
    return found if isinstance(found, str) else found.state_digest


def input_digest(arrived: Mapping[Hour, FilledHour], hour: Hour, carried_state: str) -> str:
    """Digest of all that an hour's step reads: its events and what was carried into it."""
    events = arrived[hour].output_digest if hour in arrived else NOTHING
    return hashlib.sha256(f"{events}|{carried_state}".encode()).hexdigest()[:16]


def _digests(spark: SparkSession, rows: DataFrame, edge: str) -> dict[Hour, tuple[str, int]]:
    found = query(
        spark, "digest_sessions", {"placed_rows": rows.selectExpr("*", f"{edge} AS edge")}
    )
    return {Hour(row.hour_index): (row.digest, row.row_count) for row in found.collect()}
