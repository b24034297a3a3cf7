"""Flat events -> the training and the test part that systems are given, split by time."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from benchmarks.quality.logs import Known
from pipeline.array_types import Bools, Objects
from pipeline.hours import HOUR_S, US_PER_HOUR, Hour
from training.data.reader import DataSet, Features
from training.protocols.datasets import (
    Catalogue,
    catalogue_of,
    places_of,
    question_set,
    training_set,
)
from training.protocols.events import Log

__all__ = ["US_PER_HOUR", "Catalogue", "Parts", "described", "parts_of", "split_by_time"]


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
    catalogue = catalogue_of(learned, min_item_events, gap_s)
    late = asked.time_us >= as_of.index * US_PER_HOUR
    has_target = np.zeros(len(asked.user_ids), np.bool_)
    has_target[asked.user[late]] = True
    rows = has_target[asked.user]
    test, left_out = question_set(asked.take(rows), catalogue, as_of, late[rows])
    train = training_set(learned, catalogue, as_of)
    return Parts(with_known(train, items, users), with_known(test, items, users), left_out)


def with_known(data: DataSet, items: Known | None, users: Known | None) -> DataSet:
    """A data set with what is known of its items and users."""
    if items is not None:
        features = described(items, data.item_ids, data.item_events > 0)
        data = replace(data, item_features=features)
    if users is not None:
        everybody = np.ones(len(data.histories.user_ids), np.bool_)
        features = described(users, data.histories.user_ids, everybody)
        histories = replace(data.histories, user_features=features)
        data = replace(data, histories=histories, user_features=features)
    return data


def described(known: Known, ids: Objects, learned: Bools) -> Features:
    """Features of ids (R,) in their order; numbers are standardised by the rows ``learned`` (R,).

    Nothing is told of ids that ``known`` lacks; a number that is missing becomes 0.
    """
    row = places_of(ids, known.ids)
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
