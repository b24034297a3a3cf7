"""What an hour is compared with: the same hours of the days and weeks before it.

Only hours before the one that is judged are looked at, so that judging an old hour again gives the
same verdict as long as the hours before it are what they were.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil, inf, isnan, log, sqrt
from statistics import median
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.hours import DAY_H, US_PER_HOUR, Hour
from pipeline.quality.profiles import EVENT_DISTRIBUTIONS, SESSION_DISTRIBUTIONS

WEEK_H = 7 * DAY_H
# As far back as anything here looks: four weeks for what is usual, one for how it varies.
BASELINE_H = 5 * WEEK_H
_WEEKS = 4
_DAYS = 7
_FEWEST = 3
# By so much the same hour may differ from day to day where nothing is wrong.
_TOLERANCE = 0.05
_SMALLEST_SPREAD = 0.1
_EXPECTED_SHARE = 0.9
# Mean of a chi-squared variable of one degree of freedom below its 90 % quantile:
# F3(2.7055) / 0.9, with F3 the distribution function for three degrees of freedom.
_MEAN_OF_EXPECTED_SHARE = 0.6231
# The deviation of a normal distribution in terms of its median absolute one.
_MAD_TO_SD = 1.4826
_NAN = float("nan")
SPAN_H = 6
# A key of the context counts as usual when so large a share of events carries it.
_EXPECTED_KEY = 0.5
_FEWEST_VALUES = 50
# An expectation can ask for both a large and a sure difference by its column alone.  (A condition
# on the row would say it too, but Great Expectations takes far longer over those.)
_LEVELS = (4, 5, 6)
_ALONE = ("new_type_share", "lost_context", "lost_value")
_SESSION_FACTS = ("events_per_session", "single_share", "dwell_median_s")
_COMPARED = (
    "events",
    f"events_{SPAN_H}h",
    "users",
    f"users_{SPAN_H}h",
    "events_per_user",
    "share_of_top_user",
    "value",
)


class Deviation(NamedTuple):
    """How far a figure is from what is usual: as a multiple, and in standard deviations.

    Both are NaN where too little is known.
    """

    ratio: float
    z: float


UNKNOWN = Deviation(_NAN, _NAN)


def expected_count(counts: Mapping[Hour, float], hour: Hour) -> float | None:
    """Median count of the same hour of the week in the last four weeks, or else of the day.

    Args:
        counts: by hour; nothing is known of an hour that is not there.
        hour: the hour; neither it nor any later one is looked at.

    Returns:
        None where there are neither three weeks nor three days before the hour.
    """
    for step_h, most in ((WEEK_H, _WEEKS), (DAY_H, _DAYS)):
        same = [hour - step_h * n for n in range(1, most + 1)]
        earlier = [counts[h] for h in same if h in counts]
        if len(earlier) >= _FEWEST:
            return median(earlier)
    return None


@dataclass(frozen=True)
class Volume:
    """Counts by hour, and how they usually run."""

    counts: Mapping[Hour, float]
    _expected: dict[Hour, float | None] = field(default_factory=dict, compare=False, repr=False)

    def deviation(self, hour: Hour, span_h: int = 1) -> Deviation:
        """How the ``span_h`` hours that end with this one compare with the same hours before.

        With n the sum of the counts and m that of :func:`expected_count`, the ratio is n / m and
        z = (n - m) / sqrt(phi (m + 1) + (0.05 m)^2).  phi, at least 1, is how much more than a
        Poisson count the spans of a week varied: the mean of the smaller nine tenths of
        (n' - m')^2 / (m' + 1), divided by what that mean is where the counts are Poisson's.  The
        week ends a day before the hour.  So neither what goes wrong now nor an incident of last
        week passes for variation.
        """
        observed = self._sums(hour, span_h)
        if observed is None:
            return UNKNOWN
        n, m = observed
        before = (self._sums(hour - back, span_h) for back in range(DAY_H, DAY_H + WEEK_H))
        squares = [(n_ - m_) ** 2 / (m_ + 1) for n_, m_ in filter(None, before)]
        if len(squares) < DAY_H:
            return UNKNOWN
        usual = sorted(squares)[: ceil(_EXPECTED_SHARE * len(squares))]
        phi = max(1.0, sum(usual) / len(usual) / _MEAN_OF_EXPECTED_SHARE)
        z = (n - m) / sqrt(phi * (m + 1) + (_TOLERANCE * m) ** 2)
        return Deviation(n / m if m else _NAN, z)

    def _sums(self, hour: Hour, span_h: int) -> tuple[float, float] | None:
        n = m = 0.0
        for back in range(span_h):
            usual = self._expected_of(hour - back)
            if usual is None or hour - back not in self.counts:
                return None
            n += self.counts[hour - back]
            m += usual
        return n, m

    def _expected_of(self, hour: Hour) -> float | None:
        if hour not in self._expected:
            self._expected[hour] = expected_count(self.counts, hour)
        return self._expected[hour]


def deviation_from_expected(values: Mapping[Hour, float], hour: Hour, value: float) -> Deviation:
    """How a positive figure of an hour compares with those of the same time of day before.

    Of the last seven days the same hour and its two neighbours count, ten values at least.  The
    ratio is to their median, and z = ln(ratio) / max(1.4826 median(|ln v - ln median|), 0.1);
    a figure that is not positive is infinitely far from them.
    """
    near = [hour - DAY_H * day + shift for day in range(1, _DAYS + 1) for shift in (-1, 0, 1)]
    positive = [values[h] for h in near if values.get(h, 0.0) > 0]
    if len(positive) < _DAYS + _FEWEST or isnan(value):
        return UNKNOWN
    middle = median(positive)
    if value <= 0:
        return Deviation(value / middle, -inf)
    spread = _MAD_TO_SD * median(abs(log(v / middle)) for v in positive)
    return Deviation(value / middle, log(value / middle) / max(spread, _SMALLEST_SPREAD))


# The distributions that an hour is compared by; the others are for the report alone.
COMPARED = ("count", "fact", "event_type", "context", "value", "session_count", "session_fact")


class Baseline:
    """What is recorded of the hours up to some hour: their events, and their profiles.

    Args:
        events: the number of events of every hour since the first, silent ones too.
        profiles: rows of ``profiles``.
    """

    def __init__(self, events: Mapping[Hour, float], profiles: pa.Table) -> None:
        self.event_volume = Volume(events)
        # By distribution, hour and bin.
        self._weights: dict[str, dict[Hour, dict[str, float]]] = {}
        self.learn(profiles)

    def learn(self, profiles: pa.Table) -> None:
        """Take profiles of hours in, in the place of what was known of them."""
        is_compared = pc.is_in(profiles["distribution"], value_set=pa.array(COMPARED, pa.string()))
        rows = profiles.filter(is_compared)
        # Column by column: five weeks have tens of thousands of rows.
        indices = pc.divide(rows["hour"].cast(pa.int64()), US_PER_HOUR).to_pylist()
        hours = [Hour(index) for index in indices]
        distributions, names, weights = (
            rows[column].to_pylist() for column in ("distribution", "bin", "weight")
        )
        for kind in (EVENT_DISTRIBUTIONS, SESSION_DISTRIBUTIONS):
            pairs = zip(hours, distributions, strict=True)
            for hour in {hour for hour, distribution in pairs if distribution in kind}:
                for distribution in kind:
                    self._weights.get(distribution, {}).pop(hour, None)
        for hour, distribution, name, weight in zip(
            hours, distributions, names, weights, strict=True
        ):
            by_hour = self._weights.setdefault(distribution, {})
            by_hour.setdefault(hour, {})[name] = weight
        self.user_volume = Volume(self.figures("count", "users"))

    def bins(self, distribution: str, hour: Hour) -> Mapping[str, float]:
        """The bins of one distribution of one hour."""
        return self._weights.get(distribution, {}).get(hour, {})

    def figures(self, distribution: str, name: str) -> dict[Hour, float]:
        """One bin of one distribution by hour."""
        of_hours = self._weights.get(distribution, {})
        return {hour: bins[name] for hour, bins in of_hours.items() if name in bins}

    def shares(self, distribution: str, whole: str, hour: Hour) -> dict[str, float] | None:
        """Each bin of the week before an hour as a share of that week's count ``whole``.

        None where fewer than a day's hours of that week have profiles.
        """
        counts = self._weights.get("count", {})
        week = [h for h in counts if hour - WEEK_H <= h < hour]
        total = sum(counts[h].get(whole, 0.0) for h in week)
        if len(week) < DAY_H or not total:
            return None
        sums: dict[str, float] = {}
        for h in week:
            for name, weight in self.bins(distribution, h).items():
                sums[name] = sums.get(name, 0.0) + weight
        return {name: weight / total for name, weight in sums.items()}


# How an hour differs from what is usual, as the columns of a one-row frame.


def event_comparison(hour: Hour | None, baseline: Baseline) -> dict[str, float]:
    """Compare the events of an hour, whose profile ``baseline`` holds already, with earlier hours.

    Returns:
        ``events_ratio``, ``events_z``, ``users_ratio``, ``users_z`` and the same of the six hours
        that end with this one (``events_6h_ratio`` ...); ``events_per_user_ratio`` and ``_z``;
        ``share_of_top_user_ratio`` and ``_z``; ``value_ratio`` and ``_z``, of the median.  Of
        each, ``_ratio_z4``, ``_z5`` and ``_z6`` are the ratio where the size of z is as large as
        that, and empty elsewhere.  ``new_type_share``, of events whose type the week before did
        not have; ``lost_context``, how much of a usual context key is gone, as a share of events,
        of the key that lost most; ``lost_value``, the same of the value.  NaN where too little is
        known, or where there is no one hour.
    """
    if hour is None:
        nothing = {key: _NAN for name in _COMPARED for key in _named(name, UNKNOWN)}
        return nothing | dict.fromkeys(_ALONE, _NAN)
    row: dict[str, float] = {}
    for name, volume in (("events", baseline.event_volume), ("users", baseline.user_volume)):
        row |= _named(name, volume.deviation(hour))
        row |= _named(f"{name}_{SPAN_H}h", volume.deviation(hour, SPAN_H))
    for name in ("events_per_user", "share_of_top_user"):
        row |= _named(name, _expected(baseline, hour, "fact", name))
    values = sum(baseline.bins("value", hour).values())
    enough = values >= _FEWEST_VALUES
    row |= _named("value", _expected(baseline, hour, "fact", "value_median") if enough else UNKNOWN)
    n = baseline.bins("count", hour).get("events", 0.0)
    types = baseline.shares("event_type", "events", hour)
    keys = baseline.shares("context", "events", hour)
    row |= dict.fromkeys(_ALONE, _NAN)
    shares = baseline.figures("fact", "value_share")
    week = [share for h, share in shares.items() if hour - WEEK_H <= h < hour]
    if n >= _FEWEST_VALUES and len(week) >= DAY_H:
        row["lost_value"] = median(week) - shares.get(hour, 0.0)
    if n and types is not None:
        new = sum(m for name, m in baseline.bins("event_type", hour).items() if name not in types)
        row["new_type_share"] = new / n
    if n >= _FEWEST_VALUES and keys is not None:
        now = baseline.bins("context", hour)
        lost = [was - now.get(key, 0.0) / n for key, was in keys.items() if was >= _EXPECTED_KEY]
        row["lost_context"] = max([0.0, *lost])
    return row


def session_comparison(hour: Hour | None, baseline: Baseline) -> dict[str, float]:
    """Compare the sessions that closed in an hour, whose profile ``baseline`` holds, with others.

    Returns:
        ``events_per_session_ratio``, ``single_share_ratio``, ``dwell_median_ratio``, each with its
        ``_z``.  NaN where too little is known, or where there is no one hour.
    """
    row: dict[str, float] = {}
    for name in _SESSION_FACTS:
        deviation = UNKNOWN if hour is None else _expected(baseline, hour, "session_fact", name)
        row |= _named(name.removesuffix("_s"), deviation)
    return row


def _expected(baseline: Baseline, hour: Hour, distribution: str, name: str) -> Deviation:
    figures = baseline.figures(distribution, name)
    return deviation_from_expected(figures, hour, figures.get(hour, _NAN))


def _named(name: str, deviation: Deviation) -> dict[str, float]:
    sure = {
        f"{name}_ratio_z{level}": deviation.ratio if abs(deviation.z) >= level else _NAN
        for level in _LEVELS
    }
    return {f"{name}_ratio": deviation.ratio, f"{name}_z": deviation.z, **sure}
