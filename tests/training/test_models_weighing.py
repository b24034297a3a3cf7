"""Weights of evidence against a general optimiser, and what sampling and beliefs promise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from training.models.parts.mixture.score_weights import (
    Choices,
    GaussianPrior,
    Shared,
    fit_weights,
    log_weights,
)

K = 3


def some_choices(seed: int, n: int = 40, candidates: int = 7) -> Choices:
    rng = np.random.default_rng(seed)
    terms = rng.normal(size=(n, candidates, K)).astype(np.float32)
    return Choices(terms, np.log(rng.integers(1, 5, size=(n, candidates)).astype(float)))


def slow_cost(weights: np.ndarray, choices: Choices, prior: GaussianPrior) -> float:
    cost = (weights - prior.mean) @ prior.precision @ (weights - prior.mean) / 2
    for terms, log_weight in zip(choices.features, choices.log_weight, strict=True):
        scores = terms @ weights
        cost += np.log(np.exp(scores + log_weight).sum()) - scores[0] - log_weight[0]
    return float(cost)


@pytest.mark.parametrize("seed", range(4))
def test_the_weights_are_the_most_probable_ones(seed: int) -> None:
    choices = some_choices(seed)
    prior = GaussianPrior.about(np.array([1.0, 0.0, -1.0]), 2.0)
    found = fit_weights(choices, prior)
    best = minimize(slow_cost, prior.mean, args=(choices, prior), tol=1e-10)
    assert np.allclose(found.mean, best.x, atol=2e-3)
    step = 1e-3 * np.eye(K)
    curvature = [
        [
            sum(
                i * j * slow_cost(found.mean + i * a + j * b, choices, prior)
                for i in (-1, 1)
                for j in (-1, 1)
            )
            / 4e-6
            for a in step
        ]
        for b in step
    ]
    assert np.allclose(found.precision, curvature, rtol=2e-2, atol=0.05)


def test_without_requests_the_belief_stays() -> None:
    prior = GaussianPrior.about(np.array([1.0, 0.5, 0.0]), 2.0)
    found = fit_weights(some_choices(0, n=0), prior)
    assert np.array_equal(found.mean, prior.mean)
    assert np.allclose(found.precision, prior.precision)


def test_two_hours_one_after_the_other_are_about_as_good_as_both_together() -> None:
    first, second = some_choices(1), some_choices(2)
    prior = GaussianPrior.about(np.zeros(K), 5.0)
    both = Choices(
        np.concatenate([first.features, second.features]),
        np.concatenate([first.log_weight, second.log_weight]),
    )
    together = fit_weights(both, prior).mean
    after = fit_weights(second, fit_weights(first, prior)).mean
    assert (
        np.abs(after - together).max()
        < 0.05
        < np.abs(fit_weights(second, prior).mean - together).max()
    )


def test_requests_with_fewer_candidates_may_join_others() -> None:
    few, many = some_choices(1, candidates=4), some_choices(2)
    prior = GaussianPrior.about(np.zeros(K), 2.0)

    def cost(weights: np.ndarray) -> float:
        nothing = GaussianPrior(prior.mean, np.zeros((K, K)))
        return slow_cost(weights, few, nothing) + slow_cost(weights, many, prior)

    joined = Choices.joined([few, many])
    assert joined.features.shape == (80, 7, K)
    best = minimize(cost, prior.mean, tol=1e-10)
    assert np.allclose(fit_weights(joined, prior).mean, best.x, atol=2e-3)


def test_a_belief_fades_into_another() -> None:
    strong, weak = GaussianPrior.about(np.ones(2), 8.0), GaussianPrior.about(np.zeros(2), 2.0)
    faded = strong.decayed(weak, 0.5)
    assert np.array_equal(faded.mean, [1.0, 1.0])
    assert np.array_equal(faded.precision, 5.0 * np.eye(2))


def test_few_items_are_all_there_and_unknown_ones_are_not() -> None:
    shared = Shared.of(np.array([3, 0, 1, 7]), 10, np.random.default_rng(0))
    assert shared.column.tolist() == [0, 2, 3]
    assert not shared.log_weight.any()


def test_draws_stand_for_all_known_items() -> None:
    """The weighted sum over draws has the sum over all items as its expectation."""
    rng = np.random.default_rng(0)
    events = rng.integers(0, 20, size=200)
    value = rng.uniform(size=200)
    sums = []
    for seed in range(300):
        shared = Shared.of(events, 40, np.random.default_rng(seed))
        assert (events[shared.column] > 0).all()
        assert len(np.unique(shared.column)) == len(shared.column) <= 40
        sums.append((np.exp(shared.log_weight) * value[shared.column]).sum())
    error = np.std(sums) / np.sqrt(len(sums))
    assert abs(np.mean(sums) - value[events > 0].sum()) < 4 * error


def test_the_target_counts_once_and_the_item_just_seen_not_at_all() -> None:
    shared = Shared(np.array([2, 5, 6]), np.array([0.5, 0.6, 0.7]))
    found = log_weights(shared, np.array([5, 4]), np.array([6, -1]))
    assert found[0].tolist() == [0.0, 0.5, -1e30, -1e30]
    assert found[1].tolist() == [0.0, 0.5, 0.6, 0.7]
