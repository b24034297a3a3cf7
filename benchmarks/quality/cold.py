"""Protocol D: items that nobody has met yet (HRNN section 4.4, table 7).

Lists as `training.protocols.cold` makes them, with baselines beside them.
"Last state" takes the scores after the last of those events alone.

n users, C held-out items, V items of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.figures import Figures, Runs
from benchmarks.quality.logs import FilmLog
from benchmarks.quality.progress import Say
from benchmarks.quality.ranking import Entry, fitted
from training.data.reader import Features, Requests
from training.models.parts.base import Model
from training.protocols.cold import ColdTask, cold_task, list_figures, over_histories

CUTOFFS = (5, 25)
_RIDGE = 1.0

Scores = NDArray[np.float64]
Baseline = Callable[[ColdTask, np.random.Generator], Scores]


def last_states(system: Model, task: ColdTask) -> Scores:
    """Scores (n, C) after the last known event of each user, asked at its moment."""
    histories = task.train.histories
    requests = Requests(
        user=task.user,
        length=histories.lengths[task.user],
        now_us=histories.time_us[histories.offsets[task.user + 1] - 1],
    )
    return system.score(histories, requests)[:, task.cold].astype(np.float64)


def random_lists(task: ColdTask, rng: np.random.Generator) -> Scores:
    """Chance."""
    return rng.random(task.relevant.shape)


def profile_lists(task: ColdTask, rng: np.random.Generator) -> Scores:  # noqa: ARG001
    """Likeness of an item's tokens and numbers to the mean of those the user met; not learned."""
    described = _dense(_features(task))
    length = np.linalg.norm(described, axis=1, keepdims=True)
    described = described / np.maximum(length, 1e-9)
    histories = task.train.histories
    met = np.zeros((len(histories.user_ids), described.shape[1]))
    np.add.at(met, histories.user_of_event, described[histories.item - 1])
    mean = met / np.maximum(histories.lengths, 1)[:, None]
    likeness: Scores = mean[task.user] @ described[task.cold].T
    return likeness


def expected_popularity_lists(
    task: ColdTask,
    rng: np.random.Generator,  # noqa: ARG001
) -> Scores:
    """The popularity that the metadata lead one to expect: the same list for everybody.

    A ridge regression of log(1 + events) of the items that are not held out.
    """
    described = _dense(_features(task))
    events = np.log1p(task.train.item_events)
    warm = task.train.item_events > 0
    x, y = described[warm], events[warm]
    centred = x - x.mean(axis=0)
    weight = np.linalg.solve(
        centred.T @ centred + _RIDGE * np.eye(x.shape[1]), centred.T @ (y - y.mean())
    )
    expected = described[task.cold] @ weight
    return np.broadcast_to(expected, task.relevant.shape).copy()


BASELINES: dict[str, Baseline] = {
    "random": random_lists,
    "profile": profile_lists,
    "expected_popularity": expected_popularity_lists,
}


def _features(task: ColdTask) -> Features:
    features = task.train.item_features
    assert features is not None
    return features


def _dense(features: Features) -> Scores:
    """Tokens, weighted by their rarity, and numbers with their squares, (V, K + 2F)."""
    n_rows, n_tokens = len(features.offsets) - 1, len(features.token_names)
    matrix = np.zeros((n_rows, n_tokens))
    row = np.repeat(np.arange(n_rows), np.diff(features.offsets))
    rarity = np.log((1 + n_rows) / (1 + np.bincount(features.token, minlength=n_tokens)))
    matrix[row, features.token] = rarity[features.token]
    numbers = features.numbers.astype(np.float64)
    return np.concatenate([matrix, numbers, numbers**2], axis=1)


def compared(
    films: FilmLog,
    entries: Sequence[Entry],
    seeds: Sequence[int],
    share: float | None,
    say: Say,
) -> tuple[dict[str, Runs], dict[str, int]]:
    """Figures of baselines and systems; a seed holds out other items and begins other weights."""
    rows: dict[str, list[Figures]] = {}
    sizes: dict[str, int] = {}
    for seed in seeds:
        task = cold_task(films.log, films.items, films.users, seed, share)
        sizes = {
            "users": len(task.user),
            "held_out_items": len(task.cold),
            "relevant": int(task.relevant.sum()),
            "train_events": task.train.manifest.n_events,
        }
        lists = {
            name: scores_of(task, np.random.default_rng([seed, 1]))
            for name, scores_of in BASELINES.items()
        }
        for entry in entries:
            system = fitted(entry, task.train, seed)
            lists[entry.name] = over_histories(system, task)
            lists[f"{entry.name}, last state"] = last_states(system, task)
        for name, scores in lists.items():
            found = list_figures(scores, task.relevant, CUTOFFS, np.random.default_rng([seed, 2]))
            rows.setdefault(name, []).append(found)
            say(f"{name}, seed {seed}", found)
    return {name: Runs(found) for name, found in rows.items()}, sizes
