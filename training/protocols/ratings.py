"""Ratings that are to be predicted: targets, averages to compare with, and the error.

N events of all users, n targets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from pipeline.array_types import Floats, Floats32, Ints, Ints32
from pipeline.settings.learning import EvaluationSettings
from training.data.reader import Histories, Requests
from training.metrics.ranking import Targets, find_targets

_DAMPING = 10.0


@runtime_checkable
class Rater(Protocol):
    """A model that says which value an event will have."""

    def predict(self, histories: Histories, requests: Requests, item: Ints32) -> Floats32:
        """The value expected of item (n,), 1-based, at each request, (n,)."""
        ...


def rmse(predicted: NDArray[np.floating], actual: NDArray[np.floating]) -> float:
    """Root of the mean squared error of n predictions."""
    error = predicted.astype(np.float64) - actual
    return float(np.sqrt(np.mean(error**2)))


def rating_targets(histories: Histories) -> Targets:
    """The targets that have a value, repeats among them."""
    targets = find_targets(histories, EvaluationSettings(repeats="keep", targets="all"))
    rows = np.flatnonzero(np.isfinite(histories.value[targets.position]))
    return replace(
        targets,
        requests=targets.requests.take(rows),
        position=targets.position[rows],
        session=targets.session[rows],
        item=targets.item[rows],
    )


class EarlierRatings:
    """All ratings up to the end, by user and time, and what was known before each of them.

    The N events are those of the tested users, in their order, then the others'.  Events without a
    value count nowhere.  A user's average so far is of the user's events before this one; an item's
    is of all ratings at earlier times, also those after T, which no model was fitted on.
    """

    def __init__(self, learned: Histories, tested: Histories) -> None:
        # Tested users come whole; of the others the learned part holds everything.
        others = ~np.isin(learned.user_ids.astype(str), tested.user_ids.astype(str))
        rows = others[learned.user_of_event]
        self.user = np.concatenate(
            [tested.user_of_event, len(tested.user_ids) + learned.user_of_event[rows]]
        )
        self.item = np.concatenate([tested.item, learned.item[rows]]).astype(np.int64)
        self.time_us = np.concatenate([tested.time_us, learned.time_us[rows]])
        self.value = np.concatenate([tested.value, learned.value[rows]]).astype(np.float64)
        self.mean = float(np.nanmean(learned.value))

    def rolling_average(self) -> Floats:
        """Mean of the item's and the user's average so far, (N,); the overall one for either."""
        item_sum, item_n = self._items(self.value)
        user_sum, user_n = self._users(self.value)
        item = np.where(item_n > 0, item_sum / np.maximum(item_n, 1), self.mean)
        user = np.where(user_n > 0, user_sum / np.maximum(user_n, 1), self.mean)
        return (item + user) / 2

    def rolling_biases(self) -> Floats:
        """Overall mean + the item's lean + the user's, each damped by 10 ratings of none, (N,)."""
        item_sum, item_n = self._items(self.value - self.mean)
        item = item_sum / (item_n + _DAMPING)
        user_sum, user_n = self._users(self.value - self.mean - item)
        return self.mean + item + user_sum / (user_n + _DAMPING)

    def _users(self, value: Floats) -> tuple[Floats, Floats]:
        """Sum and number of the values of the user's events before each, (N,)."""
        order = np.lexsort((np.arange(len(self.user)), self.user))
        return _before(self.user[order], np.arange(len(self.user)), value[order], order)

    def _items(self, value: Floats) -> tuple[Floats, Floats]:
        """Sum and number of the values of the item's ratings at earlier times, (N,)."""
        order = np.lexsort((self.time_us, self.item))
        return _before(self.item[order], self.time_us[order], value[order], order)


def _before(group: Ints, time: Ints, value: Floats, order: Ints) -> tuple[Floats, Floats]:
    """Sums and numbers of a group's values at earlier times; sorted by group and time."""
    n = len(group)
    new_group = np.diff(group, prepend=group[:1] - 1) != 0
    new_time = new_group | (np.diff(time, prepend=time[:1]) != 0)
    begins = np.maximum.accumulate(np.where(new_group, np.arange(n), 0))
    stops = np.maximum.accumulate(np.where(new_time, np.arange(n), 0))
    total = np.append(0.0, np.cumsum(np.nan_to_num(value)))
    number = np.append(0, np.cumsum(np.isfinite(value)))
    sums, counts = np.empty(n), np.empty(n)
    sums[order] = total[stops] - total[begins]
    counts[order] = number[stops] - number[begins]
    return sums, counts


Average = Callable[[EarlierRatings], Floats]
AVERAGES: dict[str, Average] = {
    "mean": lambda ratings: np.full(len(ratings.user), ratings.mean),
    "rolling_average": EarlierRatings.rolling_average,
    "rolling_biases": EarlierRatings.rolling_biases,
}
