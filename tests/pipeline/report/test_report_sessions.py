"""Dwell times, lengths, durations and gaps against slow, obvious references."""

from __future__ import annotations

import math
from collections import Counter
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_rows import HOUR, sessions_of, table
from scipy import stats

from pipeline.lake.tables import DWELL_HOURS, SESSIONS
from pipeline.report.sessions import (
    MAX_BARS,
    dwell_times,
    session_lengths,
    session_times,
    size_classes,
    spread,
)


def moments_of(hours: list[list[float]]) -> pa.Table:
    rows = []
    for n, values in enumerate(hours):
        mean = sum(values) / len(values) if values else None
        m2 = sum((value - mean) ** 2 for value in values) if mean is not None else None
        rows.append({"hour": (HOUR + n).start, "n": len(values), "mean_s": mean, "m2_s2": m2})
    return table(DWELL_HOURS, *rows)


def test_the_gamma_is_scipys_with_the_same_moments_and_finds_what_was_drawn() -> None:
    values = np.random.default_rng(5).gamma(0.7, 300, 20_000)
    dwell = dwell_times(moments_of([list(values)]), sessions_of([values.size], list(values)))
    assert dwell is not None
    fitted = stats.gamma(dwell.moments.shape, scale=dwell.moments.scale_s)
    assert fitted.mean() == pytest.approx(values.mean())
    assert fitted.var() == pytest.approx(values.var())
    shape, _, scale = stats.gamma.fit(values, floc=0, method="MM")
    assert (dwell.moments.shape, dwell.moments.scale_s) == pytest.approx((shape, scale), rel=1e-3)
    assert dwell.moments.shape == pytest.approx(0.7, rel=0.05)


def test_bins_are_scotts_and_every_dwell_time_is_in_one() -> None:
    values = [0.0, 10.0, 20.0, 30.0, 40.0, 400.0]
    dwell = dwell_times(moments_of([values, []]), sessions_of([len(values)], values))
    assert dwell is not None
    sigma = math.sqrt(sum((v - 250 / 3) ** 2 for v in values) / 6)
    assert dwell.scott_width_s == pytest.approx(3.4908 * sigma / 6 ** (1 / 3), rel=1e-4)
    slow = Counter(int(value // dwell.scott_width_s) for value in values)
    assert dwell.counts.tolist() == [slow[b] for b in range(len(dwell.counts))]
    assert dwell.bins_per_bar == 1


def test_many_narrow_bins_share_a_bar() -> None:
    values = [*np.linspace(0, 10, 5000), 3599.0]
    dwell = dwell_times(moments_of([values]), sessions_of([len(values)], values))
    assert dwell is not None
    assert len(dwell.counts) <= MAX_BARS
    assert dwell.counts.sum() == len(values)
    bar_s = np.diff(dwell.edges_s)
    assert bar_s == pytest.approx(dwell.bins_per_bar * dwell.scott_width_s)


@pytest.mark.parametrize("values", [[], [5.0], [5.0, 5.0], [0.0, 0.0]])
def test_dwell_times_that_do_not_vary_have_no_distribution(values: list[float]) -> None:
    assert dwell_times(moments_of([values]), sessions_of([len(values)], values)) is None


def test_session_lengths() -> None:
    lengths = session_lengths(sessions_of([1, 1, 2, 11, 12, 40]))
    assert lengths is not None
    shown = dict(zip(lengths.labels, lengths.counts, strict=True))
    assert shown == {"1": 2, "2": 1, "11": 1, "12+": 2} | {str(n): 0 for n in range(3, 11)}
    assert (lengths.sessions, lengths.mean, lengths.median, lengths.longest) == (6, 67 / 6, 6.5, 40)
    assert session_lengths(sessions_of([])) is None


def test_both_gammas_fit_what_is_a_gamma_and_ks_is_scipys() -> None:
    values = np.random.default_rng(6).gamma(0.7, 300, 20_000)
    dwell = dwell_times(moments_of([list(values)]), sessions_of([values.size], list(values)))
    assert dwell is not None
    assert dwell.likely is not None
    assert dwell.likely.shape == pytest.approx(0.7, rel=0.03)
    assert not dwell.likely.differs_from(dwell.moments)
    for fit in (dwell.moments, dwell.likely):
        wanted = stats.kstest(values, stats.gamma(fit.shape, scale=fit.scale_s).cdf)
        assert fit.ks == pytest.approx(wanted.statistic)
        assert fit.ks < 0.02
    assert dwell.median_s == pytest.approx(np.median(values))


def test_what_is_no_gamma_is_far_from_both_and_they_from_each_other() -> None:
    # Two kinds of readers: a glance of seconds, or half an hour.
    random = np.random.default_rng(7)
    values = np.r_[random.uniform(1, 3, 3000), random.uniform(1700, 1900, 1000), np.zeros(40)]
    dwell = dwell_times(moments_of([list(values)]), sessions_of([values.size], list(values)))
    assert dwell is not None
    assert dwell.likely is not None
    assert dwell.zeros == 40
    assert dwell.likely.differs_from(dwell.moments)
    assert min(dwell.likely.ks, dwell.moments.ks) > 0.15


def test_ks_sees_ties() -> None:
    values = [10.0] * 8 + [20.0, 30.0]
    dwell = dwell_times(moments_of([values]), sessions_of([len(values)], values))
    assert dwell is not None
    cdf = stats.gamma(dwell.moments.shape, scale=dwell.moments.scale_s).cdf
    assert dwell.moments.ks == pytest.approx(max(abs(cdf(10.0) - 0.0), abs(cdf(10.0) - 0.8)))
    assert dwell.moments.ks_at_s == 10


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=40))
def test_half_octaves_hold_every_duration_once(durations: list[float]) -> None:
    result = spread(np.array(durations))
    positive = [value for value in durations if value > 0]
    if not positive:
        assert result is None
        return
    assert result is not None
    assert result.counts.sum() == len(positive)
    assert (result.n, result.zeros) == (len(durations), len(durations) - len(positive))
    assert np.diff(np.log2(result.edges_s)) == pytest.approx(0.5)
    assert result.median_s == pytest.approx(np.median(positive))


def test_sizes_fall_in_octaves() -> None:
    labels, counts = size_classes(np.array([1, 1, 2, 3, 4, 5, 8, 9]))
    assert dict(zip(labels, counts, strict=True)) == {"1": 2, "2": 1, "3-4": 2, "5-8": 2, "9-16": 1}


def session(user: str, name: str, start_s: float, *after_s: float) -> list[dict[str, object]]:
    start = HOUR.start + timedelta(seconds=start_s)
    return [
        {
            "user_id": user,
            "session_id": name,
            "session_start": start,
            "event_time": start + timedelta(seconds=after),
        }
        for after in (0.0, *after_s)
    ]


def test_durations_and_gaps_by_hand() -> None:
    rows = [
        *session("ann", "a2", 90_000, 5),
        *session("ann", "a1", 0, 60, 600),
        *session("bob", "b1", 100),
        *session("ann", "a3", 200_005),
    ]
    times = session_times(table(SESSIONS, *rows))
    assert times is not None
    assert times.durations is not None
    assert times.gaps is not None
    # 600 s and 5 s; a3 and b1 are a moment
    assert (times.durations.n, times.durations.zeros) == (4, 2)
    assert times.durations.median_s == pytest.approx(302.5)
    # 90,000 - 600 and 200,005 - 90,005; nothing between users
    assert times.gaps.n == 2
    assert times.gaps.median_s == pytest.approx((89_400 + 110_000) / 2)
    assert (times.users, times.once) == (2, 0.5)
    assert dict(zip(times.labels, times.per_user, strict=True)) == {"1": 1, "2": 0, "3-4": 1}
    assert session_times(table(SESSIONS)) is None
