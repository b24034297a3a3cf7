"""Data sets: what a model may know at an hour T, frozen into shards.

``freeze`` makes a data set as of T.  ``hold_out`` makes, in the same format and with the same
vocabulary and bins, the events that follow: the test part.  ``histories_at`` makes the requests
that recommendations answer.  None reads anything that happened at or after its own end.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.dataset.encoding import (
    VOCABULARY,
    context_fields,
    dwell_bins,
    event_types,
    extended_vocabulary,
)
from pipeline.dataset.feature_files import fit_features, follow_features
from pipeline.dataset.features import Metadata, known_at
from pipeline.dataset.inputs import HOUR_US, dwell_moments, inputs, known_events, session_rows
from pipeline.dataset.support_filter import filter_support
from pipeline.dataset.write import Frame, Part, read_manifest, write_part
from pipeline.errors import HourglassError, UsageError
from pipeline.hours import Hour, HourRange, parse_duration_h
from pipeline.lake.compute import Compute
from pipeline.lake.lake import Lake, State
from pipeline.lake.tables import ITEMS, USERS, TableSpec
from pipeline.settings.settings import Settings
from pipeline.text.wording import counted

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

FORMAT = 2
_NO_TERMS: dict[str, Any] = {"event_types": [], "context_fields": []}
__all__ = ["freeze", "held_out", "histories_at", "hold_out", "read_manifest"]


def freeze(
    compute: Compute, lake: Lake, settings: Settings, as_of: Hour, extend: Path | None = None
) -> Path:
    """Freeze a data set as of the start of ``as_of``; returns its folder, made anew or not.

    ``extend`` is a data set whose vocabulary and other terms come first, so that its models can be
    continued.

    Raises:
        HourglassError: an hour before T is not sessionized, no event is left by the filter, or none
            has a context field that the settings name.
    """
    spark = compute.spark
    rules = settings.dataset
    window_start = as_of - parse_duration_h(rules.window)
    frame = Frame(window_start - parse_duration_h(rules.history), window_start, as_of)
    # Each event that is learned from has a whole popularity window before it.
    popular = HourRange(window_start - parse_duration_h(rules.popularity_window), as_of)
    state = _state(lake)
    base = [] if extend is None else _vocabulary_rows(extend)
    terms = _NO_TERMS if extend is None else _terms(read_manifest(extend))
    items, users = (_known(lake, spec, as_of, state) for spec in (ITEMS, USERS))
    went_in = {
        "as_of": str(as_of),
        "popular": str(popular),
        "dataset": rules.model_dump(mode="json"),
        "sessions": settings.sessions.model_dump(mode="json"),
        "base_vocabulary": [row["item_id"] for row in base],
        "base_terms": terms,
        "items": items.digest,
        "users": users.digest,
        **inputs(lake, settings, frame, popular, state),
    }
    folder = settings.path("shards") / _digest(went_in)
    if folder.exists():
        return folder
    sessions = session_rows(spark, lake, frame, state)
    events = known_events(spark, sessions, rules, rules.context, frame)
    events.persist()
    try:
        window = events.where(f"event_us >= {frame.window_start.index * HOUR_US}")
        kept, steps = filter_support(spark, window, rules)
        cold = items.available if rules.cold_items else ()
        vocabulary = extended_vocabulary(base, kept, cold)
        if vocabulary.num_rows == 0 or not steps[-1]["events"]:
            raise HourglassError(
                f"no event of {frame.window_start} to {as_of} is left by the support filter "
                f"({_attrition(steps)}): widen dataset.window or lower dataset.min_*"
            )
        manifest = {
            "format": FORMAT,
            "dataset_id": folder.name,
            "as_of": str(as_of),
            "event_types": event_types(terms["event_types"], events),
            "context_fields": context_fields(spark, rules, terms["context_fields"], kept, sessions),
            "steps": steps,
            "dwell": dwell_bins(dwell_moments(spark, lake, frame, state), rules),
        }
        part = Part(
            folder=folder,
            frame=frame,
            state=state,
            context=events.where(f"event_us < {frame.window_start.index * HOUR_US}"),
            window=kept,
            popular_hours=popular,
            vocabulary=vocabulary,
            # What cold items have is too little to learn from: it stays out as without them.
            known_items=vocabulary.filter(pc.greater(vocabulary["events"], 0))
            if rules.cold_items
            else vocabulary,
            features=lambda staging, user_ids: fit_features(
                staging,
                {"item": items.of(_ids(vocabulary)), "user": users.of(user_ids)},
                rules,
                extend,
            ),
        )
        return write_part(spark, lake, settings, part, manifest)
    finally:
        events.unpersist()


def hold_out(
    compute: Compute, lake: Lake, settings: Settings, base: Path, hours: HourRange
) -> Path:
    """The events of ``hours`` as test part of a data set that was frozen as of their start.

    Raises:
        UsageError: the hours do not begin where the data set ends.
        HourglassError: the hours are not sessionized, or hold no event on a known item.
    """
    spark = compute.spark
    return _write_follower(spark, lake, settings, base, _test_part(lake, settings, base, hours))


def held_out(lake: Lake, settings: Settings, base: Path, hours: HourRange) -> Path | None:
    """The test part as `hold_out` made it before from the same events, if it did; needs no Spark.

    Raises:
        UsageError: the hours do not begin where the data set ends.
        HourglassError: the hours are not sessionized.
    """
    folder = _test_part(lake, settings, base, hours).folder
    return folder if folder.exists() else None


def _test_part(lake: Lake, settings: Settings, base: Path, hours: HourRange) -> _Follower:
    as_of = read_manifest(base)["as_of"]
    if as_of != str(hours.first):
        raise UsageError(
            f"data set {base.name} is as of {as_of}: its test part cannot start at {hours.first}"
        )
    return _follower(lake, settings, base, hours, keep_idle=False)


def histories_at(compute: Compute, lake: Lake, settings: Settings, base: Path, as_of: Hour) -> Path:
    """Every user's history as it stands at ``as_of``, in the terms of the data set ``base``."""
    spark = compute.spark
    follower = _follower(lake, settings, base, HourRange(as_of, as_of), keep_idle=True)
    return _write_follower(spark, lake, settings, base, follower)


@dataclass(frozen=True)
class _Follower:
    """A part that is told in the terms of another data set, written or not."""

    folder: Path
    frame: Frame
    popular: HourRange
    state: State
    users: Metadata
    keep_idle: bool


def _follower(
    lake: Lake, settings: Settings, base: Path, hours: HourRange, keep_idle: bool
) -> _Follower:
    rules = settings.dataset
    reach_h = parse_duration_h(rules.history) + parse_duration_h(rules.window)
    frame = Frame(hours.first - reach_h, hours.first, hours.stop)
    # Up to the end, because a system that follows popularity is served it fresh every hour; it may
    # use only the hours before that of a request.
    popular = HourRange(hours.first - parse_duration_h(rules.popularity_window), hours.stop)
    state = _state(lake)
    # As at the start of the hours, which is when the requests of a test part are answered.
    users = _known(lake, USERS, hours.first, state)
    went_in = {
        "base": base.name,
        "hours": str(hours),
        "keep_idle": keep_idle,
        "dataset": rules.model_dump(mode="json"),
        "sessions": settings.sessions.model_dump(mode="json"),
        "users": users.digest,
        **inputs(lake, settings, frame, popular, state),
    }
    folder = settings.path("frozen") / _digest(went_in)
    return _Follower(folder, frame, popular, state, users, keep_idle)


def _write_follower(
    spark: SparkSession, lake: Lake, settings: Settings, base: Path, made: _Follower
) -> Path:
    rules, folder, frame, state = settings.dataset, made.folder, made.frame, made.state
    if folder.exists():
        return folder
    base_manifest = read_manifest(base)
    terms = _terms(base_manifest)
    names = tuple(field["name"] for field in terms["context_fields"])
    events = known_events(spark, session_rows(spark, lake, frame, state), rules, names, frame)
    events.persist()
    try:
        start_us = frame.window_start.index * HOUR_US
        window = events.where(f"event_us >= {start_us}")
        manifest = {
            **base_manifest,
            "format": FORMAT,
            "dataset_id": folder.name,
            "base_dataset_id": base.name,
            "as_of": str(frame.as_of),
            "event_types": event_types(terms["event_types"], events),
            "context_fields": terms["context_fields"],
            "steps": [],
            # Recommending looks at no hours: nothing there needs counting.
            "n_window_events": window.count() if frame.as_of > frame.window_start else 0,
        }
        vocabulary = pa.Table.from_pylist(_vocabulary_rows(base), VOCABULARY)
        part = Part(
            folder=folder,
            frame=frame,
            state=state,
            context=events.where(f"event_us < {start_us}"),
            window=window,
            popular_hours=made.popular,
            vocabulary=vocabulary,
            known_items=vocabulary,
            features=lambda staging, user_ids: follow_features(
                staging, base, base_manifest, made.users.of(user_ids)
            ),
            keep_idle=made.keep_idle,
        )
        return write_part(spark, lake, settings, part, manifest)
    finally:
        events.unpersist()


def _state(lake: Lake) -> State:
    """What a data set is made from: the last finished step, and the metadata as loaded last."""
    # What another program deleted since still stands in that state.
    lake.refuse_foreign()
    return {**lake.state(), **{spec.name: lake.snapshot(spec) for spec in (ITEMS, USERS)}}


def _known(lake: Lake, spec: TableSpec, instant: Hour, state: State) -> Metadata:
    return known_at(lake.arrow(spec, state=state), instant)


def _terms(manifest: dict[str, Any]) -> dict[str, Any]:
    """What later data sets take over from a data set; the first format knows less."""
    names = ("event_types", "context_fields", "item_numbers", "user_numbers")
    tokens = ("item_tokens.parquet", "user_tokens.parquet")
    return {
        **{name: manifest.get(name, []) for name in names},
        **{name: manifest["files"].get(name) for name in tokens},
    }


def _ids(vocabulary: pa.Table) -> pa.Array:
    return pa.concat_arrays(vocabulary["item_id"].chunks)


def _attrition(steps: list[dict[str, Any]]) -> str:
    return ", ".join(f"{step['step']}: {counted(step['events'], 'event')}" for step in steps)


def _vocabulary_rows(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(folder / "vocabulary.parquet").to_pylist()
    return rows


def _digest(went_in: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(went_in, sort_keys=True).encode()).hexdigest()[:16]
