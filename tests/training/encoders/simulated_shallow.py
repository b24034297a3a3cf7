"""Simulated logs: users drawn by a rule, and how often a fitted model hits what the rule says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic import AS_OF_S, write_dataset

from pipeline.array_types import Bools, Ints
from training.data.reader import DataSet, Requests, read_dataset
from training.metrics.ranking import mask_last_item
from training.models import build
from training.models.parts.base import Model

HOUR_S = 3600
BEGIN_S = AS_OF_S - 5_000_000
LEARN: dict[str, Any] = {
    "width": 32,
    "learning_rate": 0.01,
    "dropout": 0.1,
    "input_dropout": 0.1,
    "negatives": 0,
    "min_batches": 20,
    "validation_share": 0.0,
    "device": "cpu",
}
# The day's run shows the effect once, the night's on average.
over_seeds = pytest.mark.parametrize(
    "seeds", [(0,), pytest.param((0, 1, 2), marks=pytest.mark.nightly)], ids=["one", "three"]
)
over_seeds_by_night = pytest.mark.parametrize(
    "seeds", [pytest.param((0, 1, 2), marks=pytest.mark.nightly)], ids=["three"]
)
Events = Sequence[tuple[Any, ...]]


def item_id(item: int) -> str:
    return f"i{item:03d}"


def two_parts(
    folder: Path,
    users: Sequence[Events],
    n_items: int,
    window_start: str = "1970-01-01T00",
    **more: Any,
) -> tuple[DataSet, DataSet]:
    """A training part, and a test part of a quarter of the users, whom training never met.

    ``users``: events (item, time_s, ...) of each; those before ``window_start`` are no targets of
    the training part; ``more``: as `write_dataset` takes it.
    """
    rows = {
        f"u{user:04d}": [(item_id(item), *rest) for item, *rest in events]
        for user, events in enumerate(users)
    }
    names = [item_id(item) for item in range(n_items)]
    test_users = list(rows)[: len(rows) // 4]
    base = write_dataset(
        folder / "base",
        {user: events for user, events in rows.items() if user not in test_users},
        vocabulary=names,
        window_start=window_start,
        **more,
    )
    test = write_dataset(
        folder / "test", {user: rows[user] for user in test_users}, base=base, **more
    )
    return read_dataset(base), read_dataset(test)


def fitted(name: str, data: DataSet, seed: int = 0, **parameters: Any) -> Model:
    model = build(name, {**LEARN, **parameters})
    model.fit(data, seed, lambda progress: None)
    return model


def hits(model: Model, data: DataSet, counts: Callable[[Ints], Bools]) -> float:
    """hit@1 of the targets whose place in their user's history, from 0, counts; no repeats."""
    h = data.histories
    place = np.arange(len(h.item)) - h.offsets[h.user_of_event]
    repeats = (place > 0) & (h.item == np.roll(h.item, 1))
    event = np.flatnonzero(counts(place) & h.is_target & ~repeats)
    requests = Requests.before(h, event)
    scores = model.score(h, requests)
    mask_last_item(scores, h, requests)
    return float(np.mean(scores.argmax(axis=1) + 1 == h.item[event]))


def mean_hits(
    name: str,
    parts: tuple[DataSet, DataSet],
    seeds: Sequence[int],
    counts: Callable[[Ints], Bools] = lambda place: place > 0,
    **parameters: Any,
) -> float:
    """`hits` in the test part after learning from the training part, on average over seeds."""
    base, test = parts
    return float(
        np.mean([hits(fitted(name, base, seed, **parameters), test, counts) for seed in seeds])
    )
