"""A figure over several seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds and half the width of its interval; NaN where one seed alone was run."""

    mean: float
    half_width: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Estimate:
        """Student's interval of the mean of independent seeds, at 95 %."""
        n = len(values)
        if n == 1:
            return cls(float(values[0]), math.nan, 1)
        spread = float(np.std(values, ddof=1)) / math.sqrt(n)
        quantile = float(t.ppf((1 + CONFIDENCE) / 2, n - 1))
        return cls(float(np.mean(values)), quantile * spread, n)

    @property
    def facts(self) -> dict[str, float | int | None]:
        """For JSON, which has no NaN."""
        width = self.half_width
        return {
            "mean": self.mean,
            "half_width": None if math.isnan(width) else width,
            "seeds": self.n,
        }

    def __str__(self) -> str:
        if math.isnan(self.half_width):
            return f"{self.mean:.4f}"
        return f"{self.mean:.4f} ± {self.half_width:.4f}"
