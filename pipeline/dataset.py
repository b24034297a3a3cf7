"""Data sets: what a model may know at an hour T, frozen into shards.

``freeze`` makes a data set as of T.  ``hold_out`` makes, in the same format and with the same
vocabulary and bins, the events that follow: the test part.  ``histories_at`` makes the requests
that recommendations answer.  None reads anything that happened at or after its own end.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline import ingest, staleness
from pipeline.dwell import Moments, merged, moments_of_us
from pipeline.errors import HourglassError, UsageError
from pipeline.hours import HOUR_S, Hour, HourRange, parse_duration_h
from pipeline.lake import Lake, State
from pipeline.queries import query, statement
from pipeline.schemas import DWELL_HOURS, ITEM_HOURS, OPEN_SESSIONS, SESSIONS
from pipeline.settings import DatasetSettings, Settings
from pipeline.support import filter_support
from pipeline.version import code_version

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

FORMAT = 1
_HOUR_US = HOUR_S * 1_000_000
_TRANSFORMS = (
    "history_events",
    "support_items",
    "support_sessions",
    "support_users",
    "histories",
    "open_dwell",
    "window_popularity",
)
VOCABULARY = pa.schema(
    [
        pa.field("item", pa.int32()),
        pa.field("item_id", pa.string()),
        pa.field("events", pa.int64()),
    ]
)
POPULARITY = pa.schema(
    [
        pa.field("item", pa.int32()),
        pa.field("hour_index", pa.int64()),
        pa.field("events", pa.int64()),
    ]
)


@dataclass(frozen=True)
class _Frame:
    """The hours a part covers: ``[history_start, window_start)`` is context."""

    history_start: Hour
    window_start: Hour
    as_of: Hour

    @property
    def all_hours(self) -> HourRange:
        return HourRange(self.history_start, self.as_of)


@dataclass(frozen=True)
class _Part:
    """What a part is written from."""

    folder: Path
    frame: _Frame
    state: State
    context: DataFrame
    window: DataFrame
    popular_hours: HourRange
    keep_idle: bool = False


def freeze(
    spark: SparkSession, lake: Lake, settings: Settings, as_of: Hour, extend: Path | None = None
) -> Path:
    """Freeze a data set as of the start of ``as_of``; returns its folder, made anew or not.

    ``extend`` is a data set whose vocabulary comes first, so that its models can be continued.

    Raises:
        HourglassError: an hour before T is not sessionized, or no event is left by the filter.
    """
    rules = settings.dataset
    window_start = as_of - parse_duration_h(rules.window)
    frame = _Frame(window_start - parse_duration_h(rules.history), window_start, as_of)
    popular = HourRange(as_of - parse_duration_h(rules.popularity_window), as_of)
    state = lake.state()
    base = [] if extend is None else _vocabulary_rows(extend)
    base_types = [] if extend is None else read_manifest(extend)["event_types"]
    went_in = {
        "as_of": str(as_of),
        "dataset": rules.model_dump(mode="json"),
        "sessions": settings.sessions.model_dump(mode="json"),
        "base_vocabulary": [row["item_id"] for row in base],
        "base_event_types": base_types,
        **_inputs(lake, settings, frame, popular, state),
    }
    folder = settings.path("shards") / _digest(went_in)
    if folder.exists():
        return folder
    events = _history(spark, lake, rules, frame, state)
    events.persist()
    try:
        window = events.where(f"event_us >= {frame.window_start.index * _HOUR_US}")
        kept, steps = filter_support(spark, window, rules)
        vocabulary = _extended(base, kept)
        if vocabulary.num_rows == 0 or not steps[-1]["events"]:
            raise HourglassError(
                f"no event of {frame.window_start} to {as_of} is left by the support filter "
                f"({_attrition(steps)}): widen dataset.window or lower dataset.min_*"
            )
        context = events.where(f"event_us < {frame.window_start.index * _HOUR_US}")
        moments = _dwell_moments(spark, lake, frame, state)
        manifest = {
            "format": FORMAT,
            "dataset_id": folder.name,
            "as_of": str(as_of),
            "event_types": _appended(base_types, events),
            "steps": steps,
            "dwell": _bins(moments, rules),
        }
        part = _Part(folder, frame, state, context, kept, popular)
        return _write(spark, lake, settings, part, manifest, vocabulary)
    finally:
        events.unpersist()


def hold_out(
    spark: SparkSession, lake: Lake, settings: Settings, base: Path, hours: HourRange
) -> Path:
    """The events of ``hours`` as test part of a data set that was frozen as of their start.

    Raises:
        UsageError: the hours do not begin where the data set ends.
        HourglassError: the hours are not sessionized, or hold no event on a known item.
    """
    base_manifest = read_manifest(base)
    if base_manifest["as_of"] != str(hours.first):
        raise UsageError(
            f"data set {base.name} is as of {base_manifest['as_of']}: "
            f"its test part cannot start at {hours.first}"
        )
    return _follow(spark, lake, settings, base, base_manifest, hours, keep_idle=False)


def histories_at(
    spark: SparkSession, lake: Lake, settings: Settings, base: Path, as_of: Hour
) -> Path:
    """Every user's history as it stands at ``as_of``, in the terms of the data set ``base``."""
    base_manifest = read_manifest(base)
    return _follow(
        spark, lake, settings, base, base_manifest, HourRange(as_of, as_of), keep_idle=True
    )


def _follow(
    spark: SparkSession,
    lake: Lake,
    settings: Settings,
    base: Path,
    base_manifest: dict[str, Any],
    hours: HourRange,
    keep_idle: bool,
) -> Path:
    rules = settings.dataset
    reach_h = parse_duration_h(rules.history) + parse_duration_h(rules.window)
    frame = _Frame(hours.first - reach_h, hours.first, hours.stop)
    # Up to the end, because a system that follows popularity is served it fresh every hour; it may
    # use only the hours before that of a request.
    popular = HourRange(hours.first - parse_duration_h(rules.popularity_window), hours.stop)
    state = lake.state()
    went_in = {
        "base": base.name,
        "hours": str(hours),
        "keep_idle": keep_idle,
        "dataset": rules.model_dump(mode="json"),
        "sessions": settings.sessions.model_dump(mode="json"),
        **_inputs(lake, settings, frame, popular, state),
    }
    folder = settings.path("frozen") / _digest(went_in)
    if folder.exists():
        return folder
    events = _history(spark, lake, rules, frame, state)
    events.persist()
    try:
        start_us = frame.window_start.index * _HOUR_US
        window = events.where(f"event_us >= {start_us}")
        manifest = {
            **base_manifest,
            "dataset_id": folder.name,
            "base_dataset_id": base.name,
            "as_of": str(frame.as_of),
            "event_types": _appended(base_manifest["event_types"], events),
            "steps": [],
            "n_window_events": window.count(),
        }
        context = events.where(f"event_us < {start_us}")
        part = _Part(folder, frame, state, context, window, popular, keep_idle)
        vocabulary = pa.Table.from_pylist(_vocabulary_rows(base), VOCABULARY)
        return _write(spark, lake, settings, part, manifest, vocabulary)
    finally:
        events.unpersist()


def _inputs(
    lake: Lake, settings: Settings, frame: _Frame, popular: HourRange, state: State
) -> dict[str, Any]:
    """Digests of all that the hours hold, and that they are all filled by the present rules.

    Content is named, not snapshots, so that a rebuilt lake gives the same data sets.
    """
    arrived = lake.filled(ingest.STEP, state=state)
    first = min(arrived, default=None)
    if first is None or first >= frame.as_of:
        raise HourglassError(f"no event is known before {frame.as_of}: ingest some first")
    missing = staleness.stale_hours(lake, settings, frame.as_of, state)
    if missing:
        raise HourglassError(
            f"hours before {frame.as_of} are not sessionized, or were from other events or rules: "
            f"{len(missing)} at least, from {missing[0]} on: "
            f"run `hourglass backfill --from {missing[0]} --to {frame.as_of}`"
        )
    reach = min(frame.history_start, popular.first)
    needed = HourRange(max(first, reach), frame.as_of)
    filled = lake.filled(staleness.STEP, needed, state)
    return {
        "sessions_in": [filled[h].output_digest if h in filled else "" for h in needed],
        "open_in": [staleness.state_digest(filled, hour) for hour in needed][-1:],
        "events_in": [arrived[h].output_digest if h in arrived else "" for h in needed],
        "transforms": [statement(name) for name in _TRANSFORMS],
    }


def _history(
    spark: SparkSession, lake: Lake, rules: DatasetSettings, frame: _Frame, state: State
) -> DataFrame:
    last = HourRange(frame.as_of - 1, frame.as_of)
    return query(
        spark,
        "history_events",
        {
            "closed": lake.read(spark, SESSIONS, frame.all_hours, state),
            "opened": lake.read(spark, OPEN_SESSIONS, last, state),
        },
        since_us=frame.history_start.index * _HOUR_US,
        as_of_us=frame.as_of.index * _HOUR_US,
        all_types=not rules.event_types,
        event_types="\x1f".join(rules.event_types),
    )


def _dwell_moments(spark: SparkSession, lake: Lake, frame: _Frame, state: State) -> Moments:
    """Moments of the window's dwell times: of sessions that closed in it, and of the open ones."""
    window = HourRange(frame.window_start, frame.as_of)
    last = HourRange(frame.as_of - 1, frame.as_of)
    opened = query(spark, "open_dwell", {"opened": lake.read(spark, OPEN_SESSIONS, last, state)})
    dwell_us = opened.toArrow()["dwell_us"].drop_null().to_numpy()
    still_open = [moments_of_us(dwell_us)] if len(dwell_us) else []
    hours = lake.arrow(DWELL_HOURS, window, state).sort_by("hour").to_pylist()
    return merged([*hours, *still_open])


def _extended(base: list[dict[str, Any]], kept: DataFrame) -> pa.Table:
    """The base's items first, then the new ones, most frequent first."""
    counts = {row["item_id"]: row["count"] for row in kept.groupBy("item_id").count().collect()}
    old = [row["item_id"] for row in base]
    new = sorted(counts.keys() - set(old), key=lambda item_id: (-counts[item_id], item_id))
    rows = [
        {"item": place, "item_id": item_id, "events": counts.get(item_id, 0)}
        for place, item_id in enumerate([*old, *new], start=1)
    ]
    return pa.Table.from_pylist(rows, VOCABULARY)


def _write(
    spark: SparkSession,
    lake: Lake,
    settings: Settings,
    part: _Part,
    manifest: dict[str, Any],
    vocabulary: pa.Table,
) -> Path:
    """Write all files of a part beside its folder, then rename: it appears whole or not at all."""
    rules, frame = settings.dataset, part.frame
    terms = spark.createDataFrame(
        vocabulary.select(["item", "item_id"]).to_pandas(), "item int, item_id string"
    )
    codes = [(name, code) for code, name in enumerate(manifest["event_types"])]
    histories = query(
        spark,
        "histories",
        {
            "context_events": part.context,
            "window_events": part.window,
            "vocabulary": terms,
            "event_codes": spark.createDataFrame(codes, "event_type string, code smallint"),
        },
        width_s=manifest["dwell"]["width_s"],
        bins=manifest["dwell"]["bins"],
        max_context=rules.max_history_events,
        keep_idle=part.keep_idle,
    )
    staging = part.folder.with_name(f".{part.folder.name}-{uuid.uuid4().hex}")
    staging.mkdir(parents=True)
    try:
        _write_shards(histories, staging, rules.events_per_shard)
        pq.write_table(vocabulary, staging / "vocabulary.parquet")
        popularity = query(
            spark,
            "window_popularity",
            {
                "recent_hours": lake.read(spark, ITEM_HOURS, part.popular_hours, part.state),
                "vocabulary": terms,
            },
        )
        rows = popularity.orderBy("hour_index", "item").toArrow().cast(POPULARITY)
        pq.write_table(rows, staging / "popularity.parquet")
        counts = _counts(staging)
        if not counts["n_users"]:
            raise HourglassError(
                f"no event of {HourRange(frame.window_start, frame.as_of) or frame.all_hours} is "
                f"on one of the {vocabulary.num_rows} items of data set "
                f"{manifest['base_dataset_id']}: take more hours, or a data set of later ones"
            )
        manifest = {
            **manifest,
            **counts,
            "n_items": vocabulary.num_rows,
            "popularity_window_h": len(part.popular_hours),
            "window_start": str(frame.window_start),
            "history_start": str(frame.history_start),
            "gap_s": settings.sessions.gap_s,
            "max_session_hours": settings.sessions.max_session_hours,
            "config_digest": settings.digest("dataset", "sessions"),
            "code_version": code_version(),
            "files": {path.name: _file_digest(path) for path in sorted(staging.iterdir())},
        }
        if "n_window_events" in manifest:
            manifest["left_out_events"] = manifest["n_window_events"] - counts["n_targets"]
        _write_json(staging / "manifest.json", manifest)
        # Apart from the manifest, because snapshot ids differ between lakes of equal content.
        _write_json(staging / "lineage.json", dict(part.state))
        try:
            staging.rename(part.folder)
        except OSError:
            # Another process made the same part meanwhile; its content is the same.
            if not part.folder.is_dir():
                raise
        return part.folder
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _write_shards(histories: DataFrame, staging: Path, events_per_shard: int) -> None:
    """Write parts in the order of users, each with about as many events."""
    from pyspark.sql import functions

    histories.persist()
    try:
        bounds = _shard_bounds(
            histories.selectExpr("user_id", "SIZE(item) AS events").toArrow(), events_per_shard
        )
        reached = [functions.lit(bound) <= functions.col("user_id") for bound in bounds]
        number_of = sum((each.cast("int") for each in reached), functions.lit(0))
        written = staging / "written"
        (
            histories.repartitionById(len(bounds) + 1, number_of)
            .sortWithinPartitions("user_id")
            .write.parquet(str(written))
        )
    finally:
        histories.unpersist()
    for number, path in enumerate(sorted(written.glob("part-*.parquet"))):
        path.rename(staging / f"part-{number:05d}.parquet")
    shutil.rmtree(written)


def _shard_bounds(users: pa.Table, events_per_shard: int) -> list[str]:
    """First user of each shard after the first, so that all hold about the same number of events.

    ``users`` has a row a user: user_id, events.  A user's history is never parted.
    """
    users = users.sort_by("user_id")
    events = users["events"].to_numpy()
    before = np.cumsum(events) - events
    shards = max(1, math.ceil(int(events.sum()) / events_per_shard))
    cuts = np.searchsorted(before, [n * events.sum() / shards for n in range(1, shards)])
    firsts = {int(cut) for cut in cuts if 0 < cut < len(events)}
    return [users["user_id"][cut].as_py() for cut in sorted(firsts)]


def _counts(staging: Path) -> dict[str, int]:
    users = events = context = 0
    for path in staging.glob("part-*.parquet"):
        shard = pq.read_table(path, columns=["n_context", "item"])
        users += shard.num_rows
        context += pc.sum(shard.column("n_context")).as_py() or 0
        events += pc.sum(pc.list_value_length(shard.column("item"))).as_py() or 0
    return {"n_users": users, "n_events": events, "n_targets": events - context}


def _bins(moments: Moments, rules: DatasetSettings) -> dict[str, Any]:
    return {
        "n": moments.n,
        "mean_s": moments.mean_s,
        "m2_s2": moments.m2_s2,
        "width_s": moments.scott_width_s,
        "bins": rules.max_dwell_bins,
    }


def _appended(known: list[str], events: DataFrame) -> list[str]:
    """The types known before, in their order, then those that are met for the first time."""
    met = {row.event_type for row in events.select("event_type").distinct().collect()}
    return [*known, *sorted(met.difference(known))]


def _attrition(steps: list[dict[str, Any]]) -> str:
    return ", ".join(f"{step['step']}: {step['events']} events" for step in steps)


def _vocabulary_rows(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(folder / "vocabulary.parquet").to_pylist()
    return rows


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a data set's folder.

    Raises:
        UsageError: there is no data set.
    """
    try:
        manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"{folder}: no data set here: run `hourglass dataset`") from error
    return manifest


def _digest(went_in: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(went_in, sort_keys=True).encode()).hexdigest()[:16]


def _file_digest(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
