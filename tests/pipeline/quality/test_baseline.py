"""What is usual, and how far an hour is from it, against the formulas written out."""

from __future__ import annotations

import math
from copy import deepcopy
from functools import cache
from statistics import median

import numpy as np
import pyarrow as pa
import pytest
from quality_rows import HOUR, event, events

from pipeline.hours import Hour, HourRange
from pipeline.lake.tables import PROFILES
from pipeline.quality.baseline import (
    BASELINE_H,
    Baseline,
    Volume,
    deviation_from_expected,
    event_comparison,
    expected_count,
)
from pipeline.quality.profiles import event_profile

WEEKS = HourRange(HOUR - BASELINE_H, HOUR + 1)


def traffic(seed: int, mean: float = 200.0) -> dict[Hour, float]:
    """Five weeks of counts with a rhythm of days and quiet weekends."""
    rng = np.random.default_rng(seed)
    return {
        hour: float(
            rng.poisson(
                mean
                * (1 + 0.8 * math.cos((hour.index % 24 - 15) * math.pi / 12))
                * (0.5 if hour.index // 24 % 7 in (2, 3) else 1)
            )
        )
        for hour in WEEKS
    }


def slow_deviation(counts: dict[Hour, float], hour: Hour, span_h: int) -> tuple[float, float]:
    def usual(h: Hour) -> float | None:
        weeks = [counts[h - 168 * n] for n in range(1, 5) if h - 168 * n in counts]
        days = [counts[h - 24 * n] for n in range(1, 8) if h - 24 * n in counts]
        known = weeks if len(weeks) >= 3 else days
        return median(known) if len(known) >= 3 else None

    def sums(h: Hour) -> tuple[float, float] | None:
        span = [h - n for n in range(span_h)]
        usuals = [usual(one) for one in span]
        if None in usuals or any(one not in counts for one in span):
            return None
        return sum(counts[one] for one in span), sum(u for u in usuals if u is not None)

    squares = []
    for back in range(24, 24 + 168):
        found = sums(hour - back)
        if found:
            squares.append((found[0] - found[1]) ** 2 / (found[1] + 1))
    here = sums(hour)
    assert here is not None
    n, m = here
    # Of chi-squared values the smaller nine tenths have this mean, by numerical integration.
    x = np.linspace(1e-6, 2.705543, 200_001)
    density = np.exp(-x / 2) / np.sqrt(2 * np.pi * x)
    mean = np.trapezoid(x * density, x) / 0.9
    smaller = sorted(squares)[: math.ceil(0.9 * len(squares))]
    phi = max(1.0, sum(smaller) / len(smaller) / mean)
    return n / m, (n - m) / math.sqrt(phi * (m + 1) + (0.05 * m) ** 2)


@pytest.mark.parametrize("span_h", [1, 6])
@pytest.mark.parametrize("seed", range(3))
def test_the_deviation_is_its_formula(seed: int, span_h: int) -> None:
    counts = traffic(seed)
    found = Volume(counts).deviation(HOUR, span_h)
    assert found == pytest.approx(slow_deviation(counts, HOUR, span_h), rel=1e-3)


def test_the_same_hour_of_the_week_counts_once_three_are_known_and_else_that_of_the_day() -> None:
    weekly = {HOUR - 168 * n: 100.0 * n for n in (1, 2, 3)}
    daily = {HOUR - 24 * n: 10.0 * n for n in (1, 2, 3)}
    assert expected_count(weekly | daily, HOUR) == 200
    assert expected_count(daily, HOUR) == 20
    assert expected_count({HOUR - 24: 1.0, HOUR - 48: 1.0}, HOUR) is None
    assert expected_count({}, HOUR) is None


def test_nothing_later_changes_what_is_said_of_an_hour() -> None:
    counts = traffic(0)
    before = {hour: n for hour, n in counts.items() if hour <= HOUR - 100}
    wild = before | {HOUR - n: 1e6 for n in range(100)}
    at = HOUR - 100
    assert Volume(before).deviation(at) == Volume(wild).deviation(at)
    assert Volume(before).deviation(at, 6) == Volume(wild).deviation(at, 6)
    assert deviation_from_expected(before, at, 7.0) == deviation_from_expected(wild, at, 7.0)


def test_half_the_traffic_is_found_missing_and_quiet_hours_are_not() -> None:
    quiet, halved = [], []
    for seed in range(60):
        counts = traffic(seed)
        quiet.append(Volume(counts).deviation(HOUR, 6))
        for n in range(6):
            counts[HOUR - n] /= 2
        halved.append(Volume(counts).deviation(HOUR, 6))
    assert min(found.z for found in quiet) > -3
    assert max(found.z for found in halved) < -3
    assert max(found.ratio for found in halved) < 0.65


@pytest.mark.parametrize("factor", [0.0, 3.0, 10.0])
def test_an_incident_of_last_week_does_not_hide_the_next(factor: float) -> None:
    counts = traffic(0)
    for n in range(72, 78):
        counts[HOUR - n] *= factor
    for n in range(6):
        counts[HOUR - n] = 0.0
    assert Volume(counts).deviation(HOUR).z < -6
    assert Volume(counts).deviation(HOUR, 6).z < -5


def test_a_figure_is_held_against_the_same_time_of_day() -> None:
    near = [HOUR - 24 * day + shift for day in range(1, 8) for shift in (-1, 0, 1)]
    values = {hour: 4.0 + n % 3 for n, hour in enumerate(near)}
    # Of 21 values that go round 4, 5 and 6 the median is 5.
    spread = 1.4826 * median(abs(math.log(v / 5)) for v in values.values())
    found = deviation_from_expected(values | {HOUR - 12: 1e9}, HOUR, 10.0)
    assert found == pytest.approx((2.0, math.log(2) / max(spread, 0.1)))
    few = dict(list(values.items())[:9])
    assert all(math.isnan(part) for part in deviation_from_expected(few, HOUR, 10.0))
    assert all(math.isnan(part) for part in deviation_from_expected(values, HOUR, math.nan))


def past_of(hours: HourRange, **changes: object) -> Baseline:
    """A past of equal hours: ten users with six events each."""
    past = Baseline(
        dict.fromkeys(HourRange(hours.first, HOUR + 1), 60.0), PROFILES.schema.empty_table()
    )
    for hour in hours:
        past.learn(event_profile(HourRange(hour, hour + 1), equal_hour(hour, **changes)))
    return past


def equal_hour(hour: Hour, users: int = 10, **changes: object) -> pa.Table:
    row = {"hour": hour.start, "value": 2.0, "context": [("device", "phone")]} | changes
    return events(*(event(f"k{n}", user_id=f"u{n % users}", **row) for n in range(60)))


@cache
def eight_days() -> Baseline:
    return past_of(HourRange(HOUR - 8 * 24, HOUR))


def compared(**changes: object) -> dict[str, float]:
    past = deepcopy(eight_days())
    past.learn(event_profile(HourRange(HOUR, HOUR + 1), equal_hour(HOUR, **changes)))
    return event_comparison(HOUR, past)


def test_an_hour_like_the_others_is_usual_in_every_respect() -> None:
    found = compared()
    assert {name: value for name, value in found.items() if name.endswith("_ratio")} == {
        "events_ratio": 1,
        "events_6h_ratio": 1,
        "users_ratio": 1,
        "users_6h_ratio": 1,
        "events_per_user_ratio": 1,
        "share_of_top_user_ratio": 1,
        "value_ratio": 1,
    }
    assert found["new_type_share"] == found["lost_context"] == found["lost_value"] == 0


@pytest.mark.parametrize(
    ("changes", "name", "value"),
    [
        ({"value": 2000.0}, "value_ratio", 1000.0),
        ({"value": 0.0}, "value_ratio_z6", 0.0),
        ({"value": -2.0}, "value_ratio_z6", -1.0),
        ({"value": None}, "lost_value", 1.0),
        ({"context": []}, "lost_context", 1.0),
        ({"context": [("device", None)]}, "lost_context", 1.0),
        ({"event_type": "share"}, "new_type_share", 1.0),
        ({"users": 5}, "users_ratio", 0.5),
        ({"users": 4}, "events_per_user_ratio", 2.5),
    ],
)
def test_each_change_shows_in_its_own_figure(
    changes: dict[str, object], name: str, value: float
) -> None:
    assert compared(**changes)[name] == pytest.approx(value)


def test_without_a_past_nothing_is_claimed() -> None:
    past = Baseline({HOUR: 60.0}, PROFILES.schema.empty_table())
    past.learn(event_profile(HourRange(HOUR, HOUR + 1), equal_hour(HOUR)))
    assert all(math.isnan(value) for value in event_comparison(HOUR, past).values())
    assert event_comparison(None, past).keys() == event_comparison(HOUR, past).keys()


def test_what_is_learnt_again_replaces_what_was_known() -> None:
    past = past_of(HourRange(HOUR, HOUR + 1))
    past.learn(event_profile(HourRange(HOUR, HOUR + 1), events()))
    assert past.bins("count", HOUR)["events"] == 0
    assert not past.bins("event_type", HOUR)
