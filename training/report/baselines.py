"""Which of several baselines was best where: hour by hour, and in each slice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from training.report.curves import Curve


@dataclass(frozen=True)
class BaselineHours:
    """A baseline over the hours in which all of them were judged.

    Where two were as good as each other, that hour counts for both.
    """

    name: str
    hours: int
    best: int  # hours in which none was better
    mean: float  # each hour counts the same


def best_by_hour(curves: Sequence[Curve]) -> tuple[BaselineHours, ...]:
    """Each baseline, the one that was best most often first; nothing of a single one."""
    baselines = [curve for curve in curves if curve.role == "baseline"]
    if len(baselines) < 2:  # noqa: PLR2004 - one has nobody beside it
        return ()
    points = [
        {at: value for at, value in zip(curve.at, curve.value, strict=True) if np.isfinite(value)}
        for curve in baselines
    ]
    shared = sorted(set.intersection(*map(set, points)))
    if not shared:
        return ()
    values = np.array([[of_name[at] for at in shared] for of_name in points])  # (baselines, hours)
    rows = [
        BaselineHours(curve.name, len(shared), int(wins.sum()), float(of_name.mean()))
        for curve, wins, of_name in zip(
            baselines, values == values.max(axis=0), values, strict=True
        )
    ]
    return tuple(sorted(rows, key=lambda row: (-row.best, -row.mean, row.name)))


def best_of(figures: Mapping[str, float]) -> str:
    """Names of the best, several where they are as good as each other; "" where nobody is there."""
    highest = max(figures.values(), default=None)
    return " = ".join(sorted(name for name, figure in figures.items() if figure == highest))
