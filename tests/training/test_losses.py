"""The sampled softmax against loops over the equation, and against the dense softmax."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from training.losses import dense_softmax_loss, sampled_softmax_loss
from training.samplers import AliasSampler

V, B = 30, 4
RNG = np.random.default_rng(11)
SCORES = RNG.normal(size=(B, V))
TARGET = np.array([3, 29, 0, 3])
Q = np.exp(SCORES.mean(axis=0))
Q /= Q.sum()


def sampled_loss(scores: Tensor, drawn: ArrayLike, q: NDArray[np.float64]) -> Tensor:
    drawn = torch.as_tensor(drawn)
    target = torch.as_tensor(TARGET)
    rows = torch.arange(B)
    return sampled_softmax_loss(
        scores[rows, target], scores[:, drawn], target, drawn, torch.as_tensor(np.log(q))[drawn]
    )


def test_dense_loss_is_the_equation() -> None:
    by_hand = [math.log(sum(math.exp(s) for s in row)) for row in SCORES]
    expected = np.mean([z - SCORES[b, TARGET[b]] for b, z in enumerate(by_hand)])
    found = dense_softmax_loss(torch.tensor(SCORES), torch.tensor(TARGET))
    assert found.item() == pytest.approx(expected)


def test_sampled_loss_is_the_equation() -> None:
    drawn = [5, 3, 3, 17, 0, 5]
    expected = 0.0
    for b, target in enumerate(TARGET):
        total = math.exp(SCORES[b, target])
        for j in drawn:
            if j != target:  # an accidental hit would count the target twice
                total += math.exp(SCORES[b, j]) / (len(drawn) * Q[j])
        expected += (math.log(total) - SCORES[b, target]) / B
    assert sampled_loss(torch.tensor(SCORES), drawn, Q).item() == pytest.approx(expected)


def test_a_draw_that_is_the_target_changes_nothing_for_it() -> None:
    scores = torch.tensor(SCORES, requires_grad=True)
    loss = sampled_loss(scores, [3, 3, 3, 3], Q)
    loss.backward()
    # Rows 0 and 3 have target 3, so their only candidate is the target: loss and gradient 0.
    assert scores.grad[[0, 3]].abs().sum() == 0
    assert scores.grad[1, 3] > 0


@pytest.mark.parametrize("q", [Q, np.full(V, 1 / V)], ids=["skewed", "uniform"])
def test_more_negatives_bring_it_to_the_dense_loss_whatever_q(q: NDArray[np.float64]) -> None:
    sampler = AliasSampler(q)
    dense = dense_softmax_loss(torch.tensor(SCORES), torch.tensor(TARGET)).item()
    errors = []
    for n in (30, 1_000, 100_000):
        rng = np.random.default_rng(1)
        losses = [sampled_loss(torch.tensor(SCORES), sampler.draw(n, rng), q) for _ in range(8)]
        errors.append(np.sqrt(np.mean([(loss.item() - dense) ** 2 for loss in losses])))
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.01 * dense


def test_without_the_correction_it_would_not_get_there() -> None:
    sampler = AliasSampler(Q)
    drawn = sampler.draw(100_000, np.random.default_rng(1))
    dense = dense_softmax_loss(torch.tensor(SCORES), torch.tensor(TARGET)).item()
    uncorrected = sampled_loss(torch.tensor(SCORES), drawn, np.full(V, 1 / V)).item()
    assert abs(uncorrected - dense) > 0.02 * dense


def test_the_gradient_is_the_dense_one_in_expectation() -> None:
    dense_scores = torch.tensor(SCORES, requires_grad=True)
    dense_softmax_loss(dense_scores, torch.tensor(TARGET)).backward()
    sampler, rng = AliasSampler(Q), np.random.default_rng(2)
    mean = torch.zeros_like(dense_scores)
    for _ in range(300):
        scores = torch.tensor(SCORES, requires_grad=True)
        sampled_loss(scores, sampler.draw(500, rng), Q).backward()
        mean += scores.grad / 300
    assert torch.allclose(mean, dense_scores.grad, atol=0.003)
    assert (mean - dense_scores.grad).norm() < 0.03 * dense_scores.grad.norm()
