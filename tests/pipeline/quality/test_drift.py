"""Drift against slow references, on quiet days that raise no alarm, and on shifts that must."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import timedelta
from itertools import product

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.hours import DAY_H, Hour
from pipeline.lake.tables import PROFILES
from pipeline.quality.drift import Drift, compare, distance

STOP = Hour.parse("2016-03-22T05")  # days of 24 h need not begin at midnight

# (day, hour of the day, distribution, bin) -> weight; day 0 is the current one, 1 the day before
Weights = dict[tuple[int, int, str, str], float]


def profiles(weights: Weights) -> pa.Table:
    rows = [
        {
            "hour": (STOP - DAY_H * (day + 1) + hour).start,
            "distribution": distribution,
            "bin": bin_,
            "weight": float(weight),
        }
        for (day, hour, distribution, bin_), weight in weights.items()
    ]
    return pa.Table.from_pylist(rows, schema=PROFILES.schema)


def only(table: pa.Table, name: str, **how: int) -> Drift:
    found = compare(table, **how)
    assert found is not None
    return next(drift for drift in found.drifts if drift.distribution == name)


def slow_distance(weights: Weights, current: set[tuple[int, int]], name: str) -> float:
    """Total variation of the (day, hour) cells called current from all others, cell by cell."""
    sums: dict[bool, dict[str, float]] = {True: defaultdict(float), False: defaultdict(float)}
    for (day, hour, distribution, bin_), weight in weights.items():
        if distribution == name:
            sums[(day, hour) in current][bin_] += weight
    one, other = (sums[side] for side in (True, False))
    return 0.5 * sum(
        abs(one[b] / sum(one.values()) - other[b] / sum(other.values())) for b in {*one, *other}
    )


SMALL = {
    (day, hour, "dwell_s", bin_): weight
    for day, counts in enumerate([(9, 1, 2, 6), (2, 5, 4, 4), (3, 6, 3, 5), (4, 4, 5, 3)])
    for (hour, bin_), weight in zip(product((3, 17), ("8", "11.3")), counts, strict=True)
}


def test_the_distance_and_what_is_usual_are_those_of_the_definition() -> None:
    drift = only(profiles(SMALL), "dwell_s")
    assert drift.bins == ("8", "11.3")
    assert drift.distance == pytest.approx(slow_distance(SMALL, {(0, 3), (0, 17)}, "dwell_s"))
    trailing = {key: weight for key, weight in SMALL.items() if key[0] > 0}
    usual = max(slow_distance(trailing, {(d, 3), (d, 17)}, "dwell_s") for d in (1, 2, 3))
    assert drift.expected == pytest.approx(usual)
    assert drift.current.tolist() == pytest.approx([11 / 18, 7 / 18])
    assert drift.before.tolist() == pytest.approx([21 / 48, 27 / 48])


def test_p_is_that_of_all_ways_to_name_the_current_day_within_each_hour() -> None:
    observed = slow_distance(SMALL, {(0, 3), (0, 17)}, "dwell_s")
    ways = [
        slow_distance(SMALL, {(first, 3), (second, 17)}, "dwell_s")
        for first, second in product(range(4), repeat=2)
    ]
    exact = sum(way >= observed - 1e-12 for way in ways) / len(ways)
    drift = only(profiles(SMALL), "dwell_s", permutations=20_000)
    assert drift.p == pytest.approx(exact, abs=0.012)
    assert drift.adjusted_p == drift.p  # one distribution alone


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=2, max_size=6).filter(
        lambda rows: all(sum(column) for column in zip(*rows, strict=True))
    )
)
def test_total_variation_is_half_the_sum_and_the_part_that_must_move(
    rows: list[tuple[int, int]],
) -> None:
    one, other = np.array(rows, dtype=float).T
    one, other = one / one.sum(), other / other.sum()
    moved = sum(max(0.0, a - b) for a, b in zip(one, other, strict=True))
    assert float(distance(one, other)) == pytest.approx(moved)
    assert 0 <= float(distance(one, other)) <= 1 + 1e-12


def test_a_context_key_is_a_mark_of_its_own() -> None:
    weights: Weights = {}
    for day, hour in product(range(5), range(DAY_H)):
        weights[day, hour, "event_type", "view"] = 100
        weights[day, hour, "context", "device"] = 100
        weights[day, hour, "context", "country"] = 40 if day == 0 else 90
    drift = only(profiles(weights), "context")
    assert drift.bins == ("country", "device")
    assert drift.current.tolist() == pytest.approx([0.4, 1.0])
    assert drift.before.tolist() == pytest.approx([0.9, 1.0])
    assert drift.distance == pytest.approx(0.5)
    assert drift.drifted


def world(
    random: np.random.Generator, events_per_h: float, shift: float = 0.0, day_noise: float = 0.0
) -> Weights:
    """Eight days of three distributions with a daily rhythm; ``shift`` changes day 0 only."""
    weights: Weights = {}
    names = {"event_type": 3, "dwell_s": 8, "session_events": 5}
    for day in range(8):
        tilt = {name: day_noise * random.normal() for name in names}
        for hour in range(DAY_H):
            for name, bins in names.items():
                n = random.poisson(events_per_h * (1.2 + np.sin(hour / 24 * 2 * np.pi)))
                # the mix itself has a rhythm too
                slope = 0.3 + 0.2 * np.cos(hour / 24 * 2 * np.pi) + tilt[name]
                if day == 0 and name == "dwell_s":
                    slope += shift
                share = np.exp(-slope * np.arange(bins))
                for bin_, count in enumerate(random.multinomial(n, share / share.sum())):
                    if count:
                        weights[day, hour, name, str(bin_)] = count
    return weights


@pytest.mark.parametrize(
    ("events_per_h", "weeks", "at_most"),
    [
        # At a rate of .01 a week, more than that come once in thirty such tests.
        (2, 50, 2),
        pytest.param(2, 120, 3, marks=pytest.mark.nightly),
        pytest.param(60, 120, 3, marks=pytest.mark.nightly),
    ],
)
def test_quiet_weeks_seldom_raise_an_alarm(events_per_h: float, weeks: int, at_most: int) -> None:
    random = np.random.default_rng(11)
    alarms = sum(
        len(drift.drifted)
        for _ in range(weeks)
        if (drift := compare(profiles(world(random, events_per_h)), permutations=999)) is not None
    )
    assert alarms <= at_most


@pytest.mark.nightly
def test_without_the_second_condition_p_is_honest() -> None:
    random = np.random.default_rng(12)
    ps = [
        drift.p
        for _ in range(100)
        for drift in compare(profiles(world(random, 20)), permutations=199).drifts  # type: ignore[union-attr]
    ]
    assert np.mean(ps) == pytest.approx(0.5, abs=0.07)
    assert np.mean(np.array(ps) <= 0.1) <= 0.15


def test_a_shift_is_found_and_only_where_it_is() -> None:
    random = np.random.default_rng(13)
    for _ in range(10):
        found = compare(profiles(world(random, 60, shift=0.2)))
        assert found is not None
        assert [drift.distribution for drift in found.drifted] == ["dwell_s"]


def test_days_that_always_differ_keep_a_significant_trifle_quiet() -> None:
    random = np.random.default_rng(14)
    found = [compare(profiles(world(random, 3000, day_noise=0.02))) for _ in range(12)]
    drifts = [drift for one in found if one is not None for drift in one.drifts]
    significant = [drift for drift in drifts if drift.adjusted_p < 0.01]
    assert len(significant) > len(drifts) / 3
    assert sum(drift.drifted for drift in drifts) < len(significant) / 3


def days_of(weights: Weights, days: Iterable[int]) -> pa.Table:
    wanted = set(days)
    return profiles({key: weight for key, weight in weights.items() if key[0] in wanted})


def test_too_few_days_are_no_comparison() -> None:
    weights = world(np.random.default_rng(15), 30)
    assert compare(profiles({})) is None
    two = compare(days_of(weights, (0, 1, 2)))
    assert two is not None
    assert (two.days, two.drifts) == (2, ())
    three = compare(days_of(weights, (0, 1, 2, 3)))
    assert three is not None
    assert (three.days, len(three.drifts)) == (3, 3)
    assert (three.current.first, three.current.stop) == (STOP - DAY_H, STOP)


def test_a_day_of_which_little_is_known_does_not_set_what_is_usual() -> None:
    weights = world(np.random.default_rng(16), 60)
    torn = {key: weight for key, weight in weights.items() if key[0] != 7 or key[1] < 3}
    torn |= {(7, 1, "dwell_s", "7"): 5000}
    found, without = compare(profiles(torn)), compare(days_of(weights, range(7)))
    assert found is not None
    assert without is not None
    assert found.days == without.days == 6
    assert [d.expected for d in found.drifts] == [d.expected for d in without.drifts]


def test_only_hours_of_the_day_that_the_current_day_has_are_compared() -> None:
    night, noon = {"0": 90, "1": 10}, {"0": 10, "1": 90}
    weights = {
        (day, hour, "dwell_s", bin_): weight
        for day in range(5)
        for hour, mix in ((3, night), (15, noon))
        for bin_, weight in mix.items()
        if not (day == 0 and hour == 3)
    }
    assert only(profiles(weights), "dwell_s").distance == pytest.approx(0)


def test_the_same_profiles_give_the_same_answer_in_any_order() -> None:
    table = profiles(world(np.random.default_rng(17), 10))
    shuffled = table.take(np.random.default_rng(1).permutation(table.num_rows))
    assert [(d.p, d.distance) for d in compare(table).drifts] == [  # type: ignore[union-attr]
        (d.p, d.distance)
        for d in compare(shuffled).drifts  # type: ignore[union-attr]
    ]


def test_hours_older_than_the_week_do_not_count() -> None:
    weights = world(np.random.default_rng(18), 30)
    table = profiles(weights)
    old = table.set_column(
        0, "hour", pa.array([h - timedelta(days=8) for h in table["hour"].to_pylist()],
                            PROFILES.schema.field("hour").type),
    )  # fmt: skip
    first, again = compare(table), compare(pa.concat_tables([table, old]))
    assert first is not None
    assert again is not None
    assert [d.p for d in first.drifts] == [d.p for d in again.drifts]


def test_sessions_that_are_profiled_an_hour_later_are_compared_where_they_are() -> None:
    weights = world(np.random.default_rng(19), 60)
    late = {key: w for key, w in weights.items() if key[:2] != (0, 23) or key[2] == "event_type"}
    found, whole = compare(profiles(late)), compare(profiles(weights))
    assert found is not None
    assert whole is not None
    assert found.current == whole.current
    for mine, other in zip(found.drifts, whole.drifts, strict=True):
        # without its counterpart, the hour of the days before counts neither
        kept = {k: w for k, w in weights.items() if k[1] != 23 or k[2] == "event_type"}
        wanted = slow_distance(kept, {(0, h) for h in range(24)}, mine.distribution)
        assert mine.distance == pytest.approx(wanted)
        assert (mine.distance == other.distance) == (mine.distribution == "event_type")
