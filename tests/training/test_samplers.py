"""Draws follow the weights."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from pipeline.errors import HourglassError
from training.samplers import AliasSampler


@pytest.mark.parametrize(
    "weights", [[1, 1, 1], [1, 2, 3, 4], [1000, 1, 1], [0.5], list(range(1, 51))]
)
def test_draws_follow_the_weights(weights: list[float]) -> None:
    sampler = AliasSampler(np.array(weights, float))
    drawn = sampler.draw(40_000, np.random.default_rng(5))
    counts = np.bincount(drawn, minlength=len(weights))
    expected = 40_000 * np.array(weights) / np.sum(weights)
    assert len(weights) == 1 or chisquare(counts, expected).pvalue > 0.001


@given(st.lists(st.floats(0, 100), min_size=1, max_size=40).filter(lambda w: sum(w) > 1e-6))
def test_the_table_holds_exactly_the_distribution(weights: list[float]) -> None:
    sampler = AliasSampler(np.array(weights))
    chance = np.zeros(len(weights))
    for cell, (keep, other) in enumerate(zip(sampler._keep, sampler._alias, strict=True)):
        chance[cell] += keep / len(weights)
        chance[other] += (1 - keep) / len(weights)
    assert np.allclose(chance, np.array(weights) / sum(weights), atol=1e-9)


def test_an_item_of_weight_zero_is_never_drawn() -> None:
    drawn = AliasSampler(np.array([0.0, 3.0, 0.0, 1.0])).draw(10_000, np.random.default_rng(0))
    assert set(drawn.tolist()) == {1, 3}


def test_equal_generators_draw_equally() -> None:
    sampler = AliasSampler(np.array([1.0, 2.0, 3.0]))
    first = sampler.draw(100, np.random.default_rng(7))
    assert np.array_equal(first, sampler.draw(100, np.random.default_rng(7)))


@pytest.mark.parametrize("weights", [[0, 0], [1, -1], [1, np.nan], [1, np.inf]])
def test_weights_that_are_no_distribution(weights: list[float]) -> None:
    with pytest.raises(HourglassError, match="cannot sample from weights"):
        AliasSampler(np.array(weights, float))
