"""Sessionize: events -> ``sessions``, ``open_sessions``, ``item_hours``, ``dwell_hours``.

One code path for one hour and for a range of any length: it reads the range's events and the
sessions that stood open in the hour before, nothing more.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pipeline import ingest
from pipeline.errors import HourglassError
from pipeline.hours import HOUR_S, Hour, HourRange
from pipeline.lake import FilledHour, Lake
from pipeline.queries import query
from pipeline.schemas import (
    DWELL_HOURS,
    EVENTS,
    FILLED_HOURS,
    ITEM_HOURS,
    OPEN_SESSIONS,
    SESSIONS,
    TableSpec,
)
from pipeline.settings import SessionSettings, Settings
from pipeline.version import code_version

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

STEP = "sessionize"
NOTHING = "0-0"
_US = 1_000_000
_FORWARD_STEP_H = 24


@dataclass(frozen=True)
class SessionizeSummary:
    """What one run wrote; ``stopped_because`` says why no later hour was recomputed."""

    hours: HourRange
    events: int
    closed_events: int
    stopped_because: str


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


def sessionize(
    spark: SparkSession, lake: Lake, settings: Settings, hours: HourRange
) -> SessionizeSummary:
    """Fill a range, then go on over the hours that were filled before, while they change.

    Raises:
        HourglassError: the hour before the range is needed and not filled.
    """
    arrived = lake.filled(ingest.STEP)
    before = lake.filled(STEP)
    _require_previous(hours, arrived, before)
    states, events, closed = _fill(spark, lake, settings, hours, arrived, before)
    stop = hours.stop
    reason = "no later hour had been filled"
    while stop in before:
        if states[stop - 1] == before[stop - 1].state_digest:
            reason = f"the sessions open at the end of {stop - 1} came out as they were"
            break
        # A day at once: an hour is too little work for one Spark job.
        following = HourRange(stop, min(stop + _FORWARD_STEP_H, max(before) + 1))
        states, _, _ = _fill(spark, lake, settings, following, arrived, {**before, **states})
        stop = following.stop
        reason = "every later hour was recomputed"
    return SessionizeSummary(HourRange(hours.first, stop), events, closed, reason)


def _require_previous(
    hours: HourRange, arrived: Mapping[Hour, FilledHour], filled: Mapping[Hour, Any]
) -> None:
    earliest = min(arrived, default=hours.first)
    if earliest < hours.first and hours.first - 1 not in filled:
        raise HourglassError(
            f"hour {hours.first - 1} is not sessionized yet, and {hours.first} continues from it: "
            f"run `hourglass backfill --from {earliest} --to {hours.stop}`"
        )


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
        views = {"placed": placed}
        closed_paths = lake.stage(query(spark, "closed_sessions", views, **bounds), SESSIONS)
        open_paths = lake.stage(query(spark, "open_sessions", views, **bounds), OPEN_SESSIONS)
    finally:
        placed.unpersist()
    item_paths = lake.stage(query(spark, "item_hours", {"hour_events": events}), ITEM_HOURS)
    closed = _staged(spark, SESSIONS, closed_paths)
    opened = _staged(spark, OPEN_SESSIONS, open_paths)
    dwell_paths = lake.stage(query(spark, "dwell_hours", {"closed": closed}), DWELL_HOURS)
    closed_digests = _digests(spark, closed, "CAST(dwell_s AS STRING)")
    open_digests = _digests(spark, opened, "CAST(UNIX_MICROS(chain_start) AS STRING)")

    made_by = {
        "hourglass.step": STEP,
        "hourglass.config": settings.digest("sessions"),
        "hourglass.code": code_version(),
        "hourglass.inputs": json.dumps(
            {spec.name: lake.snapshots()[spec.name] for spec in (EVENTS, OPEN_SESSIONS)}
        ),
    }
    for spec, paths in (
        (SESSIONS, closed_paths),
        (OPEN_SESSIONS, open_paths),
        (ITEM_HOURS, item_paths),
        (DWELL_HOURS, dwell_paths),
    ):
        lake.replace(spec, [hours], paths, made_by)
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
    lake.record_filled(STEP, [hours], pa.Table.from_pylist(rows, FILLED_HOURS.schema), made_by)
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


def _staged(spark: SparkSession, spec: TableSpec, paths: list[str]) -> DataFrame:
    from pyspark.sql.pandas.types import from_arrow_schema

    schema = from_arrow_schema(spec.schema)
    if not paths:
        return spark.createDataFrame([], schema)
    return spark.read.schema(schema).parquet(*paths)


def _digests(spark: SparkSession, rows: DataFrame, edge: str) -> dict[Hour, tuple[str, int]]:
    found = query(
        spark, "digest_sessions", {"placed_rows": rows.selectExpr("*", f"{edge} AS edge")}
    )
    return {Hour(row.hour_index): (row.digest, row.row_count) for row in found.collect()}
