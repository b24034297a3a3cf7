"""Data sets as of an hour, made in memory from a lake's events, as replays need them.

They are what `pipeline.dataset.build` freezes: the same code makes both.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.array_types import Ints, Objects
from pipeline.dataset.as_known.known_log import known_log
from pipeline.dataset.as_known.known_sessions import known_sessions
from pipeline.dataset.as_known.late_events import LateEvents
from pipeline.dataset.features import Encoder, Metadata, encode, fitted_encoder, metadata_at
from pipeline.dataset.inputs import Frame, frame_before, frame_of
from pipeline.dataset.manifest import FORMAT, Manifest, NumberScale
from pipeline.dataset.rows import arrays
from pipeline.dataset.rows.arrays import DatasetArrays
from pipeline.dataset.rows.encoding import Encoding
from pipeline.dataset.rows.event_log import FlatLog, HourlyCounts, read_log, refuse_absent
from pipeline.errors import HourglassError
from pipeline.hours import Hour, HourRange, parse_duration_h
from pipeline.lake.lake import Lake, State
from pipeline.lake.tables import ITEMS, USERS
from pipeline.settings.settings import Settings
from pipeline.settings.tables import DatasetSettings
from training.data.reader import DataSet, Features, Histories, Popularity


@dataclass(frozen=True)
class ReplayLog(FlatLog):
    """All events that a replay may look at, and what is known of items and users."""

    items: pa.Table  # rows of `items`
    users: pa.Table  # rows of `users`
    late: LateEvents | None = None  # None: everything counts as known when it happened


@dataclass(frozen=True)
class InMemoryDataset:
    """A data set in memory, and the encoding that later ones take over.

    ``event`` are the places (N,) in the log of the events of its histories.
    """

    data: DataSet
    encoding: Encoding
    event: Ints


def read_replay_log(
    lake: Lake, rules: DatasetSettings, hours: HourRange, state: State
) -> ReplayLog:
    """All events of sessions that were not closed before ``hours``, up to their end.

    Raises:
        HourglassError: there is no event, or none has a context field that the rules name.
    """
    items, users = (lake.arrow(spec, state=state) for spec in (ITEMS, USERS))
    cold = items["item_id"].to_pylist() if rules.cold_items else []
    log = read_log(lake, state, hours, rules.context, other_items=cold)
    if not len(log):
        raise HourglassError(f"no event of {hours} is in the lake: run `hourglass backfill`")
    refuse_absent(rules.context, log.context_keys)
    return ReplayLog(**vars(log), items=items, users=users)


def build_in_memory(
    log: ReplayLog, settings: Settings, as_of: Hour, before: Encoding | None = None
) -> InMemoryDataset:
    """What a model may learn from at the start of ``as_of``; extends the encoding ``before``.

    Raises:
        HourglassError: no event is left by the support filter.
    """
    rules, before = settings.dataset, before or Encoding()
    frame = frame_before(rules, as_of)
    items, users = metadata_at(log.items, as_of), metadata_at(log.users, as_of)
    cold = log.codes_of(items.available) if rules.cold_items else np.empty(0, np.int64)
    encoded = arrays.fitted(log, rules, frame, before, cold)
    known_items = items.of(_ids(log.item_ids[encoded.encoding.items]))
    known_users = users.of(_ids(encoded.histories.user_ids))
    encoders = {
        of: encoder
        for of, metadata in (("item", known_items), ("user", known_users))
        if (encoder := fitted_encoder(metadata, rules, before.encoders.get(of))) is not None
    }
    encoded = replace(encoded, encoding=replace(encoded.encoding, encoders=encoders))
    return _cut(
        log, settings, frame, encoded,
        item_features=_features(known_items, encoders.get("item")),
        user_features=_features(known_users, encoders.get("user")),
        facts={"dataset_id": f"replay-{as_of}", "steps": encoded.steps},
    )  # fmt: skip


def in_memory_test_set(
    log: ReplayLog,
    settings: Settings,
    base: InMemoryDataset,
    hours: HourRange,
    items: Ints | None = None,
) -> InMemoryDataset:
    """The events of ``hours``, and each user's history before them, in the encoding of ``base``.

    ``items`` (V,) are another vocabulary than the base's, as codes of the log.  Where nothing
    happened there are no users.
    """
    rules, frame = settings.dataset, frame_of(settings.dataset, hours)
    support = np.zeros(len(log.item_ids), np.int64)
    support[base.encoding.items] = base.data.item_events
    encoding = base.encoding if items is None else replace(base.encoding, items=items)
    dwell = base.data.manifest.dwell
    encoded = arrays.encoded(log, rules, frame, encoding, support[encoding.items], dwell)
    n_targets = len(encoded.histories.item) - int(encoded.histories.n_context.sum())
    return _cut(
        log, settings, frame, encoded,
        item_features=base.data.item_features if items is None else None,
        user_features=user_features(log, encoding, hours.first, encoded.histories.user_ids),
        facts={
            "dataset_id": f"replay-{hours.first}-{hours.stop}",
            "base_dataset_id": base.data.manifest.dataset_id,
            "n_window_events": encoded.n_window_events,
            "left_out_events": encoded.n_window_events - n_targets,
        },
    )  # fmt: skip


def popularity(log: FlatLog, hours: HourRange, item_index: Ints) -> Popularity:
    """As `pipeline.dataset.rows.arrays.popularity`, as models take it."""
    return _as_popularity(arrays.popularity(log, hours, item_index))


def _as_popularity(counts: HourlyCounts) -> Popularity:
    return Popularity(counts.item.astype(np.int32), counts.hour, counts.events)


def _cut(
    log: ReplayLog,
    settings: Settings,
    frame: Frame,
    encoded: DatasetArrays,
    *,
    item_features: Features | None,
    user_features: Features | None,
    facts: dict[str, Any],
) -> InMemoryDataset:
    encoding, histories = encoded.encoding, encoded.histories
    manifest = Manifest(
        format=FORMAT,
        as_of=frame.as_of,
        window_start=frame.window_start,
        history_start=frame.history_start,
        n_items=len(encoding.items),
        n_users=len(histories.user_ids),
        n_events=len(histories.item),
        n_targets=len(histories.item) - int(histories.n_context.sum()),
        event_types=encoding.event_types,
        dwell=encoded.dwell,
        popularity_window_h=parse_duration_h(settings.dataset.popularity_window),
        max_session_hours=settings.sessions.max_session_hours,
        gap_s=settings.sessions.gap_s,
        config_digest=settings.digest("dataset", "sessions"),
        code_version="",
        files={},
        context_fields=encoding.context_fields,
        n_cold_items=int((encoded.item_events == 0).sum()),
        item_numbers=_scales(encoding.encoders, "item"),
        user_numbers=_scales(encoding.encoders, "user"),
        **facts,
    )
    data = DataSet(
        folder=Path(),
        manifest=manifest,
        histories=Histories(
            **vars(histories),
            event_types=encoding.event_types,
            context_fields=encoding.context_fields,
            user_features=user_features,
        ),
        item_ids=log.item_ids[encoding.items],
        item_events=encoded.item_events,
        popularity=_as_popularity(encoded.popularity),
        item_features=item_features,
        user_features=user_features,
    )
    return InMemoryDataset(data, encoding, encoded.event)


def user_features(
    log: ReplayLog, encoding: Encoding, hour: Hour, user_ids: Objects
) -> Features | None:
    """What is known of users at the start of an hour; None where nothing is."""
    known_users = metadata_at(log.users, hour).of(_ids(user_ids))
    return _features(known_users, encoding.encoders.get("user"))


def _features(metadata: Metadata, encoder: Encoder | None) -> Features | None:
    """Features of the rows of ``metadata``, as the reader of data sets gives them."""
    if encoder is None:
        return None
    table = encode(metadata, encoder)
    tokens = table["tokens"].combine_chunks()
    numbers = pc.list_flatten(table["numbers"]).to_numpy()
    return Features(
        offsets=np.append(0, np.cumsum(pc.list_value_length(tokens).to_numpy())).astype(np.int64),
        token=pc.list_flatten(tokens).to_numpy().astype(np.int32),
        token_names=np.array(list(encoder.tokens), object),
        numbers=np.nan_to_num(numbers.astype(np.float32)).reshape(
            len(metadata.ids), len(encoder.scales)
        ),
        number_names=np.array([scale["name"] for scale in encoder.scales], object),
    )


def _scales(encoders: Mapping[str, Encoder], of: str) -> tuple[NumberScale, ...]:
    """What a manifest tells of an encoder's numbers."""
    return tuple(NumberScale(**scale) for scale in encoders[of].scales) if of in encoders else ()


def _ids(names: Objects) -> pa.Array:
    return pa.array(names, pa.string())


# Data sets that several arms share: of each step every one is made once.


@dataclass
class InMemoryDatasets:
    """Training data sets of a log; those of the latest hour are kept."""

    log: ReplayLog
    settings: Settings
    _as_of: Hour | None = None
    _cache: dict[str, tuple[InMemoryDataset, float]] = field(default_factory=dict)
    _logs: dict[Hour, ReplayLog] = field(default_factory=dict)

    def log_at(self, hour: Hour) -> ReplayLog:
        """The log as it was known at the start of an hour, in the same codes."""
        if self.log.late is None:
            return self.log
        if hour not in self._logs:
            self._logs.clear()
            until = HourRange(self.log.late.hours.first, hour)
            self._logs[hour] = known_log(self.log, known_sessions(self.log.late, hour), until)
        return self._logs[hour]

    def train(
        self, rules: DatasetSettings, as_of: Hour, before: Encoding | None = None
    ) -> tuple[InMemoryDataset, float]:
        """A data set of what was known, and the seconds that it took when it was made.

        Raises:
            HourglassError: no event is left by the support filter.
        """
        if as_of != self._as_of:
            self._as_of = as_of
            self._cache.clear()
        # What extends an arm's own encoding is no other arm's.
        key = rules.model_dump_json() if before is None else ""
        if key in self._cache:
            return self._cache[key]
        began_s = time.perf_counter()
        own = self.settings.model_copy(update={"dataset": rules})
        cut = build_in_memory(self.log_at(as_of), own, as_of, before)
        timed = cut, time.perf_counter() - began_s
        if key:
            self._cache[key] = timed
        return timed
