"""Flat events -> the training and the test part that systems are given, split by time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.hours import HOUR_S, US_PER_HOUR, Hour
from training.data.reader import DataSet
from training.protocols.datasets import Catalogue, catalogue_of, question_set, training_set
from training.protocols.events import Log
from training.protocols.metadata import MetadataTable, with_metadata

__all__ = ["US_PER_HOUR", "Catalogue", "Parts", "parts_of", "split_by_time"]


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
    items: MetadataTable | None = None,
    users: MetadataTable | None = None,
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
    items: MetadataTable | None = None,
    users: MetadataTable | None = None,
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
    return Parts(with_metadata(train, items, users), with_metadata(test, items, users), left_out)
