"""How far back what users do now still depends on what they did: Dep_L (M3).

    Dep_L = tr Cov(Q_now, Q_before) = E[(Q_now - mean Q_now) . (Q_before - mean Q_before)]

over users, now = their last event, before = the event L steps earlier, Q = vectors of items from a
trained model.  On log axes, a straight line is dependence that has no scale and so no end.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.array_types import Floats, Floats32, Ints, Ints32


def dependence(vectors: Floats32, item: Ints32, offsets: Ints, lags: Sequence[int]) -> Floats:
    """Dep_L of each lag; NaN where fewer than two users have a history that long.

    Args:
        vectors: (V, D) of items, in the order of the vocabulary.
        item: (N,) 1-based, of the events of all users, one history after another.
        offsets: (U + 1,) where histories begin, and N.
        lags: L, each 1 or more.
    """
    table = vectors.astype(np.float64)
    result = np.full(len(lags), np.nan)
    for row, lag in enumerate(lags):
        last = offsets[1:][np.diff(offsets) > lag] - 1
        if len(last) > 1:
            now, before = (table[item[event] - 1] for event in (last, last - lag))
            result[row] = ((now - now.mean(0)) * (before - before.mean(0))).sum(1).mean()
    return result
