"""Protocol D: items that nobody has met yet (HRNN section 4.4, table 7).

Half of the items, drawn at random, are held out: no event on them is in any history, learned from
or asked with.  Each user gets one list of the held-out items only; relevant are those that the user
met, before T or after (where time is split too: from T on).

What a list is asked with are the user's events on the other items, up to T.  A sequence model says
what comes *next*, while the list is of what comes at any time, so its score of an item is the mean,
over all those events, of the chance that the item comes next just then:

    score_j = mean over k of softmax_j(scores of the held-out items after the user's first k events)

"Last state" takes the scores after the last of those events alone.

n users, C held-out items, V items of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.figures import Figures, Runs
from benchmarks.quality.logs import FilmLog
from benchmarks.quality.parts import US_PER_HOUR, with_known
from benchmarks.quality.progress import Say
from benchmarks.quality.ranking import Entry, fitted
from pipeline.hours import HOUR_S, Hour
from training.data.arrays import ranges
from training.data.reader import DataSet, Features, Requests
from training.metrics.ranking import blocks
from training.models.parts.base import Model
from training.protocols.datasets import catalogue_of, training_set

CUTOFFS = (5, 25)
_RIDGE = 1.0
_MAX_FLOATS = 1 << 24

Scores = NDArray[np.float64]
Baseline = Callable[["ColdTask", np.random.Generator], Scores]


@dataclass(frozen=True)
class ColdTask:
    """Lists to be made, and what belongs on them."""

    train: DataSet
    cold: NDArray[np.int64]  # (C,) columns of the held-out items
    user: NDArray[np.int64]  # (n,) rows of the users
    relevant: NDArray[np.bool_]  # (n, C)


def cold_task(films: FilmLog, seed: int, share: float | None) -> ColdTask:
    """Hold half of the items out.

    Args:
        films: events, and what is known of items and users.
        seed: of the items that are held out.
        share: what part of the events comes before T; None: no time is split.
    """
    log = films.log
    rng = np.random.default_rng(seed)
    items = np.array(sorted(log.item_ids[np.unique(log.item)]), object)
    held_out = rng.permutation(items)[: len(items) // 2]
    is_held_out = np.isin(log.item_ids.astype(str), held_out.astype(str))[log.item]
    if share is None:
        as_of = Hour(int(log.time_us.max()) // US_PER_HOUR + 1)
        wanted = is_held_out
    else:
        as_of = Hour(int(np.quantile(log.time_us, share, method="lower")) // US_PER_HOUR)
        wanted = is_held_out & (log.time_us >= as_of.index * US_PER_HOUR)
    before = log.time_us < as_of.index * US_PER_HOUR
    learned = log.take(before & ~is_held_out)
    catalogue = catalogue_of(learned, 1, HOUR_S)
    catalogue = replace(
        catalogue,
        item_ids=np.concatenate([catalogue.item_ids, np.sort(held_out)]),
        item_events=np.append(catalogue.item_events, np.zeros(len(held_out), np.int64)),
    )
    train = with_known(training_set(learned, catalogue, as_of), films.items, films.users)
    cold = np.flatnonzero(train.item_events == 0)
    histories = train.histories
    row_of = {user: row for row, user in enumerate(histories.user_ids)}
    column_of = {item: at for at, item in enumerate(train.item_ids[cold])}
    relevant = np.zeros((len(histories.user_ids), len(cold)), np.bool_)
    users, wanted_items = log.user_ids[log.user[wanted]], log.item_ids[log.item[wanted]]
    for user, item in zip(users, wanted_items, strict=True):
        if user in row_of:
            relevant[row_of[user], column_of[item]] = True
    asked = np.flatnonzero(relevant.any(axis=1))
    return ColdTask(train, cold, asked, relevant[asked])


def last_states(system: Model, task: ColdTask) -> Scores:
    """Scores (n, C) after the last known event of each user, asked at its moment."""
    histories = task.train.histories
    requests = Requests(
        user=task.user,
        length=histories.lengths[task.user],
        now_us=histories.time_us[histories.offsets[task.user + 1] - 1],
    )
    return system.score(histories, requests)[:, task.cold].astype(np.float64)


def over_histories(system: Model, task: ColdTask) -> Scores:
    """Mean chance (n, C) of each held-out item to come next, over the events of each user."""
    histories = task.train.histories
    length = histories.lengths[task.user]
    row, event = ranges(histories.offsets[task.user], length)
    user = task.user[row]
    requests = Requests(user, event - histories.offsets[user], histories.time_us[event])
    total = np.zeros(task.relevant.shape)
    for rows in blocks(user, max(1, _MAX_FLOATS // len(task.train.item_ids))):
        scores = system.score(histories, requests.take(rows))[:, task.cold].astype(np.float64)
        chance = np.exp(scores - scores.max(axis=1, keepdims=True))
        np.add.at(total, row[rows], chance / chance.sum(axis=1, keepdims=True))
    return total / length[:, None]


def list_figures(scores: Scores, relevant: NDArray[np.bool_], rng: np.random.Generator) -> Figures:
    """Means over users of the figures of one list each; equal scores are ordered by chance.

    NDCG@k has gains 0 and 1 and divides by that of the best possible list of k; MRR is of the first
    relevant item.
    """
    shuffled = rng.permutation(scores.shape[1])
    order = shuffled[np.argsort(-scores[:, shuffled], axis=1, kind="stable")]  # (n, C)
    hits = np.take_along_axis(relevant, order, axis=1)
    discount = 1 / np.log2(np.arange(2, hits.shape[1] + 2))
    best = np.append(0, np.cumsum(discount))  # of a list that begins with so many relevant items
    n_relevant = relevant.sum(axis=1)
    found = {"mrr": float((1 / (1 + hits.argmax(axis=1))).mean())}
    for k in CUTOFFS:
        gained = hits[:, :k] @ discount[:k]
        found[f"precision@{k}"] = float(hits[:, :k].mean())
        found[f"ndcg@{k}"] = float((gained / best[np.minimum(k, n_relevant)]).mean())
    return found


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
        task = cold_task(films, seed, share)
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
            found = list_figures(scores, task.relevant, np.random.default_rng([seed, 2]))
            rows.setdefault(name, []).append(found)
            say(f"{name}, seed {seed}", found)
    return {name: Runs(found) for name, found in rows.items()}, sizes
