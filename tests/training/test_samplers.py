"""Draws follow the weights, and the alias table is exact."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import chisquare

from pipeline.errors import HourglassError
from training.batching.samplers import (
    AliasSampler,
    BatchSampler,
    LocalSampler,
    Sampler,
    UniformSampler,
)

MANY = 1_183_451  # items of a full-size log


def implied(sampler: AliasSampler) -> NDArray[np.float64]:
    """The distribution that the cells of the table add up to."""
    v = len(sampler.probability)
    assert sampler._keep.min() >= 0
    assert sampler._keep.max() <= 1
    return (sampler._keep + np.bincount(sampler._alias, 1 - sampler._keep, minlength=v)) / v


@pytest.mark.parametrize(
    "weights", [[1, 1, 1], [1, 2, 3, 4], [1000, 1, 1], [0.5], list(range(1, 51))]
)
def test_draws_follow_the_weights(weights: list[float]) -> None:
    sampler = AliasSampler(np.array(weights, float))
    drawn = sampler.draw(40_000, np.random.default_rng(5))
    counts = np.bincount(drawn, minlength=len(weights))
    expected = 40_000 * np.array(weights) / np.sum(weights)
    assert len(weights) == 1 or chisquare(counts, expected).pvalue > 0.001


weight = st.one_of(
    st.floats(0, 100),
    st.integers(0, 3).map(float),  # cells that are exactly full, and exactly empty
    st.floats(0, 1.7e308),
)


@given(st.lists(weight, min_size=1, max_size=60).filter(lambda w: max(w) > 1e-300))
def test_the_table_holds_exactly_the_distribution(weights: list[float]) -> None:
    sampler = AliasSampler(np.array(weights))
    scaled = np.array(weights) / max(weights)
    assert np.abs(implied(sampler) - scaled / math.fsum(scaled)).max() < 1e-12


def loop_over_items_s(weights: NDArray[np.float64]) -> float:
    """How long Vose's method takes, an item at a time."""
    started = time.thread_time()
    left = (weights / weights.sum() * len(weights)).tolist()
    small, large = [], []
    for item, share in enumerate(left):
        (small if share < 1 else large).append(item)
    while small and large:
        giver, taker = large.pop(), small.pop()
        left[giver] += left[taker] - 1
        (small if left[giver] < 1 else large).append(giver)
    return time.thread_time() - started


BY_NIGHT = pytest.mark.nightly


@pytest.mark.parametrize(
    "weights",
    [
        pytest.param(1 / np.arange(1, MANY + 1), id="zipf"),
        pytest.param(
            np.random.default_rng(0).permutation(1 / np.arange(1, MANY + 1)),
            id="shuffled zipf",
            marks=BY_NIGHT,
        ),
        pytest.param(np.ones(MANY), id="uniform", marks=BY_NIGHT),
        pytest.param(np.where(np.arange(MANY) == 77, 1.0, 0.0), id="one hot"),
        pytest.param(
            np.where(np.arange(MANY) % 3, 0.0, np.arange(MANY)), id="with zeros", marks=BY_NIGHT
        ),
        pytest.param(np.append(np.ones(MANY - 1), 0.0), id="all but one", marks=BY_NIGHT),
    ],
)
def test_a_table_of_a_million_items_is_exact_and_quick(weights: NDArray[np.float64]) -> None:
    took_s = []
    for _ in range(3):
        started = time.thread_time()
        sampler = AliasSampler(weights)
        took_s.append(time.thread_time() - started)
    found = implied(sampler)
    assert np.abs(found - weights / weights.sum()).max() < 1e-14
    assert not found[weights == 0].any()
    assert min(took_s) < loop_over_items_s(weights) / 2  # about a tenth


def test_an_item_of_weight_zero_is_never_drawn() -> None:
    sampler = AliasSampler(np.array([0.0, 3.0, 0.0, 1.0]))
    assert set(sampler.draw(10_000, np.random.default_rng(0)).tolist()) == {1, 3}
    assert sampler.log_probability(np.array([0, 1])).tolist() == [-math.inf, math.log(0.75)]


@pytest.mark.parametrize("weights", [[], [0, 0], [1, -1], [1, np.nan], [1, np.inf]])
def test_weights_that_are_no_distribution(weights: list[float]) -> None:
    with pytest.raises(HourglassError, match="cannot sample from"):
        AliasSampler(np.array(weights, float))


def test_popularity_is_raised_to_a_power_and_unknown_items_count_once() -> None:
    sampler = AliasSampler.of_popularity(np.array([16, 0, 1]), 0.75)
    assert sampler.probability == pytest.approx([0.8, 0.1, 0.1])


EVENTS = np.array([3, 0, 3, 5, 3, 0])
FREQUENCY = np.array([0.5, 0.1, 0.0, 0.2, 0.1, 0.1])
SAMPLERS: dict[str, Sampler] = {
    "uniform": UniformSampler(6),
    "alias": AliasSampler(np.array([1.0, 2.0, 3.0])),
    "batch": BatchSampler(EVENTS, FREQUENCY),
    "local": LocalSampler(EVENTS),
}


@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)
def test_equal_generators_draw_equally(sampler: Sampler) -> None:
    first = sampler.draw(100, np.random.default_rng(7))
    assert first.shape == (100,)
    assert np.array_equal(first, sampler.draw(100, np.random.default_rng(7)))
    assert not np.array_equal(first, sampler.draw(100, np.random.default_rng(8)))


@pytest.mark.parametrize("name", ["uniform", "alias", "local"])
def test_draws_are_as_probable_as_is_said(name: str) -> None:
    sampler = SAMPLERS[name]
    counts = np.bincount(sampler.draw(30_000, np.random.default_rng(2)))
    items = np.flatnonzero(counts)
    said = np.exp(sampler.log_probability(items))
    assert said.sum() == pytest.approx(1)
    assert chisquare(counts[items], 30_000 * said).pvalue > 0.001


def test_a_batch_is_its_own_negatives_each_target_once_a_round() -> None:
    sampler = BatchSampler(EVENTS, FREQUENCY)
    rng = np.random.default_rng(0)
    assert sorted(sampler.draw(6, rng)) == sorted(EVENTS)
    assert sorted(sampler.draw(12, rng)) == sorted([*EVENTS, *EVENTS])
    assert sampler.log_probability(np.array([0, 3])) == pytest.approx(np.log([0.5, 0.2]))


def test_over_many_batches_the_frequency_is_what_a_draw_follows() -> None:
    """So that 1 / (n q_j) per draw makes every item count once, its own row left out."""
    rng = np.random.default_rng(3)
    n, batches = 10, 4_000
    items = AliasSampler(FREQUENCY)
    counted = np.zeros(len(FREQUENCY))
    for _ in range(batches):
        sampler = BatchSampler(items.draw(n, rng), FREQUENCY)
        drawn = sampler.draw(n, rng)
        np.add.at(counted, drawn, 1 / (n * np.exp(sampler.log_probability(drawn))) / batches)
    assert counted[FREQUENCY > 0] == pytest.approx(np.ones(5), abs=0.05)


def test_local_draws_know_only_the_batch() -> None:
    sampler = LocalSampler(EVENTS)
    found = np.exp(sampler.log_probability(np.arange(8)))
    assert found.tolist() == pytest.approx([2 / 6, 0, 0, 3 / 6, 0, 1 / 6, 0, 0])
