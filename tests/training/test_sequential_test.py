"""The sums of a look, the test that may be looked at every hour, and its limits."""

from __future__ import annotations

import math
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import HourglassError
from training.gate.sequential_test import (
    Sums,
    contrast,
    first_informative_look,
    log_evidence,
    scale_of,
    sequential,
    squares,
    total,
    uncertainty,
    variance_by_day,
    variance_of_days,
)
from training.metrics.bootstrap import paired_difference

SCALE = 10.0
TARGETS = st.lists(
    st.tuples(st.integers(0, 5), st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=30
)


def arrays(targets: list[tuple[int, float, float]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    user, mine, theirs = (np.array(column) for column in zip(*targets, strict=True))
    return mine.astype(float), theirs.astype(float), user.astype(np.int32)


@given(TARGETS)
def test_sums_equal_adding_up_user_by_user(targets: list[tuple[int, float, float]]) -> None:
    per_user: dict[int, list[float]] = {}
    for user, mine, theirs in targets:
        one = per_user.setdefault(user, [0.0, 0.0, 0.0])
        one[0] += mine - theirs
        one[1] += theirs
        one[2] += 1
    found = asdict(Sums.of(*arrays(targets)))
    assert found.pop("users") == len(per_user)
    for name, value in found.items():
        wanted = sum(
            math.prod(one["dcn".index(letter)] for letter in name) for one in per_user.values()
        )
        assert value == pytest.approx(wanted, abs=1e-9)


@given(TARGETS, TARGETS)
def test_looks_add_up(first: list, second: list) -> None:
    apart = total([Sums.of(*arrays(first)), Sums.of(*arrays(second))])
    moved = [(user + 100, mine, theirs) for user, mine, theirs in second]
    whole = asdict(Sums.of(*arrays(first + moved)))
    assert asdict(apart) == pytest.approx(whole)
    assert Sums.read(asdict(apart)) == apart


def test_no_target_is_no_sum_and_a_missing_number_is_refused() -> None:
    none = np.array([], float)
    assert Sums.of(none, none, none.astype(np.int32)) == Sums()
    for value in (None, math.nan, "1"):
        with pytest.raises(HourglassError, match="the sum dd of a look is"):
            Sums.read({**asdict(Sums()), "dd": value})


@pytest.mark.parametrize(("s", "v"), [(0, 1), (5, 4), (-5, 4), (30, 100), (-60, 20), (80, 3)])
def test_the_evidence_is_the_mean_over_a_half_normal_lambda(s: float, v: float) -> None:
    """Slow reference: the integral over lambda, by a sum on a fine grid."""
    at = np.linspace(0, 60 / math.sqrt(SCALE), 2_000_001)
    peak = s * s / (2 * (v + SCALE)) if s > 0 else 0.0
    weighed = np.exp(at * s - at**2 * v / 2 - SCALE * at**2 / 2 - peak)
    integral = 2 * math.sqrt(SCALE / (2 * math.pi)) * np.trapezoid(weighed, at)
    assert log_evidence(s, v, SCALE) == pytest.approx(math.log(integral) + peak, abs=1e-5)


def test_the_evidence_of_a_hopeless_candidate_is_a_finite_number() -> None:
    assert -100 < log_evidence(-1e6, 1.0, SCALE) < -10
    near, far = log_evidence(-36.0 * 10, 90.0, SCALE), log_evidence(-39.0 * 10, 90.0, SCALE)
    assert far < near < far + 0.2  # the two ways to reckon it meet


def look(d: list[float], c: float = 0.3) -> Sums:
    """A look at users with one target each."""
    theirs = np.full(len(d), c)
    return Sums.of(theirs + np.array(d), theirs, np.arange(len(d), dtype=np.int32))


def test_a_common_move_counts_as_noise_up_to_the_swing() -> None:
    apart, together = look([1.0, -1.0, 0.0, 0.0], c=1.0), look([0.5, 0.5, 0.5, 0.5], c=1.0)
    assert uncertainty([apart], 0.2) == pytest.approx(2.0)
    assert uncertainty([together], 0.0) == pytest.approx(1.0)  # users alone: 4 x 0.25
    assert uncertainty([together], 1.0) == pytest.approx(4.0)  # the hour as one: 2 squared
    assert uncertainty([together], 0.4) == pytest.approx((0.4 * 4) ** 2)
    # Each sum by itself, and the larger of the two: 2 + 1 for users, 0 + 4 for looks.
    assert uncertainty([apart, together], 1.0) == pytest.approx(4.0)
    assert uncertainty([apart, apart, together], 1.0) == pytest.approx(5.0)
    assert uncertainty([together], 1.0, mean=0.5) == pytest.approx(0.0)


@given(st.lists(TARGETS, min_size=1, max_size=4), st.floats(-0.3, 0.3), st.floats(0, 1))
def test_uncertainty_equals_squaring_user_by_user(
    looks: list[list[tuple[int, float, float]]], mean: float, swing: float
) -> None:
    apart = together = 0.0
    for targets in looks:
        mine, theirs, user = arrays(targets)
        apart += sum(((mine - theirs)[user == u] - mean).sum() ** 2 for u in set(user.tolist()))
        together += min((mine - theirs - mean).sum() ** 2, (swing * theirs.sum()) ** 2)
    found = uncertainty([Sums.of(*arrays(targets)) for targets in looks], swing, mean)
    assert found == pytest.approx(max(apart, together), abs=1e-9)


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.floats(-5, 5), st.floats(1, 9)), min_size=1, max_size=9
    ),
    st.floats(0.01, 0.2),
)
def test_days_are_as_if_three_of_the_presumed_luck_had_been_seen(
    looks: list[tuple[int, float, float]], swing: float
) -> None:
    sums = [Sums(d=d, c=c, n=10) for _, d, c in looks]
    days = sorted({day for day, _, _ in looks})
    mean = sum(d for _, d, _ in looks) / (10 * len(looks))
    off = [sum(d - mean * 10 for day, d, _ in looks if day == one) for one in days]
    c = [sum(c for day, _, c in looks if day == one) for one in days]
    of_c = sum(x * x for x in c)
    n_days = sum(c) ** 2 / of_c
    wanted = (3 * swing**2 * of_c + n_days * sum(x * x for x in off)) / (3 + n_days - 1)
    found = variance_by_day(sums, [day for day, _, _ in looks], swing)
    assert found == pytest.approx(wanted, abs=1e-9)


def test_one_day_is_presumed_and_many_days_tell_themselves() -> None:
    one = np.ones(1)
    assert variance_of_days(0.3 * one, one, one, 0.05) == pytest.approx(0.05**2)
    # Sixty days, each off the mean by 0.01 of the figure: 60 x 0.01 squared, and a little more.
    d = np.array([0.04, 0.06] * 30)
    found = variance_of_days(d, np.ones(60), np.ones(60), 0.05)
    assert 60 * 0.01**2 < found < 60 * 0.015**2
    none = np.zeros(1)
    assert variance_of_days(none, none, none, 0.05) == 0


def test_the_day_of_the_looks_can_only_lessen_what_is_proven() -> None:
    looks = [look([0.02] * 2000, c=0.3)] * 24
    alone = sequential(looks, alpha=0.05, common_shock=0.2, scale=SCALE)
    by_day = variance_by_day(looks, [0] * 24, 0.05)
    one_day = sequential(looks, alpha=0.05, common_shock=0.2, scale=SCALE, by_day=by_day)
    assert alone.proven
    assert not one_day.proven
    assert one_day.uncertainty == pytest.approx((0.05 * 0.3 * 2000 * 24) ** 2)
    assert one_day.lower < 0 < alone.lower


def test_the_scale_comes_of_the_first_look_that_differs_at_all() -> None:
    none, some, more = look([0.0, 0.0]), look([0.5, -0.5]), look([1.0, -1.0])
    assert first_informative_look([none, some, more]) is some
    assert first_informative_look([none, none]) is none


@given(TARGETS, st.floats(-1, 1), st.floats(-1, 1))
def test_shifted_sums_are_those_of_shifted_users(
    targets: list[tuple[int, float, float]], c: float, n: float
) -> None:
    mine, theirs, user = arrays(targets)
    found = asdict(Sums.of(mine, theirs, user).shifted(c=c, n=n))
    wanted = asdict(Sums.of(mine + c * theirs + n, theirs, user))
    assert found == pytest.approx(wanted, abs=1e-9)


def test_the_limit_is_where_the_test_begins_to_refute() -> None:
    rng = np.random.default_rng(1)
    looks = [look(list(rng.normal(0.05, 0.3, 80))) for _ in range(30)]
    found = sequential(looks, alpha=0.05, common_shock=0.2, scale=SCALE)
    assert found.proven
    assert 0 < found.lower < found.mean
    assert (found.looks, found.users, found.targets) == (30, 2400, 2400)
    whole = total(looks)
    for mean, refuted in ((found.lower - 1e-6, True), (found.lower + 1e-6, False)):
        evidence = log_evidence(
            whole.d - mean * whole.n, uncertainty(looks, 0.2, mean), found.scale
        )
        assert (evidence >= found.bound) == refuted


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.floats(-0.1, 0.1), st.integers(1, 20))
def test_proven_means_that_the_limit_is_above_zero(seed: int, mean: float, n: int) -> None:
    rng = np.random.default_rng(seed)
    looks = [look(list(rng.normal(mean, 0.2, 30))) for _ in range(n)]
    found = sequential(looks, alpha=0.05, common_shock=0.2, scale=SCALE)
    assert found.proven == (found.lower > 0)


def test_without_targets_nothing_is_proven() -> None:
    found = sequential([Sums()], alpha=0.05, common_shock=0.2, scale=SCALE)
    assert not found.proven
    assert math.isnan(found.lower)


def test_a_single_look_cannot_outweigh_a_swing_as_large_as_what_it_shows() -> None:
    """However many users say so, one hour's luck may move them all."""

    def proven(one: Sums, looks: int, swing: float) -> bool:
        scale = scale_of(one, 200)
        return sequential([one] * looks, alpha=0.05, common_shock=swing, scale=scale).proven

    gains = look([0.03] * 100_000, c=0.3)
    assert not proven(gains, 1, swing=0.2)
    assert proven(gains, 1, swing=0.0)
    assert proven(gains, 30, swing=0.2)
    assert proven(look([0.5] * 200, c=0.1), 1, swing=0.2)


# The interval of a fixed sample


@given(TARGETS, st.floats(-1, 1), st.floats(-1, 1))
def test_a_contrast_equals_its_linearised_variance(
    targets: list[tuple[int, float, float]], c: float, n: float
) -> None:
    mine, theirs, user = arrays(targets)
    value = mine - theirs + c * theirs + n
    found = contrast(Sums.of(mine, theirs, user), 0.975, c=c, n=n)
    assert found.mean == pytest.approx(value.mean(), abs=1e-9)
    users = sorted(set(user.tolist()))
    if len(users) < 2:
        assert math.isnan(found.lower)
        return
    residual = [(value[user == u] - value.mean()).sum() for u in users]
    variance = np.sum(np.square(residual)) * len(users) / (len(users) - 1) / len(value) ** 2
    reach = 1.959964 * math.sqrt(variance)
    assert found.upper - found.mean == pytest.approx(reach, abs=1e-6)
    assert found.mean - found.lower == pytest.approx(reach, abs=1e-6)


def test_a_contrast_comes_near_the_interval_of_resampled_users() -> None:
    rng = np.random.default_rng(2)
    user = np.repeat(np.arange(800), rng.integers(1, 9, 800)).astype(np.int32)
    theirs = rng.random(user.size)
    mine = np.clip(theirs + rng.normal(0, 0.1, 800)[user] + 0.02, 0, 1)
    found = contrast(Sums.of(mine, theirs, user), 0.975)
    drawn = paired_difference(mine, theirs, user, samples=4000, confidence=0.95, seed=0)
    assert found.lower == pytest.approx(drawn.lower, abs=6e-4)
    assert found.upper == pytest.approx(drawn.upper, abs=6e-4)


# What it promises


def weeks(n: int, hours: int, swap: str, gain: float = 0.0, seed: int = 3) -> float:
    """Share of simulated weeks in which a candidate is ever proven better."""
    rng = np.random.default_rng(seed)
    proven = 0
    for _ in range(n):
        gain_sum = apart = together = scale = 0.0
        for hour in range(hours):
            # Skewed, of unequal weight: no normal distribution anywhere.
            d = 0.2 * rng.exponential(1.0, 40) * rng.choice([0, 0, 1], 40)
            sign = rng.choice([-1, 1]) if swap == "hour" else rng.choice([-1, 1], 40)
            one = look(list(d * sign + gain), c=1.0)
            scale = scale if hour else scale_of(one, 40)
            gain_sum += one.d
            more = squares(one, 0.3)
            apart, together = apart + more[0], together + more[1]
            if log_evidence(gain_sum, max(apart, together), scale) >= math.log(20):
                proven += 1
                break
    return proven / n


@pytest.mark.parametrize("swap", ["user", "hour"])
def test_equal_models_are_rarely_ever_proven_better(swap: str) -> None:
    """At most 5 % at all looks together; 300 weeks allow up to 8 %."""
    assert weeks(300, 36, swap) <= 0.08


def lasting(n: int, luck: str, swing: float | None, gain: float = 0.0) -> float:
    """Share of weeks of 168 looks, 400 users each, in which luck that lasts proves a model better.

    ``luck``: ``ar``, hours of a standard deviation of 5 % of the figure, each .8 of the one before;
    ``cycle``, 10 % up by day and down by night.
    """
    rng, proven = np.random.default_rng(5), 0
    for _ in range(n):
        begin, before = int(rng.integers(24)), rng.normal()
        d, c, of = np.zeros(9), np.zeros(9), 400 * 0.3
        gain_sum = apart = together = scale = 0.0
        for hour in range(168):
            before = 0.8 * before + 0.6 * rng.normal()
            move = 0.05 * before if luck == "ar" else 0.1 * math.sin(math.tau * hour / 24)
            moved = of * (move + gain) + rng.normal() * math.sqrt(0.05 * 400)
            one = Sums(users=400, n=400, d=moved, c=of, dd=0.05 * 400)
            scale = scale if hour else scale_of(one, 200, swing or 0.0)
            gain_sum += one.d
            more = squares(one, 0.2)
            apart, together = apart + more[0], together + more[1]
            day = (begin + hour) // 24
            d[day] += one.d
            c[day] += one.c
            by_day = variance_of_days(d[: day + 1], c[: day + 1], c[: day + 1] / 0.3, swing or 0.0)
            variance = max(apart, together, by_day if swing else 0.0)
            if log_evidence(gain_sum, variance, scale) >= math.log(20):
                proven += 1
                break
    return proven / n


@pytest.mark.parametrize("luck", ["ar", "cycle"])
def test_luck_that_lasts_for_hours_is_rarely_taken_for_a_gain(luck: str) -> None:
    assert lasting(60, luck, None) > 0.2  # what hours alone would do
    assert lasting(60, luck, 0.05) <= 0.05


def test_a_real_gain_is_proven_in_spite_of_days() -> None:
    assert lasting(20, "ar", 0.05, gain=0.12) >= 0.9


def test_a_real_gain_is_proven_in_most_weeks() -> None:
    assert weeks(40, 48, "user", gain=0.04) >= 0.8


def test_the_scale_is_that_of_two_first_looks_or_of_the_least_sample() -> None:
    first = look([0.5, -0.5] * 50)  # squares of 0.25 a target, as many targets as the usual 0.05
    assert scale_of(first, 1) == pytest.approx(2 * 0.15 * 100)
    assert scale_of(first, 200) == pytest.approx(2 * 0.15 * 200)
    assert scale_of(Sums(), 200) == pytest.approx(2 * 0.05 * 200)
    assert scale_of(look([1e-4]), 200) == pytest.approx(2 * 0.05 * 200, rel=0.02)
    assert scale_of(look([-0.5, -0.5]), 1) == scale_of(look([0.5, 0.5]), 1)


def test_where_luck_lasts_the_scale_is_that_of_three_looks_of_it() -> None:
    many = look([0.1] * 10_000, c=0.3)
    assert scale_of(many, 200, 0.05) == pytest.approx((0.05 * 3 * 0.35 * 10_000) ** 2)
    assert scale_of(look([0.1], c=0.3), 200, 0.05) == scale_of(look([0.1], c=0.3), 200)
    # Who of the two is better does not show in it.
    other = look([-0.1] * 10_000, c=0.4)
    assert scale_of(other, 200, 0.05) == pytest.approx(scale_of(many, 200, 0.05))
