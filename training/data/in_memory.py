"""Data sets as of an hour, cut from a flat log in memory.

What comes out is what `pipeline.dataset.build` freezes with Spark: `train_cut` is its `freeze`,
`held_out` its `hold_out`.  Nothing that happened at or after the end of a cut is looked at; of an
event whose session went on after it, the dwell time is not known yet.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.dataset.features import known_at
from pipeline.dataset.manifest import FORMAT, DwellBins, Manifest
from pipeline.dataset.write import Frame
from pipeline.errors import HourglassError
from pipeline.hours import Hour, HourRange, parse_duration_h
from pipeline.settings.settings import DatasetSettings, Settings
from training.data.event_log import FlatLog, Ints, start_us
from training.data.in_memory_encoding import (
    Terms,
    bins_of,
    context_codes,
    context_fields,
    dwell_bins,
    event_types,
    features,
    filter_support,
    fitted_encoder,
    ids,
    number_scales,
    vocabulary,
)
from training.data.reader import DataSet, Features, Histories, Popularity

_US = 1_000_000
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Cut:
    """A data set in memory, and the terms that later cuts take over."""

    data: DataSet
    terms: Terms


def train_cut(log: FlatLog, settings: Settings, as_of: Hour, before: Terms | None = None) -> Cut:
    """What a model may learn from at the start of ``as_of``; extends the terms ``before``.

    Raises:
        HourglassError: no event is left by the support filter.
    """
    rules, before = settings.dataset, before or Terms()
    frame = frame_before(rules, as_of)
    event = _known(log, rules, frame)
    in_window = log.time_us[event] >= start_us(frame.window_start)
    kept, steps = filter_support(log, event[in_window], rules)
    if not len(kept):
        raise HourglassError(
            f"no event of {frame.window_start} to {as_of} is left by the support filter: widen the "
            "window or lower dataset.min_*"
        )
    items, users = known_at(log.items, as_of), known_at(log.users, as_of)
    cold = np.empty(0, np.int64)
    if rules.cold_items and len(items.ids):
        cold = np.searchsorted(log.item_ids, np.array(items.available, object)).astype(np.int64)
    found, item_events = vocabulary(log, kept, before.items, cold)
    place = places(log, found)
    if rules.cold_items:
        # What they have is too little to learn from: it stays out as without them.
        place[found[item_events == 0]] = -1
    of_kept = np.zeros(len(log), np.bool_)
    of_kept[kept] = True
    chosen = np.where(in_window, of_kept[event], place[log.item[event]] >= 0)
    dwell = dwell_bins(log, rules, frame)
    terms = Terms(
        found,
        event_types(log, event, before.event_types),
        context_fields(log, kept, rules, before.context_fields),
        {},
    )
    rows = _Rows(event[chosen], in_window[chosen], place, as_of, dwell, terms)
    histories = _histories(log, rows, rules.max_history_events)
    known_items, known_users = items.of(ids(log.item_ids[found])), users.of(ids(histories.user_ids))
    encoders = {
        of: encoder
        for of, one in (("item", known_items), ("user", known_users))
        if (encoder := fitted_encoder(one, rules, before.encoders.get(of))) is not None
    }
    terms = replace(terms, encoders=encoders)
    user_features = features(known_users, encoders["user"]) if "user" in encoders else None
    # Each event that is learned from has a whole popularity window before it.
    popular = HourRange(frame.window_start - parse_duration_h(rules.popularity_window), as_of)
    told = {"dataset_id": f"replay-{as_of}", "steps": steps}
    return Cut(
        _data_set(
            settings, log, frame, histories, terms, popular, place, dwell, told,
            item_events=item_events,
            item_features=features(known_items, encoders["item"]) if "item" in encoders else None,
            user_features=user_features,
        ),
        terms,
    )  # fmt: skip


def held_out(
    log: FlatLog, settings: Settings, base: Cut, hours: HourRange, items: Ints | None = None
) -> Cut:
    """The events of ``hours``, and each user's history before them, in the terms of ``base``.

    ``items`` (V,) are another vocabulary than the base's, as codes of the log.  Where nothing
    happened there are no users.
    """
    rules, dwell = settings.dataset, base.data.manifest.dwell
    reach_h = parse_duration_h(rules.history) + parse_duration_h(rules.window)
    frame = Frame(hours.first - reach_h, hours.first, hours.stop)
    event = _known(log, rules, frame)
    in_window = log.time_us[event] >= start_us(hours.first)
    terms = replace(
        base.terms,
        items=base.terms.items if items is None else items,
        event_types=event_types(log, event, base.terms.event_types),
    )
    place = places(log, terms.items)
    chosen = place[log.item[event]] >= 0
    rows = _Rows(event[chosen], in_window[chosen], place, hours.stop, dwell, terms)
    histories = _histories(log, rows, rules.max_history_events)
    user_features = None
    if "user" in terms.encoders:
        users = known_at(log.users, hours.first).of(ids(histories.user_ids))
        user_features = features(users, terms.encoders["user"])
    support = np.zeros(len(log.item_ids), np.int64)
    support[base.terms.items] = base.data.item_events
    popular = HourRange(hours.first - parse_duration_h(rules.popularity_window), hours.stop)
    told = {
        "dataset_id": f"replay-{hours.first}-{hours.stop}",
        "base_dataset_id": base.data.manifest.dataset_id,
        "left_out_events": int((in_window & ~chosen).sum()),
    }
    return Cut(
        _data_set(
            settings, log, frame, histories, terms, popular, place, dwell, told,
            item_events=support[terms.items],
            item_features=base.data.item_features if items is None else None,
            user_features=user_features,
        ),
        terms,
    )  # fmt: skip


def frame_before(rules: DatasetSettings, as_of: Hour) -> Frame:
    """The hours that a training cut covers."""
    window_start = as_of - parse_duration_h(rules.window)
    return Frame(window_start - parse_duration_h(rules.history), window_start, as_of)


def places(log: FlatLog, items: Ints) -> Ints:
    """Place in a vocabulary of codes (V,) of each item of the log; -1 where it is not in it."""
    place = np.full(len(log.item_ids), -1, np.int64)
    place[items] = np.arange(len(items))
    return place


def popularity(log: FlatLog, hours: HourRange, place: Ints) -> Popularity:
    """Events by hour and item, which is numbered by its ``place`` in a vocabulary, see `places`."""
    counts = log.counts
    rows = slice(*np.searchsorted(counts.hour, [hours.first.index, hours.stop.index]))
    number = place[counts.item[rows]] + 1
    known = np.flatnonzero(number)
    hour, number = counts.hour[rows][known], number[known]
    order = np.argsort(hour * (len(place) + 1) + number)
    return Popularity(
        number[order].astype(np.int32), hour[order], counts.events[rows][known[order]]
    )


@dataclass(frozen=True)
class _Rows:
    """Events that make histories, as places in the log, in its order: n rows."""

    event: Ints  # (n,)
    in_window: Bools  # (n,)
    place: Ints  # of each item of the log in the vocabulary
    stop: Hour
    dwell: DwellBins
    terms: Terms


def _known(log: FlatLog, rules: DatasetSettings, frame: Frame) -> Ints:
    """Events of the hours of a frame, of the types to learn from, as places in the log."""
    known = log.time_us >= start_us(frame.history_start)
    known &= log.time_us < start_us(frame.as_of)
    if rules.event_types:
        wanted = np.array([kind in rules.event_types for kind in log.kinds])
        known &= wanted[log.kind]
    return np.flatnonzero(known)


def _histories(log: FlatLog, rows: _Rows, max_context: int) -> Histories:
    """Events by user; users without an event in the window are left out."""
    event = rows.event
    n, user = len(event), log.user[event]
    # Told anew, because the session's true first event may have been on an item left out.
    first = np.full(log.n_sessions, -1, np.int64)
    first[log.session[event][::-1]] = np.arange(n)[::-1]
    starts = first[log.session[event]] == np.arange(n)
    n_users = len(log.user_ids)
    n_window = np.bincount(user[rows.in_window], minlength=n_users)
    n_context = np.bincount(user[~rows.in_window], minlength=n_users)
    begin = np.cumsum(n_window + n_context) - n_window - n_context
    # Only the latest context is kept, counted back from the window.
    nth = np.arange(n) - begin[user]
    stays = (rows.in_window | (nth >= (n_context - max_context)[user])) & (n_window[user] > 0)
    event, starts = event[stays], starts[stays]
    there = np.flatnonzero(n_window)
    context = np.minimum(n_context, max_context)[there]
    next_us = log.next_us[event]
    elapsed_s = (next_us - log.time_us[event]) / _US
    dwell_s = np.where(next_us < start_us(rows.stop), elapsed_s, np.nan)
    number = {kind: code for code, kind in enumerate(rows.terms.event_types)}
    kinds = np.array([number.get(kind, -1) for kind in log.kinds], np.int16)
    return Histories(
        user_ids=log.user_ids[there],
        offsets=np.append(0, np.cumsum(n_window[there] + context)).astype(np.int64),
        n_context=context.astype(np.int32),
        item=(rows.place[log.item[event]] + 1).astype(np.int32),
        time_us=log.time_us[event],
        session_start=starts,
        dwell_s=dwell_s.astype(np.float32),
        dwell_bin=bins_of(dwell_s, rows.dwell),
        event_type=kinds[log.kind[event]],
        value=log.value[event],
        context=context_codes(log, event, rows.terms.context_fields),
        event_types=rows.terms.event_types,
        context_fields=rows.terms.context_fields,
    )


def _data_set(
    settings: Settings,
    log: FlatLog,
    frame: Frame,
    histories: Histories,
    terms: Terms,
    popular: HourRange,
    place: Ints,
    dwell: DwellBins,
    told: dict[str, Any],
    *,
    item_events: Ints,
    item_features: Features | None,
    user_features: Features | None,
) -> DataSet:
    manifest = Manifest(
        format=FORMAT,
        as_of=frame.as_of,
        window_start=frame.window_start,
        history_start=frame.history_start,
        n_items=len(terms.items),
        n_users=len(histories.user_ids),
        n_events=len(histories.item),
        n_targets=len(histories.item) - int(histories.n_context.sum()),
        event_types=terms.event_types,
        dwell=dwell,
        popularity_window_h=parse_duration_h(settings.dataset.popularity_window),
        max_session_hours=settings.sessions.max_session_hours,
        gap_s=settings.sessions.gap_s,
        config_digest=settings.digest("dataset", "sessions"),
        code_version="",
        files={},
        context_fields=terms.context_fields,
        n_cold_items=int((item_events == 0).sum()),
        item_numbers=number_scales(terms.encoders.get("item")),
        user_numbers=number_scales(terms.encoders.get("user")),
        **told,
    )
    return DataSet(
        folder=Path(),
        manifest=manifest,
        histories=replace(histories, user_features=user_features),
        item_ids=log.item_ids[terms.items],
        item_events=item_events,
        popularity=popularity(log, popular, place),
        item_features=item_features,
        user_features=user_features,
    )


# Cuts that several arms share: of each step every one is made once.


@dataclass
class Cuts:
    """Training cuts of a log; those of the latest hour are kept."""

    log: FlatLog
    settings: Settings
    _as_of: Hour | None = None
    _kept: dict[str, tuple[Cut, float]] = field(default_factory=dict)

    def train(
        self, rules: DatasetSettings, as_of: Hour, before: Terms | None = None
    ) -> tuple[Cut, float]:
        """A cut by these rules, and the seconds that it took when it was made.

        Raises:
            HourglassError: no event is left by the support filter.
        """
        if as_of != self._as_of:
            self._as_of = as_of
            self._kept.clear()
        # What extends an arm's own terms is no other arm's.
        key = rules.model_dump_json() if before is None else ""
        if key in self._kept:
            return self._kept[key]
        began_s = time.perf_counter()
        own = self.settings.model_copy(update={"dataset": rules})
        made = train_cut(self.log, own, as_of, before), time.perf_counter() - began_s
        if key:
            self._kept[key] = made
        return made
