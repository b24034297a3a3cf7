"""Data sets: what a model may know at an hour T, frozen into shards.

``freeze`` makes a data set as of T.  ``freeze_test_set`` makes, in the same format and with the
same vocabulary and bins, the events that follow: the test set.  ``histories_at`` makes the requests
that recommendations answer.  None reads anything that happened at or after its own end.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.dataset.as_known.delays import Delays
from pipeline.dataset.as_known.known_log import known_log
from pipeline.dataset.as_known.known_sessions import KnownSessions, known_sessions
from pipeline.dataset.as_known.late_events import LateEvents, read_delays, read_late_events
from pipeline.dataset.feature_files import apply_features, fit_features, read_encoders
from pipeline.dataset.features import Metadata, metadata_at
from pipeline.dataset.inputs import Frame, frame_before, frame_of, inputs
from pipeline.dataset.manifest import Manifest, read_manifest
from pipeline.dataset.rows import arrays, by_spark
from pipeline.dataset.rows.arrays import DatasetArrays
from pipeline.dataset.rows.encoding import Encoding, vocabulary_table
from pipeline.dataset.rows.event_log import FlatLog, read_log, read_size, refuse_absent
from pipeline.dataset.write import (
    POPULARITY,
    DatasetContent,
    shard_cuts,
    write_dataset,
    write_shard,
)
from pipeline.errors import UsageError
from pipeline.hours import Hour, HourRange
from pipeline.lake.lake import Lake, State
from pipeline.lake.stale_hours import settled_state
from pipeline.lake.steps import INGEST, first_filled
from pipeline.lake.tables import ITEMS, USERS, TableSpec
from pipeline.settings.settings import Settings
from pipeline.settings.tables import DatasetSettings
from pipeline.spark.compute import Compute

# 3.7 million rows that were read took 1.5 GiB in all.
_BYTES_PER_ROW = 440
_NO_ENCODING: dict[str, Any] = {"event_types": [], "context_fields": []}


def freeze(
    compute: Compute, lake: Lake, settings: Settings, as_of: Hour, extend: Path | None = None
) -> Path:
    """Freeze a data set as of the start of ``as_of``; returns its folder, made anew or not.

    ``extend`` is a data set whose vocabulary and other codes come first, so that its models can be
    continued.

    Raises:
        HourglassError: an hour before T is not sessionized, no event is left by the filter, or none
            has a context field that the settings name.
    """
    rules, frame = settings.dataset, frame_before(settings.dataset, as_of)
    popular = frame.popular_hours(rules)
    state = _state(lake, settings, as_of)
    late = _late_events(lake, settings, state, frame) if rules.as_known else None
    former = None if extend is None else read_manifest(extend)
    former_items = [] if extend is None else _vocabulary(extend)["item_id"].to_pylist()
    items, users = (_metadata_at(lake, spec, as_of, state) for spec in (ITEMS, USERS))
    went_in = {
        "as_of": str(as_of),
        "popular": str(popular),
        "dataset": rules.model_dump(mode="json", exclude={"as_known"}),
        "sessions": settings.sessions.model_dump(mode="json"),
        "base_vocabulary": former_items,
        "base_terms": _NO_ENCODING if former is None else _encoding_of(former),
        "items": items.digest,
        "users": users.digest,
        **inputs(lake, settings, frame, popular, state),
        **_unknown(late, as_of),
    }
    folder = settings.path("shards") / _digest(went_in)
    if folder.exists():
        return folder
    encoders = {} if extend is None or former is None else read_encoders(extend, former)
    cold = items.available if rules.cold_items else []
    source = _Source(compute, lake, state, rules, frame, late)
    with _fitted(source, former, former_items, cold) as content:

        def features(staging: Path, user_ids: pa.Array) -> dict[str, Any]:
            item_ids = content.vocabulary["item_id"].combine_chunks()
            metadata = {"item": items.of(item_ids), "user": users.of(user_ids)}
            return {**fit_features(staging, metadata, rules, encoders), **_late_facts(late, as_of)}

        return write_dataset(folder, settings, frame, state, content, features)


def freeze_test_set(
    compute: Compute, lake: Lake, settings: Settings, base: Path, hours: HourRange
) -> Path:
    """The events of ``hours`` as test set of a data set that was frozen as of their start.

    Raises:
        UsageError: the hours do not begin where the data set ends.
        HourglassError: the hours are not sessionized, or hold no event on a known item.
    """
    manifest = read_manifest(base)
    derived = _test_set(lake, settings, base, manifest, hours)
    return _write_derived(compute, lake, settings, base, manifest, derived)


def find_test_set(lake: Lake, settings: Settings, base: Path, hours: HourRange) -> Path | None:
    """The test set as `freeze_test_set` made it before from the same events, if it did.

    Raises:
        UsageError: the hours do not begin where the data set ends.
        HourglassError: the hours are not sessionized.
    """
    folder = _test_set(lake, settings, base, read_manifest(base), hours).folder
    return folder if folder.exists() else None


def histories_at(compute: Compute, lake: Lake, settings: Settings, base: Path, as_of: Hour) -> Path:
    """Every user's history as it stands at ``as_of``, in the encoding of the data set ``base``.

    By ``dataset.as_known`` without what came later than that.
    """
    derived = _derived(lake, settings, base, HourRange(as_of, as_of), keep_idle=True)
    return _write_derived(compute, lake, settings, base, read_manifest(base), derived)


@dataclass(frozen=True)
class _Derived:
    """A data set in the encoding of another one, written or not."""

    folder: Path
    frame: Frame
    state: State
    users: Metadata
    keep_idle: bool
    late: LateEvents | None


def _test_set(
    lake: Lake, settings: Settings, base: Path, manifest: Manifest, hours: HourRange
) -> _Derived:
    if manifest.as_of != hours.first:
        raise UsageError(
            f"data set {base.name} is as of {manifest.as_of}: its test set cannot start at "
            f"{hours.first}"
        )
    return _derived(lake, settings, base, hours, keep_idle=False)


def _derived(
    lake: Lake, settings: Settings, base: Path, hours: HourRange, keep_idle: bool
) -> _Derived:
    rules, frame = settings.dataset, frame_of(settings.dataset, hours)
    state = _state(lake, settings, frame.as_of)
    # As at the start of the hours, which is when the requests of a test set are answered.
    users = _metadata_at(lake, USERS, hours.first, state)
    # A test set judges by what happened, however late it came.
    is_known = rules.as_known and keep_idle
    late = _late_events(lake, settings, state, frame) if is_known else None
    went_in = {
        "base": base.name,
        "hours": str(hours),
        "keep_idle": keep_idle,
        "dataset": rules.model_dump(mode="json", exclude={"as_known"}),
        "sessions": settings.sessions.model_dump(mode="json"),
        "users": users.digest,
        **inputs(lake, settings, frame, frame.popular_hours(rules), state),
        **_unknown(late, frame.as_of),
    }
    folder = settings.path("frozen") / _digest(went_in)
    return _Derived(folder, frame, state, users, keep_idle, late)


def _write_derived(
    compute: Compute,
    lake: Lake,
    settings: Settings,
    base: Path,
    manifest: Manifest,
    derived: _Derived,
) -> Path:
    if derived.folder.exists():
        return derived.folder
    frame, late = derived.frame, derived.late
    source = _Source(compute, lake, derived.state, settings.dataset, frame, late)
    with _encoded(source, manifest, _vocabulary(base), derived.keep_idle) as content:

        def features(staging: Path, user_ids: pa.Array) -> dict[str, Any]:
            facts = apply_features(staging, base, manifest, derived.users.of(user_ids))
            return {**facts, **_late_facts(late, frame.as_of)}

        return write_dataset(
            derived.folder, settings, frame, derived.state, content, features, manifest
        )


# What came later than the data set's time.


def _late_events(lake: Lake, settings: Settings, state: State, frame: Frame) -> LateEvents | None:
    """The late events that were not known at the end of a frame; None where there is none."""
    hours = _reached(lake, settings, state, frame)
    if not hours:
        return None
    late = read_late_events(lake, settings, state, hours, frame.as_of)
    return late if late.unknown_at(frame.as_of).any() else None


def _reached(lake: Lake, settings: Settings, state: State, frame: Frame) -> HourRange:
    """All hours of which anything is in a data set; none before the first event."""
    popular = frame.popular_hours(settings.dataset)
    first = min(first_filled(lake, INGEST, state) or frame.as_of, frame.as_of)
    return HourRange(max(first, min(frame.history_start, popular.first)), frame.as_of)


def delays_before(lake: Lake, settings: Settings, as_of: Hour) -> Delays:
    """How many of the events that a data set as of an hour looks at came late."""
    state, frame = _state(lake, settings, as_of), frame_before(settings.dataset, as_of)
    return read_delays(lake, settings, state, _reached(lake, settings, state, frame))


def _unknown(late: LateEvents | None, as_of: Hour) -> dict[str, str]:
    """What went in less; where nothing was late, the data set is the one as happened."""
    return {} if late is None else {"not_known": late.digest_at(as_of)}


def _late_facts(late: LateEvents | None, as_of: Hour) -> dict[str, int]:
    return {} if late is None else {"unknown_events": int(late.unknown_at(as_of).sum())}


# Where the rows are computed: in this process if they are few.


@dataclass(frozen=True)
class _Source:
    """Where rows are read, and by which rules."""

    compute: Compute
    lake: Lake
    state: State
    rules: DatasetSettings
    frame: Frame
    late: LateEvents | None

    @property
    def sessions(self) -> KnownSessions | None:
        """Of users with late events: what was known; None where nothing was late."""
        return None if self.late is None else known_sessions(self.late, self.frame.as_of)

    @property
    def fits_here(self) -> bool:
        """Whether the rows fit this process."""
        popular = self.frame.popular_hours(self.rules)
        size_bytes, rows = read_size(self.lake, self.state, self.frame.all_hours, popular)
        return self.compute.is_done_here(size_bytes, rows, _BYTES_PER_ROW)

    def log(self, context: Sequence[str], items: Sequence[str]) -> FlatLog:
        """The rows in this process; ``items`` may have no event."""
        popular, hours = self.frame.popular_hours(self.rules), self.frame.all_hours
        log = read_log(self.lake, self.state, hours, context, popular, items)
        return known_log(log, self.sessions, hours)

    def for_spark(self) -> by_spark.Source:
        """The same, read by Spark."""
        spark = self.compute.spark
        return by_spark.Source(spark, self.lake, self.state, self.rules, self.frame, self.sessions)


@contextmanager
def _fitted(
    source: _Source, former: Manifest | None, former_items: Sequence[str], cold: Sequence[str]
) -> Iterator[DatasetContent]:
    """What is in a data set whose encoding is learned from its window."""
    rules = source.rules
    if not source.fits_here:
        with by_spark.fitted(source.for_spark(), former, former_items, cold) as content:
            yield content
        return
    log = source.log(rules.context, [*former_items, *cold])
    encoding = Encoding(
        log.codes_of(former_items),
        () if former is None else former.event_types,
        () if former is None else former.context_fields,
    )
    fitted = arrays.fitted(log, rules, source.frame, encoding, log.codes_of(cold))
    unseen = [field.name for field in fitted.encoding.context_fields if not field.values]
    refuse_absent(unseen, log.context_keys)
    vocabulary = vocabulary_table(log.item_ids[fitted.encoding.items], fitted.item_events)
    yield _content(fitted, vocabulary, rules)


@contextmanager
def _encoded(
    source: _Source, base: Manifest, vocabulary: pa.Table, keep_idle: bool
) -> Iterator[DatasetContent]:
    """What is in a data set that is told in the encoding of another one."""
    if not source.fits_here:
        with by_spark.encoded(source.for_spark(), base, vocabulary, keep_idle) as content:
            yield content
        return
    items = vocabulary["item_id"].to_pylist()
    log = source.log([field.name for field in base.context_fields], items)
    encoding = Encoding(log.codes_of(items), base.event_types, base.context_fields)
    events = vocabulary["events"].to_numpy()
    encoded = arrays.encoded(
        log, source.rules, source.frame, encoding, events, base.dwell, keep_idle
    )
    yield _content(encoded, vocabulary, source.rules)


def _content(
    encoded: DatasetArrays, vocabulary: pa.Table, rules: DatasetSettings
) -> DatasetContent:
    histories, counts = encoded.histories, encoded.popularity

    def write_shards(folder: Path) -> None:
        if not len(histories.user_ids):
            return
        cuts = shard_cuts(np.diff(histories.offsets), rules.events_per_shard)
        for number, rows in enumerate(arrays.shard_tables(histories, cuts)):
            write_shard(rows, folder, number)

    popularity = {"item": counts.item, "hour_index": counts.hour, "events": counts.events}
    return DatasetContent(
        event_types=encoded.encoding.event_types,
        context_fields=encoded.encoding.context_fields,
        dwell=encoded.dwell,
        steps=encoded.steps,
        n_window_events=encoded.n_window_events,
        vocabulary=vocabulary,
        popularity=pa.table(popularity).cast(POPULARITY),
        write_shards=write_shards,
    )


def _state(lake: Lake, settings: Settings, stop: Hour) -> State:
    """What a data set is made from: the last settled step, and the metadata as loaded last."""
    # What another program deleted since still stands in that state.
    lake.refuse_foreign()
    return {
        **settled_state(lake, settings, stop),
        **{spec.name: lake.snapshot(spec) for spec in (ITEMS, USERS)},
    }


def _metadata_at(lake: Lake, spec: TableSpec, instant: Hour, state: State) -> Metadata:
    return metadata_at(lake.arrow(spec, state=state), instant)


def _encoding_of(manifest: Manifest) -> dict[str, Any]:
    """What later data sets take over from a data set; the first format knows less."""
    facts = manifest.facts
    names = ("event_types", "context_fields", "item_numbers", "user_numbers")
    tokens = ("item_tokens.parquet", "user_tokens.parquet")
    return {
        **{name: facts.get(name, []) for name in names},
        **{name: manifest.files.get(name) for name in tokens},
    }


def _vocabulary(folder: Path) -> pa.Table:
    return pq.read_table(folder / "vocabulary.parquet")


def _digest(went_in: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(went_in, sort_keys=True).encode()).hexdigest()[:16]
