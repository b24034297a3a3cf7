"""What comes next depends on how long the last item was looked at: a bias by dwell bin knows it."""

from __future__ import annotations

import numpy as np
import pytest
from simulated_asars import fitted, hits, parts
from synthetic import AS_OF_S, Event

from training.data.reader import DataSet

PAGES = [f"i{item:02d}" for item in range(12)]
DWELL_S = (20.0, 100.0, 500.0)  # skipped over, read, studied
AFTER = ("j0", "j1", "j2")
LEARN = {
    "epochs": 12,
    "learning_rate": 0.01,
    "hidden": 24,
    "batch_events": 256,
    "dropout": 0.1,
    "input_dropout": 0.1,
    "variant": "user_cat",  # which is told of users, and never of times
    "user_width": 8,
    "plan": "session_windows",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[DataSet, DataSet]:
    """Sessions of a page at random and, nine times of ten, the item of its dwell time."""
    rng = np.random.default_rng(1)
    users = {}
    for user in range(160):
        time_s, events = AS_OF_S - 200_000.0, []
        for _ in range(5):
            time_s += 7200
            kind = int(rng.integers(3))
            events.append(Event(str(rng.choice(PAGES)), time_s))
            time_s += DWELL_S[kind] * rng.uniform(0.8, 1.2)
            after = AFTER[kind] if rng.random() < 0.9 else str(rng.choice(AFTER))
            events.append(Event(after, time_s))
        users[f"u{user:03d}"] = events
    return parts(tmp_path_factory.mktemp("dwelt"), users, 40, [*PAGES, *AFTER])


def hit_share(data: tuple[DataSet, DataSet], seed: int, dwell_bias: int) -> float:
    """hit@1 of the second items of sessions."""
    model = fitted("asars", data, seed, **LEARN, dwell_bias=dwell_bias)
    return hits(model, data[1], np.arange(len(data[1].histories.item)) % 2 == 1)


@pytest.mark.parametrize("seeds", [(0,), pytest.param((0, 1, 2), marks=pytest.mark.nightly)])
def test_what_follows_a_dwell_time_is_known_by_its_bias(
    data: tuple[DataSet, DataSet], seeds: tuple[int, ...]
) -> None:
    with_bias, without = (
        [hit_share(data, seed, dwell_bias) for seed in seeds] for dwell_bias in (8, 0)
    )
    print(f"with {np.round(with_bias, 3)}, without {np.round(without, 3)}")
    assert np.mean(without) < 0.45  # a guess among three
    assert np.mean(with_bias) > 0.8
