"""Dwell-time moments that merge, and the bin width that follows from them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

from pipeline.array_types import Ints
from pipeline.hours import US_PER_S

# Squares are summed exactly: numbers are split here, so that no sum of a block leaves 64 bits.
_LOW_BITS = 21
_BLOCK = 1 << 14


@dataclass(frozen=True)
class Moments:
    """Count, mean and sum of squared deviations of dwell times in seconds."""

    n: int = 0
    mean_s: float = 0.0
    m2_s2: float = 0.0

    def merge(self, other: Moments) -> Moments:
        """Moments of both sets of values together (the pairwise update of Chan et al.)."""
        n = self.n + other.n
        if n == 0:
            return self
        delta = other.mean_s - self.mean_s
        return Moments(
            n,
            self.mean_s + delta * other.n / n,
            self.m2_s2 + other.m2_s2 + delta * delta * self.n * other.n / n,
        )

    @property
    def scott_width_s(self) -> float:
        """Bin width sigma * (24 sqrt(pi) / n)^(1/3) (ASARS eq. 8); 0 where nothing varies."""
        if self.n == 0:
            return 0.0
        sigma_s = math.sqrt(self.m2_s2 / self.n)
        return sigma_s * math.cbrt(24 * math.sqrt(math.pi) / self.n)


def merged(rows: Iterable[Mapping[str, Any]]) -> Moments:
    """Moments of all hours of ``dwell_hours`` rows together."""
    parts = (Moments(row["n"], row["mean_s"], row["m2_s2"]) for row in rows)
    return reduce(Moments.merge, parts, Moments())


def moments_of_us(dwell_us: Ints) -> dict[str, int | float]:
    """A row of ``dwell_hours`` (without its hour) for dwell times in microseconds, (N,) with N > 0.

    Summed in whole numbers, because sums of fractions would differ with the order of the values.
    """
    n, total, squares = len(dwell_us), 0, 0
    for first in range(0, n, _BLOCK):
        block = dwell_us[first : first + _BLOCK]
        high, low = block >> _LOW_BITS, block & ((1 << _LOW_BITS) - 1)
        total += int(block.sum())
        squares += int((high * high).sum()) << (2 * _LOW_BITS)
        squares += int((high * low).sum()) << (_LOW_BITS + 1)
        squares += int((low * low).sum())
    # About a whole number close to the mean, which the last term then moves to the mean.
    middle = total // n
    about_middle = squares - 2 * middle * total + n * middle * middle
    return {
        "n": n,
        "mean_s": total / n / US_PER_S,
        "m2_s2": (about_middle - (total - n * middle) ** 2 / n) / US_PER_S**2,
        "min_s": int(dwell_us.min()) / US_PER_S,
        "max_s": int(dwell_us.max()) / US_PER_S,
    }
