"""Probes of an artefact: a few requests, the same with another future, and how scores compare.

Shapes: ``n`` probe requests, ``V`` items.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.hours import HOUR_S
from pipeline.settings.settings import EvaluationSettings
from training.data.arrays import ranges
from training.data.reader import DataSet, Histories, Requests
from training.metrics.ranking import find_targets
from training.metrics.vocabulary_alignment import (
    is_identity,
    positions,
    translate,
    translate_requests,
)

_FEWEST = 5


def impersonal(
    scores: NDArray[np.float32], histories: Histories, requests: Requests, k: int
) -> int:
    """How many probes show that all get the same best k items in the same order; 0 if they do not.

    Those who ask within the same hour are compared, since popularity changes by the hour.  Only
    requests within a session count: a model that knows sessions alone has nothing to say of the
    first event of one.  Fewer than five, or five after the same item, tell nothing.
    """
    starts = requests.starts if requests.starts is not None else requests.length == 0
    rows = np.flatnonzero((requests.length > 0) & ~starts)
    last = histories.offsets[requests.user[rows]] + requests.length[rows] - 1
    hour = requests.now_us[rows] // (HOUR_S * 1_000_000)
    asking = 0
    for one in np.unique(hour):
        asked = hour == one
        if np.unique(histories.item[last[asked]]).size < 2:  # noqa: PLR2004
            continue
        best = np.argsort(-scores[rows[asked]], axis=1, kind="stable")[:, :k]
        if (best != best[0]).any():
            return 0
        asking += int(asked.sum())
    return asking if asking >= _FEWEST else 0


def differing(one: NDArray[np.float32], other: NDArray[np.float32]) -> int:
    """Rows that differ by more than rounding, relative to the largest score of the row."""
    tolerance = 1e-4 * np.abs(one).max(axis=1, keepdims=True)
    return int((~(np.abs(one - other) <= tolerance)).any(axis=1).sum())


def probe_requests(
    frozen: DataSet,
    rule: EvaluationSettings,
    item_ids: NDArray[np.object_],
    rng: np.random.Generator,
    probes: int,
) -> tuple[Histories, Requests]:
    """A random target of each of a few random users, in the model's own item numbers."""
    requests = find_targets(frozen.histories, rule).requests
    shuffled = rng.permutation(len(requests))
    _, first = np.unique(requests.user[shuffled], return_index=True)
    rows = shuffled[first]
    requests = requests.take(np.sort(rng.permutation(rows)[:probes]))
    columns = positions(frozen.item_ids, item_ids)
    if is_identity(columns, item_ids.size):
        return frozen.histories, requests
    histories, kept = translate(frozen.histories, columns)
    return histories, translate_requests(requests, frozen.histories.offsets, kept)


def scramble_future(
    histories: Histories, requests: Requests, n_items: int, rng: np.random.Generator
) -> Histories:
    """The same histories with everything else from each request on, but for what it knows.

    Other items, types, values, dwell times and contexts from the target on; the events after it
    happen later.  The target's own time stays, since that of the request is known; so does the
    context in the request itself.

    Args:
        histories: N events.
        requests: at most one per user; users without one keep their history.
        n_items: items are drawn from 1 to ``n_items``.
        rng: draws them.
    """
    target = histories.offsets[requests.user] + requests.length  # (n,) flat position
    stop = histories.offsets[requests.user + 1]
    row, event = ranges(target, stop - target)
    later = np.zeros(histories.item.shape[0], dtype=bool)
    later[event] = True
    time_us = histories.time_us.copy()
    # Stretched by a random factor, and a little more where nothing lies between: the order stays.
    stretch = rng.integers(2, 10, size=len(requests))[row]
    now_us = histories.time_us[target[row]]
    time_us[event] = now_us + (time_us[event] - now_us) * stretch + (event > target[row])

    def changed(column: NDArray[Any], values: float | NDArray[Any]) -> NDArray[Any]:
        copy = column.copy()
        copy[later] = values
        return copy

    return replace(
        histories,
        item=changed(histories.item, rng.integers(1, n_items + 1, int(later.sum()))),
        time_us=time_us,
        dwell_s=changed(histories.dwell_s, np.nan),
        dwell_bin=changed(histories.dwell_bin, 0),
        event_type=changed(histories.event_type, 0),
        value=changed(histories.value, np.nan),
        context=changed(histories.context, 0),
    )
