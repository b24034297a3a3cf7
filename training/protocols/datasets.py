"""Flat events -> the data sets that models are given, all in memory.

What they hold is what `hourglass dataset` freezes: the vocabulary and the dwell bins are those of
what is learned from, what is asked holds each user's whole history, and popularity is counted by
the hour.  N events, V items, U users.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.array_types import Bools, Floats, Ints, Objects
from pipeline.dataset.manifest import DwellBins, Manifest
from pipeline.hours import US_PER_HOUR, US_PER_S, Hour
from pipeline.sessions.dwell import Moments, moments_of_us
from training.data.reader import DataSet, Histories, Popularity
from training.protocols.events import Log, group_sizes, starts_of

_BINS = 64
_POPULARITY_H = 28 * 24


@dataclass(frozen=True)
class Catalogue:
    """The vocabulary and what goes with it."""

    item_ids: Objects  # (V,)
    item_events: Ints  # (V,)
    event_types: tuple[str, ...]
    dwell: DwellBins
    gap_s: int


def catalogue_of(learned: Log, min_item_events: int, gap_s: int) -> Catalogue:
    """What is known of items after ``learned``.

    Args:
        learned: what models learn from.
        min_item_events: of an item of the vocabulary.
        gap_s: silence after which a request begins a session.
    """
    support = np.bincount(learned.item, minlength=len(learned.item_ids))
    rows = np.flatnonzero(support >= max(1, min_item_events))
    rows = rows[np.argsort(learned.item_ids[rows].astype(str), kind="stable")]
    return Catalogue(
        item_ids=learned.item_ids[rows],
        item_events=support[rows].astype(np.int64),
        event_types=tuple(sorted(learned.event_types[row] for row in set(learned.event_type))),
        dwell=_dwell(learned),
        gap_s=gap_s,
    )


def training_set(learned: Log, catalogue: Catalogue, as_of: Hour) -> DataSet:
    """What models learn from: every event, up to an hour."""
    data, _ = _frozen(learned, catalogue, as_of, as_of, None, 0)
    return data


def question_set(
    log: Log, catalogue: Catalogue, as_of: Hour, is_target: Bools, least_context: int = 0
) -> tuple[DataSet, int]:
    """What is asked: histories on the vocabulary, and how many targets were left out.

    Args:
        log: whole histories of the users who are asked.
        catalogue: of what was learned.
        as_of: where what was learned ends.
        is_target: (N,); those of a user are the last events.
        least_context: so many first events of a history are no targets.
    """
    until = Hour(int(log.time_us.max()) // US_PER_HOUR + 1)
    return _frozen(log, catalogue, as_of, until, is_target, least_context)


def places_of(wanted: Objects, ids: Objects) -> Ints:
    """Where each of ``wanted`` stands in ``ids``, -1 where it does not."""
    return np.asarray(pd.Index(ids).get_indexer(pd.Index(wanted)), np.int64)


def _frozen(
    log: Log,
    catalogue: Catalogue,
    as_of: Hour,
    until: Hour,
    is_target: Bools | None,
    least_context: int,
) -> tuple[DataSet, int]:
    column = places_of(log.item_ids, catalogue.item_ids)[log.item]
    dwell_s = _dwell_us(log) / US_PER_S
    bins = _bins(dwell_s, catalogue.dwell)
    in_catalogue = column >= 0
    targets = np.ones(len(log), np.bool_) if is_target is None else is_target
    left_out = int((targets & ~in_catalogue).sum())
    log, column, targets = log.take(in_catalogue), column[in_catalogue], targets[in_catalogue]
    first, lengths = group_sizes(log.user)
    user_ids = log.user_ids[log.user[first]]
    row = np.repeat(np.arange(len(first)), lengths)
    context = lengths - np.bincount(row, weights=targets, minlength=len(first)).astype(np.int64)
    context = np.maximum(context, np.minimum(least_context, lengths))
    code_of = {kind: code for code, kind in enumerate(catalogue.event_types)}
    codes = np.array([code_of.get(kind, 0) for kind in log.event_types], np.int16)
    histories = Histories(
        user_ids=user_ids,
        offsets=np.append(first, len(log)).astype(np.int64),
        n_context=context.astype(np.int32),
        item=(column + 1).astype(np.int32),
        time_us=log.time_us,
        session_start=starts_of(log.session),
        dwell_s=dwell_s[in_catalogue].astype(np.float32),
        dwell_bin=bins[in_catalogue],
        event_type=codes[log.event_type],
        value=log.value,
        context=np.zeros((len(log), 0), np.int32),
        event_types=catalogue.event_types,
    )
    data = DataSet(
        folder=Path(),
        manifest=_manifest(histories, catalogue, as_of, until, is_target is not None),
        histories=histories,
        item_ids=catalogue.item_ids,
        item_events=catalogue.item_events,
        popularity=_hourly(log.time_us, column, until),
    )
    return data, left_out


def _hourly(time_us: Ints, column: Ints, until: Hour) -> Popularity:
    """Events by item and hour, before an hour."""
    hour = time_us // US_PER_HOUR
    rows = (hour < until.index) & (hour >= until.index - _POPULARITY_H)
    pairs = np.stack([hour[rows], column[rows] + 1], axis=1)
    distinct, events = np.unique(pairs, axis=0, return_counts=True)
    return Popularity(distinct[:, 1].astype(np.int32), distinct[:, 0], events.astype(np.int64))


def _dwell_us(log: Log) -> Floats:
    """Time to the next event of the session, (N,); NaN for a session's last."""
    dwell = np.full(len(log), np.nan)
    within = log.session[1:] == log.session[:-1]
    dwell[:-1][within] = np.diff(log.time_us)[within]
    return dwell


def _dwell(log: Log) -> DwellBins:
    dwell = _dwell_us(log)
    told_us = dwell[np.isfinite(dwell)].astype(np.int64)
    sums = moments_of_us(told_us) if len(told_us) else {"n": 0, "mean_s": 0.0, "m2_s2": 0.0}
    moments = Moments(int(sums["n"]), float(sums["mean_s"]), float(sums["m2_s2"]))
    return DwellBins(
        n=moments.n,
        mean_s=moments.mean_s,
        m2_s2=moments.m2_s2,
        width_s=moments.scott_width_s,
        bins=_BINS,
    )


def _bins(dwell_s: Floats, dwell: DwellBins) -> NDArray[np.int16]:
    """Bins of dwell times: 1 is the first, the last holds the tail, 0 = unknown."""
    if dwell.width_s <= 0:
        return np.zeros(len(dwell_s), np.int16)
    bins = np.minimum(np.floor(dwell_s / dwell.width_s), dwell.bins - 1) + 1
    coded: NDArray[np.int16] = np.nan_to_num(bins).astype(np.int16)
    return coded


def _manifest(
    histories: Histories, catalogue: Catalogue, as_of: Hour, until: Hour, is_test: bool
) -> Manifest:
    first = Hour(int(histories.time_us.min(initial=as_of.index * US_PER_HOUR)) // US_PER_HOUR)
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
