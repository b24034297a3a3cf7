"""Protocol E: what will the user rate the next film? (HRNN section 4.3, table 4).

The time is split: everything before T is learned from, each rating from T on is predicted from the
user's ratings before it.  N events of all users, n targets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.figures import Figures, Runs
from benchmarks.quality.parts import Parts
from benchmarks.quality.progress import Say
from benchmarks.quality.ranking import Entry, fitted, rule
from pipeline.array_types import Floats32, Ints32
from training.data.reader import Histories, Requests
from training.metrics.ranking import Targets, find_targets

_DAMPING = 10.0

Floats = NDArray[np.float64]


@runtime_checkable
class Rater(Protocol):
    """A system that says which value an event will have."""

    def predict(self, histories: Histories, requests: Requests, item: Ints32) -> Floats32:
        """The value expected of item (n,), 1-based, at each request, (n,)."""
        ...


def rmse(predicted: NDArray[np.floating], actual: NDArray[np.floating]) -> float:
    """Root of the mean squared error of n predictions."""
    error = predicted.astype(np.float64) - actual
    return float(np.sqrt(np.mean(error**2)))


class Ratings:
    """All ratings up to the end, by user and time, and what was known before each of them.

    A user's average so far is of the user's events before this one; an item's average so far is of
    all ratings at earlier times, also those after T, which no system was fitted on.
    """

    def __init__(self, parts: Parts) -> None:
        train, test = parts.train.histories, parts.test.histories
        # Test users come whole; of the others the training part holds everything.
        others = ~np.isin(train.user_ids.astype(str), test.user_ids.astype(str))
        kept = others[train.user_of_event]
        n_test = len(test.item)
        self.user = np.concatenate(
            [test.user_of_event, len(test.user_ids) + train.user_of_event[kept]]
        )
        self.item = np.concatenate([test.item, train.item[kept]]).astype(np.int64)
        self.time_us = np.concatenate([test.time_us, train.time_us[kept]])
        self.value = np.concatenate([test.value, train.value[kept]]).astype(np.float64)
        self.mean = float(np.mean(train.value))
        self.is_test = np.arange(len(self.user)) < n_test

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


def _before(
    group: NDArray[np.int64], time: NDArray[np.int64], value: Floats, order: NDArray[np.int64]
) -> tuple[Floats, Floats]:
    """Sums and numbers of a group's values at earlier times; sorted by group and time."""
    n = len(group)
    new_group = np.diff(group, prepend=group[:1] - 1) != 0
    new_time = new_group | (np.diff(time, prepend=time[:1]) != 0)
    begins = np.maximum.accumulate(np.where(new_group, np.arange(n), 0))
    stops = np.maximum.accumulate(np.where(new_time, np.arange(n), 0))
    total = np.append(0.0, np.cumsum(value))
    sums, counts = np.empty(n), np.empty(n)
    sums[order] = total[stops] - total[begins]
    counts[order] = stops - begins
    return sums, counts


def compared(
    parts: Parts, entries: Sequence[Entry], seeds: Sequence[int], say: Say
) -> tuple[dict[str, Runs], dict[str, int]]:
    """RMSE of averages and of systems: of all targets, and of users who were learned from."""
    histories = parts.test.histories
    targets = find_targets(histories, rule("keep"))
    actual = histories.value[targets.position]
    learned_from = parts.train.histories.user_ids.astype(str)
    is_old = np.isin(histories.user_ids.astype(str), learned_from)[targets.requests.user]

    def figures(predicted: NDArray[np.floating]) -> Figures:
        return {
            "rmse": rmse(predicted, actual),
            "rmse of known users": rmse(predicted[is_old], actual[is_old]),
        }

    ratings = Ratings(parts)
    averages = {
        "mean": np.full(len(ratings.user), ratings.mean),
        "rolling_average": ratings.rolling_average(),
        "rolling_biases": ratings.rolling_biases(),
    }
    runs = {name: Runs([figures(each[targets.position])]) for name, each in averages.items()}
    for name, row in runs.items():
        say(name, row.rows[0])
    for entry in entries:
        rows = []
        for seed in seeds:
            system = fitted(entry, parts.train, seed)
            assert isinstance(system, Rater)
            rows.append(figures(predictions(system, histories, targets)))
            say(f"{entry.name}, seed {seed}", rows[-1])
        runs[entry.name] = Runs(rows)
    sizes = {
        "ratings": len(actual),
        "users": len(np.unique(targets.requests.user)),
        "ratings of known users": int(is_old.sum()),
    }
    return runs, sizes


def predictions(system: Rater, histories: Histories, targets: Targets) -> NDArray[np.float32]:
    """What a system expects of each target, (n,)."""
    return system.predict(histories, targets.requests, targets.item)
