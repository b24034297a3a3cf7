"""A simulated log of ratings: biases of users and items, and users whose mean drifts (S19)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from synthetic import AS_OF_S, write_dataset

from training.data.reader import DataSet, Requests, read_dataset
from training.models import build

N_ITEMS, PER_USER = 30, 50
DAY_S = 86_400
TRAINING_DAYS, TEST_DAYS = 80, 20
NOISE = 0.3
LEARN: dict[str, dict[str, Any]] = {
    "pmf_rating": {
        "width": 8,
        "user_width": 8,
        "user_dropout": 0.0,
        "epochs": 20,
        "min_batches": 20,
        "learning_rate": 0.03,
        "weight_decay": 0.001,
        "validation_share": 0.0,
    },
    "time_svd": {"width": 8, "epochs": 15, "learning_rate": 0.01, "weight_decay": 0.001},
    "rrn": {
        "width": 8,
        "hidden": 16,
        "max_len": 8,
        "epochs": 8,
        "learning_rate": 0.01,
        "weight_decay": 0.001,
    },
}


def drifting(folder: Path, n_users: int, seed: int) -> tuple[DataSet, DataSet]:
    """Training part and the days after it, of the same users.

    value = bias of the user + bias of the item + slope of the user x time + noise.
    """
    rng = np.random.default_rng(seed)
    item_bias = rng.normal(0, 0.6, N_ITEMS)
    begin_s = AS_OF_S - TRAINING_DAYS * DAY_S
    days = TRAINING_DAYS + TEST_DAYS
    users = {}
    for user in range(n_users):
        bias, slope = rng.normal(0, 0.8), rng.normal(0, 0.5)
        events = []
        for day in np.sort(rng.uniform(0, days, PER_USER)).tolist():
            item = int(rng.integers(N_ITEMS))
            drift = slope * (2 * day / days - 1)
            value = 3 + bias + item_bias[item] + drift + rng.normal(0, NOISE)
            events.append((f"i{item:02d}", float(begin_s + day * DAY_S), "rate", float(value)))
        users[f"u{user:03d}"] = events
    early = {
        user: [event for event in events if event[1] < AS_OF_S] for user, events in users.items()
    }
    names = [f"i{item:02d}" for item in range(N_ITEMS)]
    base = write_dataset(folder / "base", early, vocabulary=names)
    test = write_dataset(
        folder / "test",
        users,
        base=base,
        window_start="2016-03-14T13",
        as_of="2016-04-03T13",
    )
    return read_dataset(base), read_dataset(test)


def rolling_average(test: DataSet) -> NDArray[np.float64]:
    """Mean of the item's and the user's average before each event, (N,)."""
    h = test.histories
    totals: dict[tuple[str, int], tuple[float, int]] = {}
    expected = np.empty(len(h.item))
    for event in np.argsort(h.time_us, kind="stable"):
        means = []
        for key in (("item", int(h.item[event])), ("user", int(h.user_of_event[event]))):
            total, count = totals.get(key, (0.0, 0))
            means.append(total / count if count else 3.0)
            totals[key] = (total + float(h.value[event]), count + 1)
        expected[event] = np.mean(means)
    return expected


def errors(parts: tuple[DataSet, DataSet], seed: int) -> dict[str, float]:
    """RMSE of the ratings after the training part, by model."""
    base, test = parts
    event = np.flatnonzero(test.histories.is_target)
    requests = Requests.before(test.histories, event)
    actual = test.histories.value[event]
    predicted = {"rolling average": rolling_average(test)[event]}
    for name, parameters in LEARN.items():
        model: Any = build(name, {"device": "cpu", **parameters})
        model.fit(base, seed, lambda progress: None)
        predicted[name] = model.predict(test.histories, requests, test.histories.item[event])
    return {
        name: float(np.sqrt(np.mean((values - actual) ** 2))) for name, values in predicted.items()
    }


@pytest.mark.parametrize(
    ("n_users", "seeds"),
    [(60, (0,)), pytest.param(150, (0, 1, 2), marks=pytest.mark.nightly)],
    ids=["one", "three"],
)
def test_what_follows_the_drift_beats_what_does_not(
    tmp_path: Path, n_users: int, seeds: Sequence[int]
) -> None:
    """RRN and TimeSVD++ before PMF, PMF before the rolling average."""
    rows = [errors(drifting(tmp_path / str(seed), n_users, seed), seed) for seed in seeds]
    mean = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    assert mean["pmf_rating"] < mean["rolling average"] - 0.05
    assert max(mean["rrn"], mean["time_svd"]) < mean["pmf_rating"] - 0.1
