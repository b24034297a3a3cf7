"""Dwell times, and how long sessions are, last, and lie apart."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.array_types import Bools, Floats, Ints
from pipeline.hours import US_PER_S
from pipeline.sessions.dwell import merged

MAX_BARS = 60
_LONGEST_CLASS = 12
# Half an octave: two bars to a doubling.
_STEP = sqrt(2)
# Parameters of two curves that look the same.
_ALIKE = 1.1
_LONGEST_OCTAVE = 6


@dataclass(frozen=True)
class Gamma:
    """A gamma density x^(shape-1) exp(-x/scale) / (Gamma(shape) scale^shape), and its fit.

    ``ks`` is the largest difference between its distribution function and that of the data, at
    ``ks_at_s``: so large a share of the dwell times is on the wrong side of that point.
    """

    shape: float
    scale_s: float
    ks: float
    ks_at_s: float

    def differs_from(self, other: Gamma) -> bool:
        """Whether the two curves can be told apart in a chart."""
        ratios = (self.shape / other.shape, self.scale_s / other.scale_s)
        return any(not 1 / _ALIKE < ratio < _ALIKE for ratio in ratios)


@dataclass(frozen=True)
class DwellTimes:
    """Dwell times: moments, Scott's bins (ASARS eq. 8), and two gammas.

    ``edges_s`` (B + 1,) and ``counts`` (B,); a bar is ``bins_per_bar`` of Scott's bins wide.
    ``moments`` has the mean and variance of the data (ASARS fig. 1); ``likely`` is the maximum
    likelihood fit to the dwell times above zero, None where these do not vary; ``spread`` has
    bins that grow with the dwell time.
    """

    n: int
    mean_s: float
    sd_s: float
    median_s: float
    zeros: int
    scott_width_s: float
    bins_per_bar: int
    edges_s: Floats
    counts: Ints
    moments: Gamma
    likely: Gamma | None
    spread: Spread | None


@dataclass(frozen=True)
class SessionLengths:
    """Events per session; the last class, such as ``12+``, holds the longer sessions too."""

    sessions: int
    mean: float
    median: float
    longest: int
    labels: tuple[str, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Spread:
    """Durations on a logarithmic scale: ``edges_s`` (B + 1,), ``counts`` (B,) of those above zero.

    ``n`` counts them all, ``zeros`` those of 0 s; the median and the ends of the middle 80 %
    (seconds) are of those above zero.
    """

    n: int
    zeros: int
    median_s: float
    low_s: float
    high_s: float
    edges_s: Floats
    counts: Ints


@dataclass(frozen=True)
class SessionTimes:
    """How long sessions last, the silence between a user's sessions, and sessions per user."""

    durations: Spread | None
    gaps: Spread | None
    users: int
    labels: tuple[str, ...]
    per_user: tuple[int, ...]
    once: float


def dwell_times(dwell_hours: pa.Table, sessions: pa.Table) -> DwellTimes | None:
    """Describe the dwell times of a range of hours; None where they do not vary.

    Moments come from ``dwell_hours``, bars from ``dwell_s`` of ``sessions`` (nulls left out).
    Scott's width is sigma (24 sqrt(pi) / n)^(1/3) (ASARS eq. 8), sigma^2 = M2 / n; the gamma of the
    same moments has shape mean^2 / sigma^2 and scale sigma^2 / mean (ASARS fig. 1).
    """
    moments = merged(row for row in dwell_hours.to_pylist() if row["n"])
    values = np.sort(sessions.column("dwell_s").drop_null().to_numpy())
    if moments.m2_s2 <= 0 or moments.mean_s <= 0 or not len(values):
        return None
    mean_s, variance, width_s = moments.mean_s, moments.m2_s2 / moments.n, moments.scott_width_s
    bins = int(values[-1] // width_s) + 1
    per_bar = -(-bins // MAX_BARS)
    edges = np.arange(-(-bins // per_bar) + 1, dtype=np.float64) * width_s * per_bar
    counts, _ = np.histogram(values, bins=edges)
    return DwellTimes(
        moments.n,
        mean_s,
        sqrt(variance),
        float(np.median(values)),
        int(np.count_nonzero(values <= 0)),
        width_s,
        per_bar,
        edges,
        counts,
        _measured(mean_s**2 / variance, variance / mean_s, values),
        _likely(values),
        spread(values),
    )


def _likely(ordered_s: Floats) -> Gamma | None:
    from scipy import stats

    # The likelihood of a dwell time of exactly 0 s is not defined.
    positive = ordered_s[ordered_s > 0]
    if len(positive) < 2 or positive[0] == positive[-1]:  # noqa: PLR2004 - nothing varies
        return None
    shape, _, scale_s = stats.gamma.fit(positive, floc=0)
    return _measured(float(shape), float(scale_s), ordered_s)


def _measured(shape: float, scale_s: float, ordered_s: Floats) -> Gamma:
    """The gamma with its Kolmogorov-Smirnov distance from values in order."""
    from scipy import stats

    values, first = np.unique(ordered_s, return_index=True)
    expected = stats.gamma(shape, scale=scale_s).cdf(values)
    below = first / len(ordered_s)
    up_to = np.append(below[1:], 1.0)
    off = np.maximum(np.abs(expected - below), np.abs(expected - up_to))
    worst = int(np.argmax(off))
    return Gamma(shape, scale_s, float(off[worst]), float(values[worst]))


def session_lengths(sessions: pa.Table) -> SessionLengths | None:
    """Count the events of each session; None without sessions."""
    if not sessions.num_rows:
        return None
    sizes = pc.value_counts(sessions.column("session_id")).field("counts").to_numpy()
    counts = np.bincount(np.minimum(sizes, _LONGEST_CLASS), minlength=_LONGEST_CLASS + 1)[1:]
    labels = (*(str(size) for size in range(1, _LONGEST_CLASS)), f"{_LONGEST_CLASS}+")
    return SessionLengths(
        len(sizes),
        float(sizes.mean()),
        float(np.median(sizes)),
        int(sizes.max()),
        labels,
        tuple(int(count) for count in counts),
    )


def session_times(sessions: pa.Table) -> SessionTimes | None:
    """Durations, gaps and sessions per user; None without sessions.

    A gap runs from the last event of a session to the first of the same user's next one.

    Args:
        sessions: columns session_id, user_id, session_start, event_time.
    """
    if not sessions.num_rows:
        return None
    by_session = pa.TableGroupBy(
        sessions.select(["user_id", "session_id", "session_start", "event_time"]),
        ["user_id", "session_id"],
    ).aggregate([("session_start", "min"), ("event_time", "max")])
    user = by_session["user_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    start_us = pc.cast(by_session["session_start_min"], pa.int64()).to_numpy()
    end_us = pc.cast(by_session["event_time_max"], pa.int64()).to_numpy()
    order = np.lexsort((start_us, user))
    user, start_us, end_us = user[order], start_us[order], end_us[order]
    again = user[1:] == user[:-1]
    per_user = np.bincount(user)
    labels, counts = size_classes(per_user)
    return SessionTimes(
        spread((end_us - start_us) / US_PER_S),
        spread((start_us[1:] - end_us[:-1])[again] / US_PER_S),
        len(per_user),
        labels,
        counts,
        float(np.mean(per_user == 1)),
    )


def spread(durations_s: Floats) -> Spread | None:
    """Bin durations by half octaves from 1 s on; None where none is above zero."""
    positive = durations_s[durations_s > 0]
    if not len(positive):
        return None
    first = np.floor(np.log(max(1.0, positive.min())) / np.log(_STEP))
    last = max(first + 1, np.floor(np.log(max(1.0, positive.max())) / np.log(_STEP)) + 1)
    edges = _STEP ** np.arange(first, last + 1)
    counts, _ = np.histogram(np.maximum(positive, edges[0]), bins=edges)
    low_s, median_s, high_s = np.quantile(positive, [0.1, 0.5, 0.9])
    return Spread(
        len(durations_s),
        len(durations_s) - len(positive),
        float(median_s),
        float(low_s),
        float(high_s),
        edges,
        counts,
    )


def size_classes(sizes: Ints) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Count sizes (1 or more) in the classes 1, 2, 3-4, 5-8 ... up to the largest."""
    octave = np.ceil(np.log2(sizes)).astype(np.int64)
    counts = np.bincount(octave)
    labels = [str(2**n) if n <= 1 else f"{2 ** (n - 1) + 1}-{2**n}" for n in range(len(counts))]
    return tuple(labels), tuple(int(count) for count in counts)


# Repeat consumption: events on what the user has had before (ASARS fig. 1).


@dataclass(frozen=True)
class Repeats:
    """Shares of the events of closed sessions, by what the user knew of the item.

    ``within``: seen earlier in this session, ``immediate`` of them by the event before; ``across``:
    not in this session yet, but in an earlier one of the same user; the rest is new to the user.
    All within the range that was looked at: what came before it is not known.

    ``by_position`` (3, P) are the three shares (within, across, new) at the positions ``labels``;
    ``returns`` is the time since the user's last event on the item, of ``across``.
    """

    events: int
    within: float
    immediate: float
    across: float
    labels: tuple[str, ...]
    by_position: Floats
    returns: Spread | None

    @property
    def new(self) -> float:
        """Share of the events on items that are new to their user."""
        return 1.0 - self.within - self.across


def repeats(sessions: pa.Table) -> Repeats | None:
    """Tell repeats from discoveries; None without events.

    Args:
        sessions: columns user_id, session_id, item_id, session_start, event_time, position.
    """
    if not sessions.num_rows:
        return None
    user, session, item = (_codes(sessions[name]) for name in ("user_id", "session_id", "item_id"))
    start_us, time_us = (
        pc.cast(sessions[name], pa.int64()).to_numpy() for name in ("session_start", "event_time")
    )
    position = sessions["position"].to_numpy()
    # Events of one user and item, in the order in which they happened.
    order = np.lexsort((position, time_us, session, start_us, item, user))
    follows = np.r_[False, _same(user[order]) & _same(item[order])]
    in_session = np.r_[False, _same(session[order])]
    within = _in_row_order(order, follows & in_session)
    # Had the item been met in this session before, the event would follow it there.
    across = _in_row_order(order, follows & ~in_session)
    last_us = np.r_[0, time_us[order][:-1]]
    waited_s = (time_us[order] - last_us)[follows & ~in_session] / US_PER_S

    path = np.lexsort((position, session))
    immediate = np.r_[False, _same(session[path]) & _same(item[path])]
    octave = np.minimum(np.ceil(np.log2(position + 1)).astype(np.int64), _LONGEST_OCTAVE)
    labels, _ = size_classes(np.unique(2**octave))
    n = np.bincount(octave).astype(np.float64)
    parts = [np.bincount(octave, weights=kind) for kind in (within, across, ~within & ~across)]
    shares = np.array(parts) / np.maximum(n, 1)
    if len(n) > _LONGEST_OCTAVE:
        labels = (*labels[:-1], f"{2 ** (_LONGEST_OCTAVE - 1) + 1}+")
    return Repeats(
        sessions.num_rows,
        float(within.mean()),
        float(immediate.mean()),
        float(across.mean()),
        labels,
        shares,
        spread(waited_s),
    )


def _codes(column: pa.ChunkedArray) -> Ints:
    codes: Ints = column.combine_chunks().dictionary_encode().indices.to_numpy()
    return codes.astype(np.int64)


def _same(values: Ints) -> Bools:
    """Whether each value but the first equals the one before it."""
    same: Bools = values[1:] == values[:-1]
    return same


def _in_row_order(order: Ints, flags: Bools) -> Bools:
    """Put flags of rows in an order back in the rows' own order."""
    rows = np.zeros(len(order), dtype=np.bool_)
    rows[order] = flags
    return rows
