"""Convolutions see as far as they reach, on a log made for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from simulated_shallow import BEGIN_S, mean_hits, over_seeds, two_parts

N_ITEMS = 20


@over_seeds
def test_an_item_three_steps_ago_is_within_reach_or_not(
    tmp_path: Path, seeds: tuple[int, ...]
) -> None:
    """Each item is the follower of the one three before; the two between say nothing of it."""
    rng = np.random.default_rng(1)
    follower = rng.permutation(N_ITEMS)
    users = []
    for _ in range(80):
        items = [int(item) for item in rng.integers(N_ITEMS, size=3)]
        while len(items) < 30:
            follows = rng.random() < 0.95
            items.append(int(follower[items[-3]] if follows else rng.integers(N_ITEMS)))
        users.append([(item, BEGIN_S + 30.0 * at) for at, item in enumerate(items)])
    parts = two_parts(tmp_path, users, N_ITEMS)
    learned = {"epochs": 8, "counts": lambda place: place >= 3}
    assert mean_hits("caser", parts, seeds, window=4, **learned) > 0.8
    assert mean_hits("caser", parts, seeds, window=2, **learned) < 0.15  # chance is .05
    for unit in ("relu", "gated"):
        assert mean_hits("wavenet", parts, seeds, unit=unit, **learned) > 0.8
        near = {"kernel": 2, "layers": 1, "unit": unit}
        assert mean_hits("wavenet", parts, seeds, **near, **learned) < 0.15
