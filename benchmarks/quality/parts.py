"""Flat events -> the training and the test part that systems are given, all in memory.

What the parts hold is what `hourglass dataset` freezes: the vocabulary and the dwell bins are the
training part's, the test part holds each user's whole history, and popularity is counted by the
hour.  N events, V items, U users.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.logs import US_PER_S, Known, Log
from pipeline.dataset.manifest import DwellBins, Manifest
from pipeline.hours import HOUR_S, Hour
from pipeline.sessions.dwell import Moments, moments_of_us
from training.data.reader import DataSet, Features, Histories, Popularity

US_PER_HOUR = HOUR_S * US_PER_S
_BINS = 64
_POPULARITY_H = 28 * 24


@dataclass(frozen=True)
class Parts:
    """What is learned from, and what is asked."""

    train: DataSet
    test: DataSet
    left_out_events: int  # events of the test part on items that the training part does not hold

    @property
    def said(self) -> dict[str, int]:
        """Sizes that a reader of the figures wants to know."""
        return {
            "train_events": self.train.manifest.n_events,
            "items": self.train.manifest.n_items,
            "users": self.train.manifest.n_users,
            "test_users": self.test.manifest.n_users,
            "left_out_events": self.left_out_events,
        }


@dataclass(frozen=True)
class Catalogue:
    """The vocabulary and what goes with it."""

    item_ids: NDArray[np.object_]  # (V,)
    item_events: NDArray[np.int64]  # (V,)
    features: Features | None
    users: Known | None
    event_types: tuple[str, ...]
    dwell: DwellBins
    gap_s: int


def split_by_time(
    log: Log,
    share: float,
    min_item_events: int,
    items: Known | None = None,
    users: Known | None = None,
) -> Parts:
    """Learn from the first ``share`` of the events, up to a full hour; ask what comes after it."""
    begins_us = int(np.quantile(log.time_us, share, method="lower"))
    as_of = Hour(begins_us // US_PER_HOUR)
    before = log.time_us < as_of.index * US_PER_HOUR
    return parts_of(log.take(before), log, as_of, min_item_events, items, users)


def parts_of(
    learned: Log,
    asked: Log,
    as_of: Hour,
    min_item_events: int = 1,
    items: Known | None = None,
    users: Known | None = None,
    gap_s: int = HOUR_S,
) -> Parts:
    """The two parts.

    Args:
        learned: events of the training part.
        asked: whole histories of the users who may be tested; what happened before ``as_of`` is no
            target, and users without a target are left out.
        as_of: the hour in which testing begins.
        min_item_events: of an item of the vocabulary in ``learned``.
        items: what is known of items.
        users: what is known of users.
        gap_s: silence after which a request begins a session.
    """
    import pandas as pd

    catalogue = catalogue_of(learned, min_item_events, items, users, gap_s)
    late = asked.time_us >= as_of.index * US_PER_HOUR
    asked = asked.take(np.asarray(pd.Index(asked.user).isin(asked.user[late])))
    test, left_out = frozen(asked, catalogue, as_of, is_test=True)
    return Parts(frozen(learned, catalogue, as_of, is_test=False)[0], test, left_out)


def catalogue_of(
    learned: Log,
    min_item_events: int,
    items: Known | None = None,
    users: Known | None = None,
    gap_s: int = HOUR_S,
    cold: NDArray[np.object_] | None = None,
) -> Catalogue:
    """The vocabulary of a training part, and items ``cold`` (C,) without any event after it."""
    import pandas as pd

    code, names = pd.factorize(learned.item, sort=True)
    support = np.bincount(code, minlength=len(names))
    kept = support >= min_item_events
    names, support = names[kept], support[kept]
    if cold is not None:
        names = np.concatenate([names, np.setdiff1d(cold, names)])
        support = np.concatenate([support, np.zeros(len(names) - len(support), np.int64)])
    return Catalogue(
        item_ids=names,
        item_events=support.astype(np.int64),
        features=None if items is None else described(items, names, support > 0),
        users=users,
        event_types=tuple(sorted(set(learned.event_type))),
        dwell=_dwell(learned),
        gap_s=gap_s,
    )


def frozen(log: Log, catalogue: Catalogue, as_of: Hour, is_test: bool) -> tuple[DataSet, int]:
    """A data set of a log's events on the vocabulary, and how many targets were left out."""
    place = _places(log.item, catalogue.item_ids)
    late = log.time_us >= as_of.index * US_PER_HOUR
    dwell_s = _dwell_us(log) / US_PER_S
    bins = _bins(dwell_s, catalogue.dwell)
    known = place >= 0
    left_out = int((late & ~known).sum())
    log, place, late = log.take(known), place[known], late[known]
    starts = np.ones(len(log), np.bool_)
    starts[1:] = log.session[1:] != log.session[:-1]
    user_ids, first, user = _users(log)
    lengths = np.bincount(user, minlength=len(user_ids))
    context = np.bincount(user[~late], minlength=len(user_ids)) if is_test else 0 * lengths
    kinds = {kind: code for code, kind in enumerate(catalogue.event_types)}
    features = None
    if catalogue.users is not None:
        features = described(catalogue.users, user_ids, np.ones(len(user_ids), np.bool_))
    histories = Histories(
        user_ids=user_ids,
        offsets=np.append(first, len(log)).astype(np.int64),
        n_context=context.astype(np.int32),
        item=(place + 1).astype(np.int32),
        time_us=log.time_us,
        session_start=starts,
        dwell_s=dwell_s[known].astype(np.float32),
        dwell_bin=bins[known],
        event_type=np.array([kinds.get(kind, 0) for kind in log.event_type], np.int16),
        value=log.value,
        context=np.zeros((len(log), 0), np.int32),
        event_types=catalogue.event_types,
        user_features=features,
    )
    until = Hour(int(log.time_us.max()) // US_PER_HOUR + 1) if is_test else as_of
    data = DataSet(
        folder=Path(),
        manifest=_manifest(histories, catalogue, as_of, until, is_test),
        histories=histories,
        item_ids=catalogue.item_ids,
        item_events=catalogue.item_events,
        popularity=hourly(log, place, until),
        item_features=catalogue.features,
        user_features=features,
    )
    return data, left_out


def hourly(log: Log, place: NDArray[np.int64], until: Hour) -> Popularity:
    """Events by item and hour, before an hour."""
    hour = log.time_us // US_PER_HOUR
    kept = (hour < until.index) & (hour >= until.index - _POPULARITY_H)
    pairs = np.stack([hour[kept], place[kept] + 1], axis=1)
    distinct, events = np.unique(pairs, axis=0, return_counts=True)
    return Popularity(distinct[:, 1].astype(np.int32), distinct[:, 0], events.astype(np.int64))


def described(known: Known, ids: NDArray[np.object_], learned: NDArray[np.bool_]) -> Features:
    """Features of ids (R,) in their order; numbers are standardised by the rows ``learned`` (R,).

    Nothing is told of ids that ``known`` lacks; a number that is missing becomes 0.
    """
    row = _places(ids, known.ids)
    names = sorted({token for one in known.tokens for token in one})
    number = {name: at for at, name in enumerate(names)}
    tokens = [[number[token] for token in known.tokens[at]] if at >= 0 else [] for at in row]
    columns = []
    for values in known.numbers.values():
        column = np.where(row >= 0, values[row], np.nan)
        scale = column[learned & np.isfinite(column)]
        spread = scale.std() if len(scale) and scale.std() > 0 else 1.0
        columns.append(np.nan_to_num((column - (scale.mean() if len(scale) else 0.0)) / spread))
    return Features(
        offsets=np.cumsum([0, *map(len, tokens)]).astype(np.int64),
        token=np.array([token for one in tokens for token in one], np.int32),
        token_names=np.array(names, object),
        numbers=np.stack(columns, axis=1).astype(np.float32),
        number_names=np.array(list(known.numbers), object),
    )


def _places(wanted: NDArray[np.object_], known: NDArray[np.object_]) -> NDArray[np.int64]:
    """Where each of ``wanted`` stands in ``known``, -1 where it does not."""
    import pandas as pd

    return np.asarray(pd.Index(known).get_indexer(pd.Index(wanted)), np.int64)


def _users(log: Log) -> tuple[NDArray[np.object_], NDArray[np.int64], NDArray[np.int64]]:
    """Ids of the users (U,), their first events (U,), and the row of the user of each event."""
    begins = np.ones(len(log), np.bool_)
    begins[1:] = log.user[1:] != log.user[:-1]
    first = np.flatnonzero(begins)
    return log.user[first], first, np.cumsum(begins) - 1


def _dwell_us(log: Log) -> NDArray[np.float64]:
    """Time to the next event of the session, (N,); NaN for a session's last."""
    dwell = np.full(len(log), np.nan)
    within = log.session[1:] == log.session[:-1]
    dwell[:-1][within] = np.diff(log.time_us)[within]
    return dwell


def _dwell(log: Log) -> DwellBins:
    dwell = _dwell_us(log)
    known = dwell[np.isfinite(dwell)].astype(np.int64)
    found = moments_of_us(known) if len(known) else {"n": 0, "mean_s": 0.0, "m2_s2": 0.0}
    moments = Moments(int(found["n"]), float(found["mean_s"]), float(found["m2_s2"]))
    return DwellBins(
        n=moments.n,
        mean_s=moments.mean_s,
        m2_s2=moments.m2_s2,
        width_s=moments.scott_width_s,
        bins=_BINS,
    )


def _bins(dwell_s: NDArray[np.float64], dwell: DwellBins) -> NDArray[np.int16]:
    """Bins of dwell times: 1 is the first, the last holds the tail, 0 = unknown."""
    if dwell.width_s <= 0:
        return np.zeros(len(dwell_s), np.int16)
    bins = np.minimum(np.floor(dwell_s / dwell.width_s), dwell.bins - 1) + 1
    coded: NDArray[np.int16] = np.nan_to_num(bins).astype(np.int16)
    return coded


def _manifest(
    histories: Histories, catalogue: Catalogue, as_of: Hour, until: Hour, is_test: bool
) -> Manifest:
    first = Hour(int(histories.time_us.min()) // US_PER_HOUR)
    return Manifest(
        format=2,
        dataset_id="test" if is_test else "train",
        as_of=until,
        window_start=as_of if is_test else first,
        history_start=first,
        n_items=len(catalogue.item_ids),
        n_users=len(histories.user_ids),
        n_events=len(histories.item),
        n_targets=int(histories.is_target.sum()),
        event_types=catalogue.event_types,
        dwell=catalogue.dwell,
        popularity_window_h=_POPULARITY_H,
        max_session_hours=24,
        gap_s=catalogue.gap_s,
        config_digest="",
        code_version="",
        files={},
        n_cold_items=int((catalogue.item_events == 0).sum()),
    )
