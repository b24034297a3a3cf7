"""Confidence intervals by resampling users.

Targets of one user resemble one another, so users, not targets, are drawn with replacement
(cluster bootstrap); a resampled mean is a ratio of sums.  Shapes: ``n`` targets, ``U`` users,
``M`` columns (models x metrics), ``B`` resamples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.array_types import Floats, Ints32
from pipeline.errors import HourglassError
from pipeline.text.wording import counted, verb

_MAX_WEIGHTS = 1 << 22  # 32 MiB of float64 in memory at a time


@dataclass(frozen=True)
class Interval:
    """A mean over targets and the percentile interval around it.

    The ends are NaN where fewer than two users were seen: nothing can then be said, and every
    comparison with a threshold comes out false.
    """

    mean: float
    lower: float
    upper: float


@dataclass(frozen=True)
class UserTotals:
    """Per user: the sum of each column and the number of targets, all that resampling needs."""

    total: Floats  # (U, M)
    count: Floats  # (U,)

    @classmethod
    def of(cls, values: Floats, user: Ints32) -> UserTotals:
        """Add up (n, M) or (n,) values by the user of each target.

        Raises:
            HourglassError: there is no target, a value is not finite, or the lengths differ.
        """
        columns = values[:, None] if values.ndim == 1 else values  # (n, M)
        if columns.shape[0] != user.shape[0]:
            raise HourglassError(
                f"{counted(columns.shape[0], 'value')} "
                f"{verb(columns.shape[0], 'belongs', 'belong')} to {user.shape[0]} users' targets: "
                "give one user per target"
            )
        if not columns.shape[0]:
            raise HourglassError("no target to average over: choose a longer test period")
        if not np.isfinite(columns).all():
            raise HourglassError("a value to average is not finite: check the ranks it came from")
        _, row = np.unique(user, return_inverse=True)
        count = np.bincount(row).astype(np.float64)
        sums = [np.bincount(row, weights=column) for column in columns.T]
        total = np.stack(sums, axis=1).astype(np.float64, copy=False)
        return cls(total=total, count=count)


def resampled_means(
    sums: UserTotals, samples: int, seed: int, max_weights: int = _MAX_WEIGHTS
) -> Floats:
    """Means over ``samples`` draws of U users with replacement.

    Every column sees the same draws, so differences between columns are paired.  The result does
    not depend on ``max_weights``, which only bounds the memory.

    Returns:
        (B, M) means.
    """
    rng = np.random.default_rng(seed)
    n_users = sums.count.shape[0]
    means = np.empty((samples, sums.total.shape[1]))
    per_chunk = max(1, max_weights // n_users)
    for first in range(0, samples, per_chunk):
        rows = min(per_chunk, samples - first)
        weights = np.empty((rows, n_users))  # (b, U) how often each user was drawn
        for row in range(rows):
            # Counting uniform draws gives multinomial weights much faster than rng.multinomial.
            draws = rng.integers(0, n_users, n_users)
            weights[row] = np.bincount(draws, minlength=n_users)
        means[first : first + rows] = (weights @ sums.total) / (weights @ sums.count)[:, None]
    return means


def intervals(
    values: Floats, user: Ints32, *, samples: int, confidence: float, seed: int
) -> list[Interval]:
    """Percentile intervals of the mean of every column.

    Args:
        values: (n, M) or (n,) one row per target.
        user: (n,) the user of each target; any labels.
        samples: number of resamples.
        confidence: e.g. 0.95 leaves 2.5 % outside at either end.
        seed: of the draws.

    Returns:
        M intervals, in column order.

    Raises:
        HourglassError: there is no target, a value is not finite, or the lengths differ.
    """
    sums = UserTotals.of(values, user)
    means = sums.total.sum(axis=0) / sums.count.sum()  # (M,)
    if sums.count.shape[0] < 2:  # noqa: PLR2004 - one user has no spread
        return [Interval(float(mean), float("nan"), float("nan")) for mean in means]
    outside = (1.0 - confidence) / 2.0
    lower, upper = np.quantile(
        resampled_means(sums, samples, seed), [outside, 1.0 - outside], axis=0
    )
    return [
        Interval(float(mean), float(low), float(high))
        for mean, low, high in zip(means, lower, upper, strict=True)
    ]


def paired_difference(
    candidate: Floats, other: Floats, user: Ints32, *, samples: int, confidence: float, seed: int
) -> Interval:
    """Interval of the mean of ``candidate - other`` over the same targets, each (n,).

    Raises:
        HourglassError: the lengths differ, there is no target, or a value is not finite.
    """
    if candidate.shape != other.shape:
        raise HourglassError(
            f"{counted(candidate.shape[0], 'target')} cannot be paired with {other.shape[0]}: "
            "score both models on the same frozen events"
        )
    return intervals(candidate - other, user, samples=samples, confidence=confidence, seed=seed)[0]
