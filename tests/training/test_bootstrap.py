from __future__ import annotations

import math

import numpy as np
import pytest
from judging import skilled, users

from pipeline.errors import HourglassError
from training.metrics.bootstrap import UserTotals, intervals, paired_difference, resampled_means
from training.metrics.metrics import target_values


def slow_resampled_mean(values: np.ndarray, user: np.ndarray, drawn_users: np.ndarray) -> float:
    """Put the drawn users' targets into one bag, a user drawn twice twice, and average."""
    bag = [
        value for drawn in drawn_users for value, u in zip(values, user, strict=True) if u == drawn
    ]
    return sum(bag) / len(bag)


def test_resampled_means_equal_averaging_the_drawn_users_targets() -> None:
    user = np.array([0, 0, 0, 1, 2, 2, 3])
    values = np.array([1.0, 0.0, 0.5, 1.0, 0.0, 0.25, 1.0])
    means = resampled_means(UserTotals.of(values, user), samples=20, seed=3)[:, 0]
    rng = np.random.default_rng(3)
    expected = [slow_resampled_mean(values, user, rng.integers(0, 4, 4)) for _ in range(20)]
    np.testing.assert_allclose(means, expected)


def test_interval_ends_are_the_percentiles_of_the_resampled_means() -> None:
    rng = np.random.default_rng(0)
    user = users(40, rng)
    values = rng.random(user.size)
    (interval,) = intervals(values, user, samples=400, confidence=0.9, seed=1)
    means = sorted(resampled_means(UserTotals.of(values, user), 400, 1)[:, 0])
    assert interval.mean == pytest.approx(values.mean())
    assert means[18] <= interval.lower <= means[21]
    assert means[378] <= interval.upper <= means[381]


def test_memory_bound_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    user = users(30, rng)
    sums = UserTotals.of(rng.random((user.size, 2)), user)
    small = resampled_means(sums, 50, 9, max_weights=31)
    np.testing.assert_allclose(small, resampled_means(sums, 50, 9), rtol=1e-12)


def test_user_labels_and_order_of_targets_do_not_matter() -> None:
    rng = np.random.default_rng(0)
    user = users(30, rng)
    values = rng.random(user.size)
    order = rng.permutation(user.size)
    one = intervals(values, user, samples=200, confidence=0.95, seed=5)[0]
    other = intervals(values[order], user[order] * 7 + 3, samples=200, confidence=0.95, seed=5)[0]
    assert one.lower == pytest.approx(other.lower)
    assert one.upper == pytest.approx(other.upper)


def test_repeating_a_users_targets_adds_no_certainty() -> None:
    rng = np.random.default_rng(0)
    user = users(50, rng)
    values = rng.random(user.size)
    once = intervals(values, user, samples=200, confidence=0.95, seed=5)[0]
    tenfold = intervals(
        np.repeat(values, 10), np.repeat(user, 10), samples=200, confidence=0.95, seed=5
    )[0]
    assert tenfold.upper - tenfold.lower == pytest.approx(once.upper - once.lower)


def test_pairing_is_sharper_than_two_separate_intervals() -> None:
    rng = np.random.default_rng(0)
    user = users(100, rng)
    hard = rng.random(user.max() + 1)[user]
    one, other = hard + rng.normal(0, 0.01, user.size), hard + rng.normal(0, 0.01, user.size)
    gain = paired_difference(one, other, user, samples=300, confidence=0.95, seed=0)
    alone = intervals(one, user, samples=300, confidence=0.95, seed=0)[0]
    assert gain.upper - gain.lower < 0.2 * (alone.upper - alone.lower)


def test_one_user_says_nothing() -> None:
    interval = intervals(
        np.array([1.0, 0.0]), np.array([7, 7]), samples=100, confidence=0.95, seed=0
    )[0]
    assert interval.mean == 0.5
    assert math.isnan(interval.lower)
    assert not interval.lower > 0


@pytest.mark.parametrize(
    ("values", "user", "message"),
    [
        ([], [], "no target"),
        ([1.0, math.nan], [0, 1], "not finite"),
        ([1.0], [0, 1], "1 value belongs to 2"),
    ],
)
def test_what_cannot_be_averaged_is_refused(
    values: list[float], user: list[int], message: str
) -> None:
    with pytest.raises(HourglassError, match=message):
        intervals(np.array(values), np.array(user), samples=100, confidence=0.95, seed=0)


def test_pairs_must_be_pairs() -> None:
    with pytest.raises(HourglassError, match="3 targets cannot be paired with 2"):
        paired_difference(
            np.ones(3), np.ones(2), np.arange(3), samples=100, confidence=0.95, seed=0
        )


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    """300 worlds, 60 users of 1 to 9 targets: 95 % intervals of MRR cover in 90 to 98 %."""
    rng = np.random.default_rng(11)
    truth = None
    covered = 0
    for world in range(300):
        user = users(60, rng)
        if truth is None:
            many = users(100_000, rng)
            truth = target_values("mrr", skilled(many, 0.5, rng, 0.2), 20).mean()
        values = target_values("mrr", skilled(user, 0.5, rng, 0.2), 20)
        interval = intervals(values, user, samples=200, confidence=0.95, seed=world)[0]
        covered += interval.lower <= truth <= interval.upper
    assert 0.90 <= covered / 300 <= 0.98
