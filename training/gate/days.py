"""How uncertain a sum is if luck lasts for hours, so that only whole days are a fair coin's.

Hours of a line are not independent: a fit that goes on from the last one inherits its luck, and
users of the evening are not those of the morning.  The sums of days are much nearer to being
independent, but a week has too few of them for their squares alone to prove anything, so their
variance is estimated, as if some days of a presumed luck had been seen besides the real ones.  No
theorem holds for that, only simulations (``benchmarks/gate.py lasting``).  It can but add to the
uncertainty: what holds without it holds with it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from training.gate.sequential_test import Sums

_PRESUMED = 3.0  # as many days what is presumed weighs


def variance_by_day(looks: Sequence[Sums], days: Sequence[int], swing: float) -> float:
    """Variance of the sum of all ``d`` of looks, by the days on which they fell.

    Args:
        looks: of one pair of lines.
        days: which day each look fell on.
        swing: presumed standard deviation of a day, a share of the other model's own figure.
    """
    _, day = np.unique(np.array(days), return_inverse=True)
    d, c, n = (
        np.bincount(day, [getattr(look, name) for look in looks]).astype(np.float64)
        for name in ("d", "c", "n")
    )  # (days,) each
    return variance_of_days(d, c, n, swing)


def variance_of_days(
    d: NDArray[np.float64], c: NDArray[np.float64], n: NDArray[np.float64], swing: float
) -> float:
    """Variance of the sum of days, of which d, c and n are known, (days,) each.

    With K days, as many as weigh the same: the presumed square and the squares of what a day is off
    their common mean, ``(3 swing**2 sum(c**2) + K sum((d - mean n)**2)) / (3 + K - 1)``.
    """
    of_c = float(c @ c)
    if not n.sum():
        return 0.0
    off = d - d.sum() / n.sum() * n
    days = float(c.sum()) ** 2 / of_c if of_c else 1.0
    presumed = _PRESUMED * swing * swing * of_c
    return (presumed + days * float(off @ off)) / (_PRESUMED + days - 1.0)
