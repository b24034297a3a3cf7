"""What Spark reads of the session tables, as it was known at an hour."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.dataset.as_known.known_sessions import KnownSessions, dwells_us
from pipeline.hours import Hour, HourRange
from pipeline.lake.lake import Lake, State
from pipeline.lake.tables import DWELL_HOURS, SESSIONS
from pipeline.sessions.dwell import moments_of_us

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


def known_closed(
    spark: SparkSession, frame: DataFrame, first: Hour, sessions: KnownSessions | None
) -> DataFrame:
    """Rows of ``sessions`` that closed since ``first``."""
    if sessions is None:
        return frame
    rows = sessions.rows.closed
    since = pa.scalar(first.start, rows.schema.field("hour").type)
    return _replaced(spark, frame, rows.filter(pc.greater_equal(rows["hour"], since)), sessions)


def known_opened(
    spark: SparkSession, frame: DataFrame, sessions: KnownSessions | None
) -> DataFrame:
    """Rows of ``open_sessions`` of the last hour."""
    return frame if sessions is None else _replaced(spark, frame, sessions.rows.opened, sessions)


def _replaced(
    spark: SparkSession, frame: DataFrame, rows: pa.Table, sessions: KnownSessions
) -> DataFrame:
    """The frame with these rows in the place of all that it has of late users."""
    users = spark.createDataFrame(pa.table({"user_id": sessions.user_ids}))
    others = frame.join(users, "user_id", "left_anti")
    return others.unionByName(spark.createDataFrame(rows.select(frame.columns)))


def known_item_hours(
    spark: SparkSession, frame: DataFrame, sessions: KnownSessions | None
) -> DataFrame:
    """Hour, item_id and events of ``item_hours`` without the events that were not known."""
    if sessions is None:
        return frame
    change = spark.createDataFrame(sessions.change)
    both = frame.select("hour", "item_id", "events").unionByName(change)
    sums = both.groupBy("hour", "item_id").agg({"events": "sum"})
    return sums.withColumnRenamed("sum(events)", "events").where("events > 0")


def known_dwell_hours(
    lake: Lake, hours: HourRange, state: State, sessions: KnownSessions | None
) -> list[dict[str, Any]]:
    """Rows of ``dwell_hours``, by hour."""
    rows: list[dict[str, Any]] = lake.arrow(DWELL_HOURS, hours, state).sort_by("hour").to_pylist()
    if sessions is None:
        return rows
    moments = {Hour.of(row["hour"]): row for row in rows}
    for hour in sessions.changed_hours:
        moments.pop(hour, None)
        dwell_s = _dwells_of(lake, hour, state, sessions)
        if hour in hours and len(dwell_s):
            moments[hour] = {"hour": hour.start, **moments_of_us(dwells_us(dwell_s))}
    return [moments[hour] for hour in sorted(moments)]


def _dwells_of(lake: Lake, hour: Hour, state: State, sessions: KnownSessions) -> pa.ChunkedArray:
    columns = ("hour", "user_id", "dwell_s", "is_robot")
    others = lake.arrow(SESSIONS, HourRange(hour, hour + 1), state, columns)
    others = others.filter(pc.invert(pc.is_in(others["user_id"], value_set=sessions.user_ids)))
    theirs = sessions.rows.closed.select(columns)
    theirs = theirs.filter(pc.equal(theirs["hour"], pa.scalar(hour.start, theirs["hour"].type)))
    rows = pa.concat_tables([others, theirs])
    counts = pc.and_(pc.is_valid(rows["dwell_s"]), pc.is_null(rows["is_robot"]))
    return rows.filter(counts)["dwell_s"]
