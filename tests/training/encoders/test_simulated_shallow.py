"""What shallow encoders can tell apart, and what they cannot, on logs made for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from simulated_shallow import BEGIN_S, HOUR_S, mean_hits, over_seeds, two_parts

from training.data.reader import DataSet

N_ITEMS = 30


def chain_log(
    folder: Path, follower: NDArray[np.int64], n_events: int, certainty: float
) -> tuple[DataSet, DataSet]:
    """Users who go on to the follower of their item, mostly."""
    rng = np.random.default_rng(1)
    users = []
    for _ in range(120):
        items = [int(rng.integers(N_ITEMS))]
        while len(items) < n_events:
            goes_on = rng.random() < certainty
            items.append(int(follower[items[-1]] if goes_on else rng.integers(N_ITEMS)))
        users.append([(item, BEGIN_S + 30.0 * at) for at, item in enumerate(items)])
    return two_parts(folder, users, N_ITEMS)


def cycle() -> NDArray[np.int64]:
    """Each item's follower on one directed cycle through all items."""
    order = np.random.default_rng(2).permutation(N_ITEMS)
    follower = np.empty(N_ITEMS, np.int64)
    follower[order] = np.roll(order, -1)
    return follower


@over_seeds
def test_the_last_item_tells_what_follows_and_the_bag_of_all_does_not(
    tmp_path: Path, seeds: tuple[int, ...]
) -> None:
    parts = chain_log(tmp_path, cycle(), n_events=40, certainty=0.9)
    for name in ("fmc", "coevent_mf", "context_fmc", "youtube_dnn"):
        assert mean_hits(name, parts, seeds, epochs=6) > 0.8, name
    assert mean_hits("deep_bow", parts, seeds, epochs=12) < 0.4


@over_seeds
def test_one_table_takes_what_follows_for_what_comes_before(
    tmp_path: Path, seeds: tuple[int, ...]
) -> None:
    parts = chain_log(tmp_path, cycle(), n_events=20, certainty=1.0)
    two_tables = mean_hits("coevent_mf", parts, seeds, epochs=8)
    assert two_tables > mean_hits("coevent_mf", parts, seeds, epochs=8, tied=True) + 0.2
    assert mean_hits("fmc", parts, seeds, epochs=8) > 0.8


@over_seeds
def test_a_bag_does_not_know_the_order(tmp_path: Path, seeds: tuple[int, ...]) -> None:
    """Sessions a, b, c or b, a, d: the third item depends on the order of the two before."""
    n_pairs, rng = 10, np.random.default_rng(1)
    users = []
    for _ in range(120):
        events, time_s = [], float(BEGIN_S)
        for _ in range(6):
            pair, turned = int(rng.integers(n_pairs)), int(rng.integers(2))
            third = 2 * n_pairs + 2 * pair + turned
            for item in (2 * pair + turned, 2 * pair + 1 - turned, third):
                events.append((item, time_s))
                time_s += 30
            time_s += 2 * HOUR_S
        users.append(events)
    parts = two_parts(tmp_path, users, 4 * n_pairs)
    learned = {"epochs": 8, "counts": lambda place: place % 3 == 2}
    for name in ("caser", "wavenet"):
        assert mean_hits(name, parts, seeds, plan="session_windows", **learned) > 0.8, name
    assert mean_hits("gru_layers", parts, seeds, **learned) > 0.8
    assert mean_hits("deep_bow", parts, seeds, plan="session_windows", **learned) <= 0.55


@over_seeds
def test_the_context_of_the_request_decides(tmp_path: Path, seeds: tuple[int, ...]) -> None:
    """The next category follows from the last one and the country; the brand stays."""
    n_categories, n_brands, rng = 12, 2, np.random.default_rng(1)
    follower = [rng.permutation(n_categories) for _ in range(4)]  # by country
    users = []
    for _ in range(200):
        category, brand = int(rng.integers(n_categories)), int(rng.integers(n_brands))
        events = []
        for at in range(16):
            country = int(rng.integers(4))
            follows = rng.random() < 0.95
            category = int(follower[country][category] if follows else rng.integers(n_categories))
            told = {"country": f"c{country}"}
            item = category * n_brands + brand
            events.append((item, BEGIN_S + 30.0 * at, "view", None, told))
        users.append(events)
    parts = two_parts(tmp_path, users, n_categories * n_brands, context=["country"])
    last_item_only = mean_hits("fmc", parts, seeds, epochs=10)
    for name in ("context_fmc", "youtube_dnn"):
        with_context = mean_hits(name, parts, seeds, epochs=10)
        assert with_context > last_item_only + 0.2, name
        without = mean_hits(name, parts, seeds, epochs=10, context_input=False)
        assert with_context > without + 0.2, name
