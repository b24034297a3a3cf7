"""What is in a data set, computed by Spark where the events are too many for one process.

The rows and their bytes are those of `pipeline.dataset.rows.arrays`.  The statements' texts are
part of each data set's id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.array_types import Ints
from pipeline.dataset.as_known.known_sessions import KnownSessions
from pipeline.dataset.as_known.known_tables import (
    known_closed,
    known_dwell_hours,
    known_item_hours,
    known_opened,
)
from pipeline.dataset.inputs import Frame
from pipeline.dataset.manifest import ContextField, DwellBins, Manifest, StepCounts
from pipeline.dataset.rows.encoding import (
    extended_context_fields,
    extended_event_types,
    extended_vocabulary,
    fitted_dwell_bins,
    vocabulary_table,
)
from pipeline.dataset.rows.event_log import refuse_absent
from pipeline.dataset.rows.support_filter import refuse_nothing
from pipeline.dataset.write import POPULARITY, DatasetContent, shard_cuts, write_shard
from pipeline.hours import US_PER_HOUR, HourRange
from pipeline.lake.lake import Lake, State
from pipeline.lake.sql import query
from pipeline.lake.tables import ITEM_HOURS, OPEN_SESSIONS, SESSIONS
from pipeline.settings.tables import DatasetSettings

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession


@dataclass(frozen=True)
class Source:
    """Where the rows are read, and by which rules."""

    spark: SparkSession
    lake: Lake
    state: State
    rules: DatasetSettings
    frame: Frame
    late_users: KnownSessions | None = None  # of users with events that came after the frame


@contextmanager
def fitted(
    source: Source, former: Manifest | None, former_items: Sequence[str], cold: Sequence[str]
) -> Iterator[DatasetContent]:
    """What a model may learn from at the end of a frame, for as long as the context is open.

    Args:
        source: the rows.
        former: manifest of the data set that is extended.
        former_items: its vocabulary.
        cold: items that join the vocabulary though there is no event to learn from.

    Raises:
        HourglassError: no event is left by the filter, or none has a context field that the rules
            name.
    """
    rules, frame = source.rules, source.frame
    sessions = _sessions(source)
    with _known_events(source, sessions, rules.context) as events:
        window = events.where(f"event_us >= {frame.window_start.index * US_PER_HOUR}")
        remaining, steps = filter_support(source.spark, window, rules)
        refuse_nothing(steps, frame)
        vocabulary = _vocabulary(remaining, former_items, cold)
        fields = _context_fields(source, remaining, sessions, former)
        types = _event_types(events, former)
        dwell = _dwell_bins(source)
        # What cold items have is too little to learn from: it stays out as without them.
        has_events = pc.greater(vocabulary["events"], 0)
        learned = vocabulary.filter(has_events) if rules.cold_items else vocabulary
        rows = _Rows(window=remaining, events=events, vocabulary=_terms(source, learned))
        histories = _histories(source, rows, types, fields, dwell, keep_idle=False)
        yield DatasetContent(
            event_types=types,
            context_fields=fields,
            dwell=dwell,
            steps=steps,
            n_window_events=steps[0].events,
            vocabulary=vocabulary,
            popularity=_popularity(source, rows.vocabulary),
            write_shards=_shards_writer(histories, rules.events_per_shard),
        )


@contextmanager
def encoded(
    source: Source, base: Manifest, vocabulary: pa.Table, keep_idle: bool
) -> Iterator[DatasetContent]:
    """The events of a frame's window, and each user's history, in the encoding of a data set."""
    frame, fields = source.frame, base.context_fields
    names = [field.name for field in fields]
    with _known_events(source, _sessions(source), names) as events:
        window = events.where(f"event_us >= {frame.window_start.index * US_PER_HOUR}")
        types = _event_types(events, base)
        rows = _Rows(window=window, events=events, vocabulary=_terms(source, vocabulary))
        histories = _histories(source, rows, types, fields, base.dwell, keep_idle)
        yield DatasetContent(
            event_types=types,
            context_fields=fields,
            dwell=base.dwell,
            steps=(),
            # Recommending looks at no hours: nothing there needs counting.
            n_window_events=window.count() if frame.as_of > frame.window_start else 0,
            vocabulary=vocabulary,
            popularity=_popularity(source, rows.vocabulary),
            write_shards=_shards_writer(histories, source.rules.events_per_shard),
        )


def filter_support(
    spark: SparkSession, events: DataFrame, rules: DatasetSettings
) -> tuple[DataFrame, tuple[StepCounts, ...]]:
    """As `pipeline.dataset.rows.support_filter`: the rows that stay, and the counts."""
    thresholds = (
        ("items", rules.min_item_events),
        ("sessions", rules.min_session_events),
        ("users", rules.min_user_sessions),
    )
    steps = [_counted(spark, "window", events)]
    remaining = events
    while True:
        before = steps[-1].events
        for what, least in thresholds:
            remaining = query(spark, f"support_{what}", {"kept_events": remaining}, least=least)
            # Cut the lineage: a fixed point may take many passes, each a join upon the last.
            remaining = remaining.localCheckpoint()
            steps.append(_counted(spark, f"{what} >= {least}", remaining))
        if rules.support_passes == "single" or steps[-1].events == before:
            return remaining, tuple(steps)


def _counted(spark: SparkSession, step: str, events: DataFrame) -> StepCounts:
    counts = query(spark, "support_counts", {"kept_events": events}).collect()[0]
    return StepCounts(step=step, **counts.asDict())


def _sessions(source: Source) -> dict[str, DataFrame]:
    """``closed`` sessions of all hours, and those that stand ``opened`` at the end."""
    frame = source.frame
    closed = source.lake.read(source.spark, SESSIONS, frame.all_hours, source.state)
    return {
        "closed": known_closed(source.spark, closed, frame.history_start, source.late_users),
        "opened": _opened(source),
    }


def _opened(source: Source) -> DataFrame:
    opened = source.lake.read(source.spark, OPEN_SESSIONS, _last_hour(source.frame), source.state)
    return known_opened(source.spark, opened, source.late_users)


@contextmanager
def _known_events(
    source: Source, sessions: dict[str, DataFrame], context: Sequence[str]
) -> Iterator[DataFrame]:
    """Columns of `history_events.sql`: each event once, its values of ``context`` as a list."""
    events = query(
        source.spark,
        "history_events",
        sessions,
        since_us=source.frame.history_start.index * US_PER_HOUR,
        as_of_us=source.frame.as_of.index * US_PER_HOUR,
        all_types=not source.rules.event_types,
        event_types="\x1f".join(source.rules.event_types),
        context_fields="\x1f".join(context),
    )
    events.persist()
    try:
        yield events
    finally:
        events.unpersist()


def _last_hour(frame: Frame) -> HourRange:
    return HourRange(frame.as_of - 1, frame.as_of)


def _vocabulary(remaining: DataFrame, former: Sequence[str], cold: Sequence[str]) -> pa.Table:
    counts = {
        row["item_id"]: row["count"] for row in remaining.groupBy("item_id").count().collect()
    }
    names = sorted({*counts, *former, *cold})
    code = {name: number for number, name in enumerate(names)}

    def codes(item_ids: Sequence[str]) -> Ints:
        return np.array([code[item_id] for item_id in item_ids], np.int64)

    events = np.array([counts.get(name, 0) for name in names], np.int64)
    items, support = extended_vocabulary(events, codes(former), codes(cold))
    return vocabulary_table(np.array(names, object)[items], support)


def _event_types(events: DataFrame, former: Manifest | None) -> tuple[str, ...]:
    occurring = [row.event_type for row in events.select("event_type").distinct().collect()]
    return extended_event_types(occurring, () if former is None else former.event_types)


def _context_fields(
    source: Source,
    remaining: DataFrame,
    sessions: dict[str, DataFrame],
    base: Manifest | None,
) -> tuple[ContextField, ...]:
    rules = source.rules
    if not rules.context:
        return ()
    former = () if base is None else base.context_fields
    most = rules.max_context_values + max((len(field.values) for field in former), default=0)
    views = {"kept_events": remaining}
    rows = query(source.spark, "context_values", views, most=most).collect()
    rows.sort(key=lambda row: (-row.events, row.value))
    ranked = [
        [row.value for row in rows if row.field == column] for column in range(len(rules.context))
    ]
    fields = extended_context_fields(rules, rules.context, ranked, former)
    unseen = [field.name for field in fields if not field.values]
    if unseen:
        names = query(source.spark, "context_names", sessions).collect()
        refuse_absent(unseen, frozenset(row.name for row in names))
    return fields


def _dwell_bins(source: Source) -> DwellBins:
    """The bins of a window: of sessions that closed in it, and of the open ones."""
    lake, frame, state = source.lake, source.frame, source.state
    opened = query(source.spark, "open_dwell", {"opened": _opened(source)})
    open_us = opened.toArrow()["dwell_us"].drop_null().to_numpy()
    window = HourRange(frame.window_start, frame.as_of)
    hours = known_dwell_hours(lake, window, state, source.late_users)
    return fitted_dwell_bins(hours, open_us, source.rules)


@dataclass(frozen=True)
class _Rows:
    """Events that make histories: those of the window, all, and the items that are let in."""

    window: DataFrame
    events: DataFrame
    vocabulary: DataFrame


def _terms(source: Source, vocabulary: pa.Table) -> DataFrame:
    rows = vocabulary.select(["item", "item_id"]).to_pandas()
    return source.spark.createDataFrame(rows, "item int, item_id string")


def _popularity(source: Source, vocabulary: DataFrame) -> pa.Table:
    hours = source.frame.popular_hours(source.rules)
    recent = source.lake.read(source.spark, ITEM_HOURS, hours, source.state)
    recent = known_item_hours(source.spark, recent, source.late_users)
    views = {"recent_hours": recent, "vocabulary": vocabulary}
    rows = query(source.spark, "window_popularity", views).toArrow().cast(POPULARITY)
    # Sorted here: Spark would compute everything once more to find out where to cut it.
    return rows.sort_by([("hour_index", "ascending"), ("item", "ascending")])


def _histories(
    source: Source,
    rows: _Rows,
    types: Sequence[str],
    fields: Sequence[ContextField],
    dwell: DwellBins,
    keep_idle: bool,
) -> DataFrame:
    from pyspark.sql import functions

    spark = source.spark
    context = rows.events.where(f"event_us < {source.frame.window_start.index * US_PER_HOUR}")
    event_codes = [(name, code) for code, name in enumerate(types)]
    histories = query(
        spark,
        "histories",
        {
            "context_events": _with_codes(spark, context, fields),
            "window_events": _with_codes(spark, rows.window, fields),
            "vocabulary": rows.vocabulary,
            "event_codes": spark.createDataFrame(event_codes, "event_type string, code smallint"),
        },
        width_s=dwell.width_s,
        bins=dwell.bins,
        max_context=source.rules.max_history_events,
        keep_idle=keep_idle,
    )
    for column in range(len(fields)):
        of_field = functions.transform("codes", _entry(column))
        histories = histories.withColumn(f"context_{column}", of_field)
    return histories.drop("codes")


def _entry(column: int) -> Callable[[Column], Column]:
    return lambda codes: codes[column]


def _with_codes(
    spark: SparkSession, events: DataFrame, fields: Sequence[ContextField]
) -> DataFrame:
    """Events with ``codes``: of each context field the code of the event's value, 0 = unknown."""
    coded = events.selectExpr("*", "CAST(ARRAY() AS ARRAY<INT>) AS codes")
    for column, field in enumerate(fields):
        codes = [(value, code) for code, value in enumerate(field.values, start=1)]
        views = {
            "told_events": coded,
            "value_codes": spark.createDataFrame(codes, "value string, code int"),
        }
        coded = query(spark, "context_codes", views, field=column)
    return coded


def _shards_writer(histories: DataFrame, events_per_shard: int) -> Callable[[Path], None]:
    """Writes shards in the order of users, each with about as many events."""
    from pyspark.sql import functions

    def write(folder: Path) -> None:
        histories.persist()
        try:
            users = histories.selectExpr("user_id", "SIZE(item) AS events").toArrow()
            users = users.sort_by("user_id")
            cuts = shard_cuts(users["events"].to_numpy().astype(np.int64), events_per_shard)
            bounds = [users["user_id"][cut].as_py() for cut in cuts]
            reached = [functions.lit(bound) <= functions.col("user_id") for bound in bounds]
            number_of = sum((each.cast("int") for each in reached), functions.lit(0))
            (
                histories.withColumn("shard", number_of)
                .repartitionById(len(bounds) + 1, functions.col("shard"))
                .sortWithinPartitions("user_id")
                .mapInArrow(_shard_writer(folder), "shard int")
                .collect()
            )
        finally:
            histories.unpersist()

    return write


def _shard_writer(
    folder: Path,
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """A task's rows are those of one shard, in order."""

    def write(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        filled = [batch for batch in batches if batch.num_rows]
        if not filled:
            return
        rows = pa.Table.from_batches(filled)
        number = rows["shard"][0].as_py()
        write_shard(rows.drop_columns(["shard"]), folder, number)
        yield pa.record_batch({"shard": pa.array([number], pa.int32())})

    return write
