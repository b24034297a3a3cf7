"""Charts of popularity and of its churn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pipeline.report.popularity import Churn, Popularity
from pipeline.report.svg import BARS, GRID, LINE, hour_ticks, svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def popularity_chart(popularity: Popularity) -> str:
    """Share of events taken by the most popular items."""

    def draw(axes: list[Axes]) -> None:
        (axis,) = axes
        fraction = np.arange(1, popularity.items + 1) / popularity.items
        # A curve of 200 points looks the same as one of a million and weighs less.
        kept = np.unique(np.linspace(0, popularity.items - 1, 200).round().astype(int))
        x = np.concatenate([[0], fraction[kept]])
        y = np.concatenate([[0], popularity.shares[kept]])
        axis.plot(100 * x, 100 * y, color=LINE, linewidth=1.8)
        axis.plot([0, 100], [0, 100], color=GRID, linewidth=1, linestyle="--")
        axis.set_xlim(0, 100)
        axis.set_ylim(0, 101)
        axis.set_xlabel("most popular items, %")
        axis.set_ylabel("their share of events, %")

    return svg("popularity", "Share of events by share of items", draw)


def overlap_chart(churn: Churn) -> str:
    """Overlap of the top items of each hour or day with those of the next, over time."""

    def draw(axes: list[Axes]) -> None:
        (axis,) = axes
        axis.stairs(100 * np.nan_to_num(churn.overlap), fill=True, color=BARS)
        axis.axhline(100 * churn.mean_overlap, color=LINE, linewidth=1.5)
        hour_ticks(axis, churn.starts[:-1])
        axis.set_ylim(0, 100)
        axis.set_xlabel(f"{churn.unit} (UTC)")
        axis.set_ylabel(f"overlap with the next {churn.unit}, %")

    return svg("overlap", f"Overlap of the top {churn.top} with those of the next", draw)


def stays_chart(churn: Churn) -> str:
    """Share of the top items that are in the top some hours or days later."""

    def draw(axes: list[Axes]) -> None:
        (axis,) = axes
        lags = np.arange(len(churn.stays) + 1)
        axis.plot(lags, 100 * np.r_[1.0, churn.stays], color=LINE, linewidth=1.8)
        if churn.half_life is not None:
            axis.axvline(churn.half_life, color=GRID, linewidth=1.2, linestyle="--")
        axis.set_xlim(0)
        axis.set_ylim(0, 101)
        axis.locator_params(axis="x", integer=True)
        axis.set_xlabel(f"{churn.unit}s later")
        axis.set_ylabel(f"still in the top {churn.top}, %")

    return svg("stays", f"Share of the top {churn.top} that is still there later", draw)
