"""S5: on a log where dwell time says what counts, attention by dwell time finds it."""

from __future__ import annotations

import numpy as np
import pytest
from simulated_asars import fitted, hits, parts
from synthetic import AS_OF_S, Event

from training.data.reader import DataSet

N_ITEMS, N_VIEWS, N_TESTED = 20, 6, 80
NAMES = [f"i{item:02d}" for item in range(N_ITEMS)]
LEARN = {
    "epochs": 10,
    "learning_rate": 0.005,
    "batch_events": 512,
    "dropout": 0.1,
    "input_dropout": 0.1,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[DataSet, DataSet]:
    """Two sessions of 400 learned users and 80 others: six items in no order, then a seventh.

    One of the six is looked at for ten times as long; the seventh is what follows that one.
    """
    rng = np.random.default_rng(1)
    follower = np.random.default_rng(9).permutation(N_ITEMS)
    users = {}
    for user in range(400 + N_TESTED):
        time, events = AS_OF_S - 200_000.0, []
        for _ in range(2):
            time += 7200
            views, counts = rng.choice(N_ITEMS, N_VIEWS, replace=False), rng.integers(N_VIEWS)
            for at, item in enumerate(views):
                events.append(Event(NAMES[item], time))
                time += rng.uniform(20, 40) * (10 if at == counts else 1)
            events.append(Event(NAMES[follower[views[counts]]], time))
        users[f"u{user:03d}"] = events
    return parts(tmp_path_factory.mktemp("dwelt"), users, N_TESTED, NAMES)


def hit_share(data: tuple[DataSet, DataSet], name: str, seed: int, **parameters: object) -> float:
    """hit@1 of the seventh items alone: the others are drawn."""
    at = np.arange(len(data[1].histories.item)) % (N_VIEWS + 1)
    return hits(fitted(name, data, seed, **LEARN, **parameters), data[1], at == N_VIEWS)


def without_dwell(data: tuple[DataSet, DataSet], seed: int) -> float:
    return hit_share(data, "gru4rec", seed, plan="session_windows", max_len=50)


def test_what_was_dwelt_on_is_found_among_what_was_not(data: tuple[DataSet, DataSet]) -> None:
    plain = without_dwell(data, 0)
    attending = hit_share(data, "asars", 0, hidden=32)
    # No more than a guess among the six.
    assert plain < 1 / N_VIEWS + 0.1
    assert attending > plain + 0.2


@pytest.mark.nightly
def test_it_is_no_matter_of_the_seed(data: tuple[DataSet, DataSet]) -> None:
    plain = np.mean([without_dwell(data, seed) for seed in range(3)])
    joined, own, last = (
        np.mean([hit_share(data, "asars", seed, hidden=32, **chosen) for seed in range(3)])
        for chosen in ({"variant": "time_cat"}, {"query": "own"}, {"query": "last"})
    )
    print(f"plain {plain:.3f}, time_cat {joined:.3f}, own {own:.3f}, last {last:.3f}")
    assert min(own, last) > plain + 0.2
    assert min(own, last) > joined + 0.1  # taught longer, time_cat comes to it too
