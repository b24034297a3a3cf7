"""Items born since a model was made: where their vectors begin, and what that is worth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic import AS_OF_S, write_dataset

from training.data.reader import DataSet, Requests, read_dataset
from training.models import build
from training.models.parts.base import GradientTrained
from training.nn.tables.new_items import neighbour_shares
from training.trainer.interface import FitOptions, ParentWeights


def test_shares_of_neighbours_are_those_of_a_loop(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    users = {
        f"u{user}": [
            (f"i{item:02d}", AS_OF_S - 9000.0 + 100 * step)
            for step, item in enumerate(rng.integers(0, 9, rng.integers(1, 12)))
        ]
        for user in range(8)
    }
    histories = read_dataset(write_dataset(tmp_path / "d", users)).histories
    is_new = np.array([False, True, False, False, True, True, False, False, False, False])
    for before_us in (None, int(np.median(histories.time_us))):
        counted = np.zeros((10, 10))
        for user in range(8):
            first, stop = histories.offsets[user], histories.offsets[user + 1]
            events = [
                event
                for event in range(first, stop)
                if before_us is None or histories.time_us[event] < before_us
            ]
            for event in events:
                for other in events:
                    mine, theirs = histories.item[event], histories.item[other]
                    if 0 < abs(event - other) <= 3 and is_new[mine] and not is_new[theirs]:
                        counted[mine, theirs] += 1
        assert counted.sum() > 0
        expected = counted / np.maximum(counted.sum(1, keepdims=True), 1)
        shares = neighbour_shares(histories, is_new, before_us)
        np.testing.assert_allclose(shares.toarray(), expected, atol=1e-12)


def topics(n_users: int, seed: int, born: bool, first: int = 0) -> dict[str, list[Any]]:
    """Users who stay within one of ten topics of nine items; the last three of each are young.

    Young ones come in the last hour, once in a session of eight.
    """
    rng = np.random.default_rng(seed)
    users = {}
    for user in range(first, first + n_users):
        topic = 9 * int(rng.integers(10))
        items = [topic + int(item) for item in rng.integers(0, 6, 8)]
        start = AS_OF_S - (1800 if born else 40_000) - rng.uniform(0, 900)
        if born:
            items[int(rng.integers(2, 7))] = topic + 6 + int(rng.integers(3))
        users[f"u{user:04d}"] = [
            (f"i{item:02d}", float(start + 60 * step)) for step, item in enumerate(items)
        ]
    return users


def young_recall(model: Any, test: DataSet) -> float:
    """Share of the next items that are young and among the ten best."""
    h = test.histories
    event = np.flatnonzero(h.is_target)
    ids = np.array([int(name[1:]) for name in test.item_ids[h.item[event] - 1]])
    event = event[ids % 9 >= 6]
    requests = Requests.before(h, event)
    best = np.argsort(-model.score(h, requests), axis=1)[:, :10] + 1
    return float((best == h.item[event][:, None]).any(1).mean())


@pytest.mark.parametrize(
    "seeds", [(0,), pytest.param((1, 2, 3), marks=pytest.mark.nightly)], ids=["one", "three"]
)
def test_one_visit_in_a_known_session_places_an_item(
    tmp_path: Path, seeds: tuple[int, ...]
) -> None:
    gains = []
    for seed in seeds:
        folder = tmp_path / str(seed)
        old = read_dataset(write_dataset(folder / "old", topics(120, seed, born=False)))
        users = topics(40, seed + 100, born=True, first=300)
        path = write_dataset(folder / "new", users)
        new = read_dataset(path)
        test = read_dataset(
            write_dataset(
                folder / "test",
                {
                    f"t{user}": [(item, time + 3600) for item, time in events]
                    for user, events in topics(80, seed + 200, born=True).items()
                },
                as_of="2016-03-14T14",
                window_start="2016-03-14T13",
                base=path,
            )
        )
        recall = {}
        for new_items in ("random", "neighbours"):
            chosen = {
                "width": 32,
                "epochs": 6,
                "negatives": 0,
                "validation_share": 0.0,
                "device": "cpu",
                "repeats": True,
                "new_items": new_items,
            }
            parent = build("hrnn", chosen)
            parent.fit(old, seed, lambda _: None)
            model = build("hrnn", {**chosen, "epochs": 1, "learning_rate": 0.002})
            assert isinstance(model, GradientTrained)
            start = ParentWeights("parent", parent.tensors(), old.item_ids)
            model.fit_with(new, seed, lambda _: None, FitOptions(parent=start))
            recall[new_items] = young_recall(model, test)
        gains.append(recall["neighbours"] - recall["random"])
        print(f"seed {seed}: recall@10 of young items {recall}")
    assert np.mean(gains) > 0.1, gains
