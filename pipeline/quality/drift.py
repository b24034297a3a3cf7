"""Drift: was the last day distributed as the days before it?

What is compared are binned counts of each hour.  Under no drift the hours of one hour of the day
are exchangeable among the days, so the label "current" is permuted within each hour of the day:
the daily rhythm, and whatever makes the events of an hour hang together, stays as it is.  What the
hours of a day share, weather or news, does not stay: where days differ by such things, most
distances are significant, and it is the next rule that decides.

A significant distance may still be a trifle: with a million events everything is significant.
Drift is therefore reported only where the distance is also half as large again as that of any
trailing day from the other trailing days.  Merely larger would not do: of eight days that differ by
chance one is the farthest, and the current one is that in every eighth case.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.array_types import Bools, Floats, Ints
from pipeline.hours import DAY_H, HOUR_S, Hour, HourRange
from pipeline.quality.profiles import EVENT_DISTRIBUTIONS, SESSION_DISTRIBUTIONS

TRAILING_DAYS = 7
MIN_DAYS = 3
SIGNIFICANCE = 0.01
MARGIN = 1.5
PERMUTATIONS = 4999
# What the bins of a distribution are: parts of a whole, or marks that a thing bears or lacks.
_EVENTS = "event_type"
_PRESENCE = "context"
DISTRIBUTIONS = (
    _EVENTS,
    _PRESENCE,
    "value",
    "user_events",
    "item_events",
    "dwell_s",
    "session_events",
    "session_duration_s",
)
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


@dataclass(frozen=True)
class Drift:
    """One distribution of the current day beside that of the trailing days.

    ``current`` and ``before`` (B,) are shares of the bins: parts of 1, or, of ``context``, the
    share of events that bear each key.  ``distance`` is between 0 and 1 (:func:`distance`);
    ``expected`` is the largest that any trailing day has from the others; ``adjusted_p`` accounts
    for the number of distributions (Benjamini and Yekutieli 2001).
    """

    distribution: str
    bins: tuple[str, ...]
    before: Floats
    current: Floats
    distance: float
    expected: float
    p: float
    adjusted_p: float

    @property
    def drifted(self) -> bool:
        """Whether the distance is neither chance nor what a day may have."""
        return self.adjusted_p < SIGNIFICANCE and self.distance > MARGIN * self.expected


@dataclass(frozen=True)
class Comparison:
    """The current day against the trailing ones; ``drifts`` is empty where these are too few."""

    current: HourRange
    days: int
    drifts: tuple[Drift, ...]

    @property
    def drifted(self) -> tuple[Drift, ...]:
        """Those that drifted."""
        return tuple(drift for drift in self.drifts if drift.drifted)


@dataclass(frozen=True)
class Counts:
    """Counts by day (0 is the current one, 1 the day before ...), hour of the day, and bin.

    ``counts`` (D, H, B), ``totals`` (D, H): what the counts are shares of.  ``exclusive``: the
    bins are parts of a whole.
    """

    name: str
    bins: tuple[str, ...]
    counts: Floats
    totals: Floats
    exclusive: bool


def compare(
    profiles: pa.Table, seed: int = 0, permutations: int = PERMUTATIONS
) -> Comparison | None:
    """Hold the last 24 h that have profiles against the week before them.

    Args:
        profiles: columns hour, distribution, bin, weight; hours without a row are taken for
            unknown, not for empty.
        seed: of the permutations.
        permutations: how many; no p is less than 1 / (permutations + 1).

    Returns:
        None without profiles; no drifts with fewer than ``MIN_DAYS`` trailing days that share at
        least half of the current day's hours.
    """
    if not profiles.num_rows:
        return None
    stop = Hour.of(pc.max(profiles["hour"]).as_py()) + 1
    random = np.random.default_rng(seed)
    trailing, drifts = 0, []
    # Sessions may be profiled later than events, so each kind has hours of its own.
    for names in (EVENT_DISTRIBUTIONS, SESSION_DISTRIBUTIONS):
        mine = profiles.filter(
            pc.is_in(profiles["distribution"], value_set=pa.array(names, pa.string()))
        )
        present, tables = day_counts(mine, stop)
        shared = (present & present[0]).sum(axis=1)
        days = shared >= max(1.0, present[0].sum() / 2)  # (D,), the current day first
        n_trailing = int(days.sum()) - 1
        trailing = max(trailing, n_trailing)
        if n_trailing < MIN_DAYS or not days[0]:
            continue
        hours = present[0] & present[days][1:].any(axis=0)  # (H,)
        cut = np.ix_(days, hours)
        picks = _picks(present[cut], permutations, random)
        for table in tables:
            day_table = replace(table, counts=table.counts[cut], totals=table.totals[cut])
            drifts.append(_compared(day_table, present[cut], picks))
    current = HourRange(stop - DAY_H, stop)
    return Comparison(
        current, trailing, _adjusted([drift for drift in drifts if drift is not None])
    )


def day_counts(profiles: pa.Table, stop: Hour) -> tuple[Bools, list[Counts]]:
    """Arrange profiles by day before ``stop`` and hour of that day.

    Returns:
        Which hours have a profile (D, H), and the counts of each distribution that has any.
    """
    days = TRAILING_DAYS + 1
    hour = pc.cast(profiles["hour"], pa.timestamp("s", tz="UTC")).cast(pa.int64()).to_numpy()
    # Back from `stop`, by whole days; within each the hours run in either direction alike.
    back = stop.index - 1 - hour // HOUR_S
    inside = (back >= 0) & (back < days * DAY_H)
    back = back[inside]
    rows_inside = profiles.filter(pa.array(inside, pa.bool_()))
    weight = rows_inside["weight"].to_numpy()
    present = np.zeros(days * DAY_H, dtype=np.bool_)
    present[back] = True
    name = np.asarray(rows_inside["distribution"].to_pylist(), dtype=object)
    label = np.asarray(rows_inside["bin"].to_pylist(), dtype=object)
    tables: list[Counts] = []
    events = np.zeros((days, DAY_H))
    for distribution in DISTRIBUTIONS:
        rows = name == distribution
        bins = tuple(sorted(set(label[rows]), key=_order))
        if not bins:
            continue
        bin_number = {text: number for number, text in enumerate(bins)}
        cells = np.zeros((days * DAY_H, len(bins)))
        np.add.at(cells, (back[rows], [bin_number[text] for text in label[rows]]), weight[rows])
        counts = cells.reshape(days, DAY_H, len(bins))
        exclusive = distribution != _PRESENCE
        totals = counts.sum(axis=2) if exclusive else events
        if distribution == _EVENTS:
            events = totals
        tables.append(Counts(distribution, bins, counts, totals, exclusive))
    return present.reshape(days, DAY_H), tables


def distance(first: Floats, other: Floats, exclusive: bool = True) -> Floats:
    """Total variation between shares (..., B) of bins; of marks, the largest difference.

    Half the sum of absolute differences: the share of events that would have to change their bin
    to make the two alike.
    """
    gaps = np.abs(first - other)
    distances: Floats = gaps.sum(axis=-1) / 2 if exclusive else gaps.max(axis=-1)
    return distances


def _picks(present: Bools, permutations: int, random: np.random.Generator) -> Ints:
    """For each permutation and hour (P, H), the day that bears the label "current"."""
    picks = np.empty((permutations, present.shape[1]), dtype=np.int64)
    for hour in range(present.shape[1]):
        picks[:, hour] = random.choice(np.flatnonzero(present[:, hour]), permutations)
    return picks


def _compared(table: Counts, present: Bools, picks: Ints) -> Drift | None:
    """One distribution, its p not adjusted yet; None where one side has nothing."""
    days, hours = present.shape
    everything, all_totals = table.counts.sum(axis=(0, 1)), table.totals.sum()

    def far(counts: Floats, total: Floats) -> Floats:
        """Distance of a part (..., B) from the rest of everything."""
        shares = counts / np.maximum(total, 1e-12)[..., None]
        rest = np.maximum(all_totals - total, 1e-12)[..., None]
        return distance(shares, (everything - counts) / rest, table.exclusive)

    own, own_total = table.counts[0].sum(axis=0), table.totals[0].sum()
    if not own_total or not all_totals - own_total:
        return None
    observed = float(far(own, own_total))
    counts, totals = np.zeros((len(picks), len(table.bins))), np.zeros(len(picks))
    for hour in range(hours):
        counts += table.counts[picks[:, hour], hour]
        totals += table.totals[picks[:, hour], hour]
    # Rounding must not make a permutation that is the observation itself look smaller.
    as_far = np.count_nonzero(far(counts, totals) >= observed - 1e-12)
    p = float((1 + as_far) / (1 + len(picks)))
    usual = max(_from_others(table, present, day) for day in range(1, days))
    before = (everything - own) / (all_totals - own_total)
    return Drift(table.name, table.bins, before, own / own_total, observed, usual, p, adjusted_p=p)


def _from_others(table: Counts, present: Bools, day: int) -> float:
    """Distance of a trailing day from the other trailing days, in the hours that both have."""
    others = [other for other in range(1, len(present)) if other != day]
    hours = present[day] & present[others].any(axis=0)
    mine, total = table.counts[day, hours].sum(axis=0), table.totals[day, hours].sum()
    theirs = table.counts[np.ix_(others, hours)].sum(axis=(0, 1))
    their_total = table.totals[np.ix_(others, hours)].sum()
    if not total or not their_total:
        return 0.0
    return float(distance(mine / total, theirs / their_total, table.exclusive))


def _adjusted(drifts: Sequence[Drift]) -> tuple[Drift, ...]:
    """Account for how many are looked at, whatever their dependence."""
    from scipy.stats import false_discovery_control

    if not drifts:
        return ()
    adjusted = false_discovery_control([drift.p for drift in drifts], method="by")
    return tuple(replace(d, adjusted_p=float(p)) for d, p in zip(drifts, adjusted, strict=True))


def _order(text: str) -> tuple[int, float, str]:
    """Bins such as ``3-4`` or ``1.41`` by their number, names after them; ``below 0`` is first."""
    number = _NUMBER.match(text)
    if text.startswith("below"):
        return (0, 0.0, text)
    return (1, float(number[0]), text) if number else (2, 0.0, text)
