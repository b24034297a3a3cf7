"""Dep_L is what a loop over users gives, and falls with the lag where walks forget."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.quality.dependence import dependence

N_ITEMS = 10
LAGS = [1, 2, 5, 23, 30]


def stays() -> list[list[int]]:
    """Items of users who stay on the item they are on, 8 times of 10."""
    rng = np.random.default_rng(3)
    histories: list[list[int]] = [[]]
    for n_events in [*rng.integers(1, 24, size=300), 24]:
        items = [int(rng.integers(1, N_ITEMS + 1))]
        while len(items) < n_events:
            items.append(items[-1] if rng.random() < 0.8 else int(rng.integers(1, N_ITEMS + 1)))
        histories.append(items)
    return histories


def flat(histories: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    item = np.array([item for items in histories for item in items], np.int32)
    return item, np.cumsum([0, *map(len, histories)])


def test_it_is_the_definition() -> None:
    vectors = np.random.default_rng(0).normal(size=(N_ITEMS, 4)).astype(np.float32)
    result = dependence(vectors, *flat(stays()), LAGS)
    for lag, value in zip(LAGS[:3], result, strict=False):
        now = [vectors[items[-1] - 1] for items in stays() if len(items) > lag]
        before = [vectors[items[-1 - lag] - 1] for items in stays() if len(items) > lag]
        trace = 0.0
        for at in range(4):
            mean_now = sum(vector[at] for vector in now) / len(now)
            mean_before = sum(vector[at] for vector in before) / len(before)
            pairs = zip(now, before, strict=True)
            products = [(n[at] - mean_now) * (b[at] - mean_before) for n, b in pairs]
            trace += sum(products) / len(products)
        assert value == pytest.approx(trace, rel=1e-4)
    assert np.isnan(result[3:]).all()  # of one user alone, and of none


def test_what_is_forgotten_step_by_step_falls_with_the_lag() -> None:
    near, further, far, *_ = dependence(np.eye(N_ITEMS, dtype=np.float32), *flat(stays()), LAGS)
    # Of vectors at right angles the trace is the chance of the same item beyond mere chance.
    assert near == pytest.approx(0.8 * 0.9, abs=0.08)
    assert near > further + 0.05 > far + 0.1
