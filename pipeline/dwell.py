"""Dwell-time moments that merge, and the bin width that follows from them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any


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
