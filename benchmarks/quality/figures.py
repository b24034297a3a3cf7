"""Figures of several seeds: means, intervals, paired differences, and the tables of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from training.metrics.seed_estimate import Estimate

__all__ = ["Estimate", "Figures", "Runs", "Table", "difference"]

Figures = dict[str, float]  # one run's, by name


@dataclass(frozen=True)
class Runs:
    """What one system came to: a row of figures for each seed; one row where none is used."""

    rows: Sequence[Figures]

    @property
    def estimates(self) -> dict[str, Estimate]:
        """Of each figure, over the seeds."""
        return {name: Estimate.of([row[name] for row in self.rows]) for name in self.rows[0]}


def difference(one: Runs, other: Runs) -> dict[str, Estimate]:
    """``one - other``, seed by seed; a system without seeds is the same for each."""
    n = max(len(one.rows), len(other.rows))
    ours, theirs = (list(runs.rows) * (n if len(runs.rows) == 1 else 1) for runs in (one, other))
    return {
        name: Estimate.of([a[name] - b[name] for a, b in zip(ours, theirs, strict=True)])
        for name in ours[0]
    }


@dataclass(frozen=True)
class Table:
    """The answer of a protocol: runs by system, and which pairs are compared."""

    title: str
    note: str
    runs: Mapping[str, Runs]
    pairs: Sequence[tuple[str, str]] = ()
    sizes: Mapping[str, int | float | str] | None = None

    def __str__(self) -> str:
        names = list(next(iter(self.runs.values())).rows[0])
        rows = [
            [system, *(str(runs.estimates[name]) for name in names)]
            for system, runs in self.runs.items()
        ]
        for one, other in self.pairs:
            found = difference(self.runs[one], self.runs[other])
            rows.append([f"{one} - {other}", *(str(found[name]) for name in names)])
        sizes = ", ".join(f"{name} {value}" for name, value in (self.sizes or {}).items())
        lines = _aligned([["", *names], *rows])
        return "\n".join([self.title, *lines, self.note, sizes]).rstrip()

    @property
    def said(self) -> dict[str, Any]:
        """For JSON: every seed's figures beside their means, and the differences."""
        return {
            "title": self.title,
            "note": self.note,
            "sizes": dict(self.sizes or {}),
            "systems": {
                system: {
                    "seeds": [dict(row) for row in runs.rows],
                    "figures": {name: found.facts for name, found in runs.estimates.items()},
                }
                for system, runs in self.runs.items()
            },
            "differences": {
                f"{one} - {other}": {
                    name: found.facts
                    for name, found in difference(self.runs[one], self.runs[other]).items()
                }
                for one, other in self.pairs
            },
        }


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if not at else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
