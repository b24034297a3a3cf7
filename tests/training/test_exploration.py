"""Drawn places: the logged propensity is the frequency, and what is estimated with it is right."""

from __future__ import annotations

import itertools
from fractions import Fraction
from math import factorial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.recommend.knobs.exploration import Draws, Explored, chances_of, explored


def many(length: int, k: int, share: float, n: int, width: int | None = None) -> Explored:
    """The lists of n users with pools of one length."""
    keys = [("2016-03-14T13", f"user {number}") for number in range(n)]
    draws = Draws.of(7, keys, k, width or length)
    return explored(np.full(n, length), k, share, draws)


def enumerated(k: int, n: int, share: Fraction) -> list[list[Fraction]]:
    """The chance of each of n items in each of k places: all drawn sets and all arrangements."""
    chance = [[Fraction(0)] * n for _ in range(k)]
    for drawn in itertools.product([False, True], repeat=k):
        places = [place for place in range(k) if drawn[place]]
        weight = Fraction(1)
        for is_drawn in drawn:
            weight *= share if is_drawn else 1 - share
        free = places + list(range(k, n))
        arrangements = list(itertools.permutations(free, len(places)))
        assert len(arrangements) == factorial(len(free)) // factorial(len(free) - len(places))
        for items in arrangements:
            shown = list(range(k))
            for place, item in zip(places, items, strict=True):
                shown[place] = item
            for place, item in enumerate(shown):
                chance[place][item] += weight / len(arrangements)
    return chance


@pytest.mark.parametrize(("k", "n"), [(1, 1), (1, 4), (2, 2), (2, 5), (3, 3), (3, 6), (4, 5)])
@pytest.mark.parametrize(
    "share", [Fraction(0), Fraction(1, 20), Fraction(1, 2), Fraction(9, 10), Fraction(1)], ids=str
)
def test_the_propensity_is_that_of_all_that_can_happen(k: int, n: int, share: Fraction) -> None:
    chances = chances_of(float(share), k, n)
    for place, row in enumerate(enumerated(k, n, share)):
        assert sum(row) == 1
        for item, chance in enumerate(row):
            mine = chances.below if item >= k else chances.own if item == place else chances.moved
            assert mine == pytest.approx(float(chance), abs=1e-12), (place, item)


@pytest.mark.parametrize(
    ("length", "k", "share"), [(6, 3, 0.3), (3, 3, 0.5), (2, 4, 0.5), (1, 3, 0.4), (5, 2, 1.0)]
)
def test_the_logged_propensity_is_the_frequency_of_what_is_shown(
    length: int, k: int, share: float
) -> None:
    n = 40_000
    lists = many(length, k, share, n)
    for place in range(k):
        shown = lists.position[:, place]
        if place >= length:
            assert (shown == -1).all()
            assert np.isnan(lists.propensity[:, place]).all()
            continue
        frequency = np.bincount(shown, minlength=length) / n
        for item in range(length):
            logged = np.unique(lists.propensity[shown == item, place])
            assert len(logged) == 1
            # Five standard deviations of a frequency; the draws are always the same ones.
            margin = 5 * np.sqrt(logged[0] * (1 - logged[0]) / n) + 1e-9
            assert abs(frequency[item] - logged[0]) < margin, (place, item)


def test_any_policy_is_estimated_without_bias_from_explored_lists() -> None:
    """Clicks are simulated: each item and place has a chance of its own."""
    length, k, n, share = 6, 3, 60_000, 0.4
    rng = np.random.default_rng(1)
    click_chance = rng.random((k, length))
    lists = many(length, k, share, n)
    place = np.arange(k)
    clicks = rng.random((n, k)) < click_chance[place, lists.position]
    for policy in ([0, 1, 2], [5, 4, 3], [2, 0, 1], [3, 0, 5]):
        truth = click_chance[place, policy].sum()
        shows = lists.position == np.array(policy)
        value = (clicks * shows / lists.propensity).sum(axis=1)
        error = value.std() / np.sqrt(n)
        assert abs(value.mean() - truth) < 4 * error, policy
        assert error < 0.06 * truth  # so that the test could fail
    # Without the weights the lists tell of themselves alone.
    naive = clicks.sum(axis=1).mean()
    assert abs(naive - click_chance[place, [5, 4, 3]].sum()) > 0.1


@settings(deadline=None, max_examples=60)
@given(
    lengths=st.lists(st.integers(0, 9), min_size=1, max_size=6),
    k=st.integers(1, 12),
    share=st.sampled_from([0.0, 0.1, 0.7, 1.0]),
    seed=st.integers(0, 3),
)
def test_a_list_holds_no_item_twice_and_none_from_outside_its_pool(
    lengths: list[int], k: int, share: float, seed: int
) -> None:
    keys = [("h", f"u{row}") for row in range(len(lengths))]
    draws = Draws.of(seed, keys, k, max(lengths))
    lists = explored(np.array(lengths), k, share, draws)
    for row, length in enumerate(lengths):
        shown = lists.position[row][lists.position[row] >= 0].tolist()
        assert len(shown) == len(set(shown)) == min(k, length)
        assert all(item < length for item in shown)
        assert (lists.position[row][min(k, length) :] == -1).all()
        stays = ~lists.is_drawn[row][: len(shown)]
        assert (np.array(shown, int)[stays] == np.arange(len(shown))[stays]).all()
        logged = lists.propensity[row][: len(shown)]
        assert ((logged > 0) & (logged <= 1 + 1e-12)).all()
    if share == 0:
        assert not lists.is_drawn.any()
    if share == 1:
        assert lists.is_drawn.sum() == sum(min(k, length) for length in lengths)


def test_without_exploration_nothing_is_left_to_chance() -> None:
    lists = many(5, 3, 0.0, 4)
    assert lists.position.tolist() == [[0, 1, 2]] * 4
    assert (lists.propensity == 1).all()


def test_the_share_of_drawn_places_is_the_setting() -> None:
    n, k, share = 20_000, 4, 0.05
    drawn = many(9, k, share, n).is_drawn.mean()
    assert abs(drawn - share) < 5 * np.sqrt(share * (1 - share) / (n * k))


def test_what_is_drawn_depends_on_seed_hour_and_user_alone() -> None:
    keys = [("h1", "ann"), ("h1", "böb"), ("h2", "ann")]
    whole = Draws.of(0, keys, 3, 8)
    alone = Draws.of(0, keys[1:2], 3, 5)
    assert (alone.by_place[0] == whole.by_place[1]).all()
    assert (alone.by_item[0] == whole.by_item[1, :5]).all()
    assert (whole.by_place[0] != whole.by_place[2]).all()
    assert (Draws.of(1, keys, 3, 8).by_place != whole.by_place).all()
    # So a wider pool of others changes nobody's list.
    length = np.array([5])
    narrow = explored(length, 3, 0.9, alone)
    wide = explored(length, 3, 0.9, Draws.of(0, keys[1:2], 3, 8))
    assert (narrow.position == wide.position).all()
    assert (narrow.propensity == wide.propensity).all()
