"""Draws negatives in proportion to given weights (HRNN section 3.1)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import HourglassError


class AliasSampler:
    """Draws from a fixed distribution over 0 .. V - 1 in constant time (the alias method).

    Each cell of a table of V equal cells is shared by at most two outcomes; a draw picks a cell,
    then one of its two.

    Raises:
        HourglassError: a weight is negative or not finite, or all are zero.
    """

    def __init__(self, weights: NDArray[np.float64]) -> None:
        weights = np.asarray(weights, np.float64)
        total = float(weights.sum())
        if not np.isfinite(total) or total <= 0 or weights.min() < 0:
            raise HourglassError(
                f"cannot sample from weights that sum to {total}: they must be finite, 0 or more, "
                "and not all 0"
            )
        self.probability = weights / total  # (V,)
        self._keep, self._alias = _fill(self.probability)

    def draw(self, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """``n`` independent draws, (n,)."""
        cell = rng.integers(len(self.probability), size=n)
        drawn: NDArray[np.int64] = np.where(
            rng.random(n) < self._keep[cell], cell, self._alias[cell]
        )
        return drawn


def _fill(probability: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """For each cell, the chance to keep it and the outcome that takes the rest of it."""
    level = (probability * len(probability)).tolist()
    keep = np.ones(len(level))
    alias = np.arange(len(level))
    poor = [cell for cell, filled in enumerate(level) if filled < 1]
    rich = [cell for cell, filled in enumerate(level) if filled >= 1]
    while poor and rich:
        low, high = poor.pop(), rich[-1]
        keep[low], alias[low] = level[low], high
        level[high] -= 1 - level[low]
        if level[high] < 1:
            poor.append(rich.pop())
    return keep, alias
