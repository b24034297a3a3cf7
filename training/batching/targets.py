"""Which events are learned from, and which are kept apart to say when to stop.

N events, n requests.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pipeline.array_types import Bools, Ints
from pipeline.errors import HourglassError
from pipeline.hours import US_PER_HOUR
from training.data.reader import DataSet, Histories, Requests

_FEWEST_VALIDATED = 50  # fewer say nothing about when to stop
_MOST_VALIDATED, _ENOUGH_VALIDATED = 4000, 500
_MOST_SCORES = 400_000_000  # of one validation: a few seconds of a core


@dataclass(frozen=True)
class TargetSplit:
    """Events that are learned from, and the later ones that are not."""

    learned: Bools  # (N,)
    validation: Ints  # event positions in order of time; empty: everything is learned from
    begins_us: int | None = None  # what happened from then on is not known while learning

    def whole(self, targets: Bools) -> TargetSplit:
        """Learning from all targets (N,)."""
        return TargetSplit(targets, self.validation[:0])

    def asking(self, targets: Bools, is_asked: Bools) -> TargetSplit:
        """With those events kept apart that are asked (N,); none where they are too few."""
        validation = self.validation[is_asked[self.validation]]
        if len(self.validation) and len(validation) < _FEWEST_VALIDATED:
            return self.whole(targets)
        return replace(self, validation=validation)

    def item_events(self, histories: Histories, all_events: Ints) -> Ints:
        """Events of each item that are known, (V,); ``all_events`` where all are."""
        if self.begins_us is None:
            return all_events
        is_known = np.asarray(histories.time_us) < self.begins_us
        counts: Ints = np.bincount(
            np.asarray(histories.item)[is_known] - 1, minlength=len(all_events)
        ).astype(np.int64)
        return counts


def learnable(model: str, histories: Histories, repeats: bool) -> Bools:
    """Events that may be learned from (N,): past the context, and new unless ``repeats``.

    Raises:
        HourglassError: there is none.
    """
    targets = histories.is_target.copy()
    if not repeats:
        targets &= ~repeats_last(histories)
    if not targets.any():
        raise HourglassError(
            f"{model}: every event repeats the user's previous item: set repeats to true"
        )
    return targets


def repeats_last(histories: Histories) -> Bools:
    """Whether an event is on the item of its user's event before, (N,)."""
    repeats = np.zeros(len(histories.item), np.bool_)
    repeats[1:] = histories.item[1:] == histories.item[:-1]
    repeats[histories.offsets[:-1][histories.lengths > 0]] = False
    return repeats


def latest(data: DataSet, targets: Bools, hours: int) -> Bools:
    """Those of the targets (N,) that lie in the last ``hours`` before as_of; all if none does."""
    since_us = (data.manifest.as_of.index - hours) * US_PER_HOUR
    late: Bools = targets & (np.asarray(data.histories.time_us) >= since_us)
    return late if late.any() else targets


def with_older(recent: Bools, targets: Bools, share: float, rng: np.random.Generator) -> Bools:
    """The recent ones of the targets (N,), and ``share`` times as many of the others, by chance."""
    older = np.flatnonzero(targets & ~recent)
    n_older = min(len(older), round(share * int(recent.sum())))
    result = recent.copy()
    result[rng.choice(older, n_older, replace=False)] = True
    return result


def split_targets(
    histories: Histories, targets: Bools, share: float, known_us: int | None = None
) -> TargetSplit:
    """Keep the latest ``share`` of the targets apart, by time; none where they would be too few.

    Nothing that is learned from happened after the first event that is kept apart.  Nothing that
    happened before ``known_us`` is kept apart: a model that is continued has learned it already.
    """
    positions = np.flatnonzero(targets)
    time_us = np.asarray(histories.time_us)[positions]
    n_kept = int(len(positions) * share)
    if n_kept < _FEWEST_VALIDATED:
        return TargetSplit(targets, positions[:0])
    begins_us = int(np.partition(time_us, len(positions) - n_kept)[len(positions) - n_kept])
    begins_us = max(begins_us, begins_us if known_us is None else known_us)
    late = time_us >= begins_us
    if late.all() or late.sum() < _FEWEST_VALIDATED:
        return TargetSplit(targets, positions[:0])
    learned = targets.copy()
    learned[positions[late]] = False
    order = np.argsort(time_us[late], kind="stable")
    return TargetSplit(learned, positions[late][order], begins_us)


def validation_requests(
    histories: Histories, validation: Ints, n_items: int
) -> tuple[Requests, Ints]:
    """Requests at some of the events, evenly spread over their time, and those events' positions.

    They are sorted by position, so that a user's requests stand together; of many items there are
    fewer, because each scores all ``n_items``.
    """
    most = min(_MOST_VALIDATED, max(_ENOUGH_VALIDATED, _MOST_SCORES // max(1, n_items)))
    step = max(1, -(-len(validation) // most))
    event = np.sort(validation[::step])
    return Requests.before(histories, event), event
