"""Lists of items that nobody has met yet (HRNN section 4.4, table 7).

Half of the items, drawn at random, are held out: no event on them is in any history, learned from
or asked with.  Each user gets one list of the held-out items only; relevant are those that the user
met, before T or after (where time is split too: from T on).

What a list is asked with are the user's events on the other items, up to T.  A sequence model says
what comes *next*, while the list is of what comes at any time, so its score of an item is the mean,
over all those events, of the chance that the item comes next just then:

    score_j = mean over k of softmax_j(scores of the held-out items after the user's first k events)

n users, C held-out items, V items of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.array_types import Bools, Floats, Ints
from pipeline.hours import HOUR_S, US_PER_HOUR, Hour
from training.data.arrays import ranges
from training.data.reader import DataSet, Requests
from training.metrics.ranking import Scorer, blocks
from training.protocols.datasets import catalogue_of, training_set
from training.protocols.events import Log
from training.protocols.metadata import MetadataTable, with_metadata

_MAX_FLOATS = 1 << 24


@dataclass(frozen=True)
class ColdTask:
    """Lists to be made, and what belongs on them."""

    train: DataSet
    cold: Ints  # (C,) columns of the held-out items
    user: Ints  # (n,) rows of the users
    relevant: Bools  # (n, C)


def cold_task(
    log: Log,
    items: MetadataTable | None,
    users: MetadataTable | None,
    seed: int,
    share: float | None = None,
) -> ColdTask:
    """Hold half of the items out.

    Args:
        log: all events.
        items: what is known of items.
        users: what is known of users.
        seed: of the items that are held out.
        share: what part of the events comes before T; None: no time is split.
    """
    rng = np.random.default_rng(seed)
    ids = np.array(sorted(log.item_ids[np.unique(log.item)]), object)
    held_out = rng.permutation(ids)[: len(ids) // 2]
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
    train = with_metadata(training_set(learned, catalogue, as_of), items, users)
    cold = np.flatnonzero(train.item_events == 0)
    histories = train.histories
    row_of = {user: row for row, user in enumerate(histories.user_ids)}
    column_of = {item: column for column, item in enumerate(train.item_ids[cold])}
    relevant = np.zeros((len(histories.user_ids), len(cold)), np.bool_)
    by_user, met = log.user_ids[log.user[wanted]], log.item_ids[log.item[wanted]]
    for user, item in zip(by_user, met, strict=True):
        if user in row_of:
            relevant[row_of[user], column_of[item]] = True
    user_rows = np.flatnonzero(relevant.any(axis=1))
    return ColdTask(train, cold, user_rows, relevant[user_rows])


def over_histories(model: Scorer, task: ColdTask) -> Floats:
    """Mean chance (n, C) of each held-out item to come next, over the events of each user."""
    histories = task.train.histories
    length = histories.lengths[task.user]
    row, event = ranges(histories.offsets[task.user], length)
    user = task.user[row]
    requests = Requests(user, event - histories.offsets[user], histories.time_us[event])
    total = np.zeros(task.relevant.shape)
    for rows in blocks(user, max(1, _MAX_FLOATS // len(task.train.item_ids))):
        scores = model.score(histories, requests.take(rows))[:, task.cold].astype(np.float64)
        chance = np.exp(scores - scores.max(axis=1, keepdims=True))
        np.add.at(total, row[rows], chance / chance.sum(axis=1, keepdims=True))
    return total / length[:, None]


def list_figures(
    scores: Floats, relevant: Bools, ks: Sequence[int], rng: np.random.Generator
) -> dict[str, float]:
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
    figures = {"mrr": float((1 / (1 + hits.argmax(axis=1))).mean())}
    for k in ks:
        gained = hits[:, :k] @ discount[:k]
        figures[f"precision@{k}"] = float(hits[:, :k].mean())
        figures[f"ndcg@{k}"] = float((gained / best[np.minimum(k, n_relevant)]).mean())
    return figures
