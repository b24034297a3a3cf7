"""How events are spread over items, and how long an item stays among the most popular."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.array_types import Floats, Ints
from pipeline.hours import DAY_H, Hour
from pipeline.report.svg import BARS, GRID, LINE, hour_ticks, svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TOP = 20
# Below this many events a top 20 of an hour is mostly chance.
MIN_EVENTS_PER_HOUR = 500
_MAX_LAGS = 48


@dataclass(frozen=True)
class Popularity:
    """How events are spread over items: ``shares`` (I,) cumulated from the most popular down."""

    items: int
    events: int
    top: tuple[tuple[str, int, float], ...]
    shares: Floats

    def share_of(self, fraction: float) -> float:
        """Share of the events that the most popular ``fraction`` of the items takes."""
        count = max(1, round(fraction * self.items))
        return float(self.shares[count - 1])

    @property
    def gini(self) -> float:
        """0 where all items have as many events, near 1 where one item has nearly all."""
        rest = self.items - float(self.shares.sum()) + 1  # the Lorenz curve's sum, from below
        return (self.items + 1 - 2 * rest) / self.items

    @property
    def half(self) -> int:
        """How many items take half of the events."""
        return int(np.searchsorted(self.shares, 0.5 - 1e-12) + 1)


@dataclass(frozen=True)
class Churn:
    """How the most popular ``top`` items change from one hour or day to the next.

    ``starts`` (U,) name the units that have events; ``overlap`` (U - 1,) is the Jaccard overlap of
    the top of a unit and of the next unit, NaN where that one has no events.  ``stays`` (L,): the
    share of a unit's top items that is in the top 1, 2, ... L units later.  ``half_life`` is where
    that share falls to one half, in units; None where it does not within L.
    """

    unit: str
    top: int
    starts: tuple[str, ...]
    overlap: Floats
    stays: Floats
    half_life: float | None

    @property
    def mean_overlap(self) -> float:
        """Over the pairs that follow each other directly."""
        return float(np.nanmean(self.overlap)) if np.isfinite(self.overlap).any() else 0.0


def popularity(item_hours: pa.Table, top: int = 10) -> Popularity | None:
    """Rank the items by their events (ties by id); None without events."""
    if not item_hours.num_rows:
        return None
    items = pa.TableGroupBy(item_hours, "item_id").aggregate([("events", "sum")])
    items = items.sort_by([("events_sum", "descending"), ("item_id", "ascending")])
    events = items.column("events_sum").to_numpy()
    total = int(events.sum())
    first = zip(items.column("item_id").slice(0, top).to_pylist(), events[:top], strict=True)
    return Popularity(
        len(events),
        total,
        tuple((item, int(count), count / total) for item, count in first),
        np.cumsum(events) / total,
    )


def churn(item_hours: pa.Table, top: int = TOP) -> Churn | None:
    """Follow the top items from hour to hour, or from day to day where hours are thin.

    Ties at the border of the top go by item id.  None with fewer than three units.

    Args:
        item_hours: columns hour, item_id, events.
        top: how many items are the most popular.
    """
    if not item_hours.num_rows:
        return None
    hour = pc.cast(item_hours["hour"], pa.int64()).to_numpy() // 3_600_000_000
    item = item_hours["item_id"].combine_chunks().dictionary_encode()
    names = item.dictionary.to_pylist()
    rank = np.empty(len(names), dtype=np.int64)
    rank[sorted(range(len(names)), key=names.__getitem__)] = np.arange(len(names))
    codes = rank[item.indices.to_numpy()]
    events = item_hours["events"].to_numpy()
    active = np.bincount(hour - hour.min(), weights=events)
    hourly = float(np.median(active[active > 0])) >= MIN_EVENTS_PER_HOUR
    units = hour if hourly else hour // DAY_H
    tops = _tops(units, codes, events, len(names), top)
    if len(tops) < 3:  # noqa: PLR2004 - fewer make no line
        return None
    starts = [str(Hour(unit if hourly else unit * DAY_H)) for unit in tops]
    overlap = [
        len(items & tops[unit + 1]) / len(items | tops[unit + 1]) if unit + 1 in tops else np.nan
        for unit, items in list(tops.items())[:-1]
    ]
    stays = _stays(tops)
    return Churn(
        "hour" if hourly else "day",
        top,
        tuple(start if hourly else start[:10] for start in starts),
        np.array(overlap),
        stays,
        _half_life(stays),
    )


def _tops(
    units: Ints, codes: Ints, events: Ints, n_items: int, top: int
) -> dict[int, frozenset[int]]:
    """The most popular items of each unit, in order of time."""
    cells, cell_of_row = np.unique(units * n_items + codes, return_inverse=True)
    sums = np.bincount(cell_of_row, weights=events)
    unit, item = cells // n_items, cells % n_items
    order = np.lexsort((item, -sums, unit))
    unit, item = unit[order], item[order]
    firsts = np.flatnonzero(np.r_[True, unit[1:] != unit[:-1]])
    ends = np.r_[firsts[1:], len(unit)]
    return {
        int(unit[first]): frozenset(item[first : min(end, first + top)].tolist())
        for first, end in zip(firsts, ends, strict=True)
    }


def _stays(tops: dict[int, frozenset[int]]) -> Floats:
    """Mean share of a unit's top still in the top, by the number of units later."""
    span = max(tops) - min(tops)
    stays = []
    # A lag seen from a third of the units at least: a few starts make no average.
    for lag in range(1, min(_MAX_LAGS, max(1, 2 * span // 3)) + 1):
        shares = [
            len(items & tops[unit + lag]) / len(items)
            for unit, items in tops.items()
            if unit + lag in tops
        ]
        stays.append(float(np.mean(shares)) if shares else np.nan)
    return np.array(stays)


def _half_life(stays: Floats) -> float | None:
    """Where the share crosses one half, straight between lags; it is 1 at lag 0."""
    below = np.flatnonzero(stays <= 0.5)  # noqa: PLR2004 - the half
    if not len(below):
        return None
    lag = int(below[0])
    before = 1.0 if lag == 0 else stays[lag - 1]
    return float(lag + (before - 0.5) / (before - stays[lag]))


# Charts of popularity and of its churn.


def popularity_chart(popularity: Popularity) -> str:
    """Share of events taken by the most popular items."""

    def draw(axes: list[Axes]) -> None:
        (axis,) = axes
        fraction = np.arange(1, popularity.items + 1) / popularity.items
        # A curve of 200 points looks the same as one of a million and weighs less.
        points = np.unique(np.linspace(0, popularity.items - 1, 200).round().astype(int))
        x = np.concatenate([[0], fraction[points]])
        y = np.concatenate([[0], popularity.shares[points]])
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
