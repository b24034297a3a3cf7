"""Losses against loops over their equations, sampled against dense, and at their limits."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.errors import HourglassError
from training.batching.negatives import accidental_hits, importance_log_weight
from training.batching.samplers import AliasSampler
from training.nn.losses import LOSS_NAMES, loss_named

V, B = 30, 4
PENALTY = 0.3
RNG = np.random.default_rng(11)
SCORES = torch.tensor(RNG.normal(size=(B, V)))
TARGET = torch.tensor([3, 29, 0, 3])
REWARDS = torch.tensor([1.0, 0.0, 0.25, 0.7], dtype=torch.float64)
SKEWED = np.exp(SCORES.numpy().mean(axis=0))
every_loss = pytest.mark.parametrize("name", LOSS_NAMES)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def by_hand(
    name: str, s: float, others: Sequence[tuple[float, float]], reward: float | None = None
) -> float:
    """The loss of one target with score s; ``others``: (score, how many items it stands for)."""
    if name in {"cross_entropy", "one_against_all"}:
        total = math.exp(s)
        for r, w in others:
            total += w * math.exp(r)
        scale = reward if reward is not None and name == "one_against_all" else 1.0
        loss = math.log(total) - scale * s
    elif not others:
        loss = 0.0
    elif name == "bpr_max":
        whole = sum(w * math.exp(r) for r, w in others)
        wins = sum(w * math.exp(r) / whole * sigmoid(s - r) for r, w in others)
        large = sum(w * math.exp(r) / whole * r**2 for r, w in others)
        loss = -math.log(wins) + PENALTY * large
    else:
        cost: dict[str, Callable[[float], float]] = {
            "bpr": lambda r: -math.log(sigmoid(s - r)),
            "top1": lambda r: sigmoid(r - s) + sigmoid(r * r),
            "hinge": lambda r: max(r - s + 1, 0.0),
        }
        loss = sum(w * cost[name](r) for r, w in others) / sum(w for _, w in others)
    return loss if reward is None or name == "one_against_all" else reward * loss


def own_scores(scores: Tensor) -> Tensor:
    return scores[torch.arange(B), TARGET]


def sampled(name: str, scores: Tensor, drawn: Tensor, q: np.ndarray) -> Tensor:
    """Losses (B,) from drawn columns, corrected for q, without the draws that hit the target."""
    log_weight = importance_log_weight(torch.tensor(np.log(q))[drawn])
    hits = accidental_hits(TARGET, drawn)
    loss = loss_named(name, PENALTY)
    return loss.sampled(own_scores(scores), scores[:, drawn], log_weight, hits)


@every_loss
@pytest.mark.parametrize("rewards", [None, REWARDS], ids=["plain", "rewards"])
def test_the_dense_loss_is_the_equation_over_all_other_items(
    name: str, rewards: Tensor | None
) -> None:
    found = loss_named(name, PENALTY).dense(SCORES, TARGET, rewards)
    for b, target in enumerate(TARGET.tolist()):
        row = SCORES[b].tolist()
        others = [(row[j], 1.0) for j in range(V) if j != target]
        reward = None if rewards is None else float(rewards[b])
        assert found[b].item() == pytest.approx(by_hand(name, row[target], others, reward))


@every_loss
@pytest.mark.parametrize("rewards", [None, REWARDS], ids=["plain", "rewards"])
@pytest.mark.parametrize("excluded", ["nothing", "mask", "pairs"])
@pytest.mark.parametrize("weights", ["none", "shared", "own"])
def test_the_sampled_loss_is_the_equation_over_weighted_draws(
    name: str, rewards: Tensor | None, excluded: str, weights: str
) -> None:
    s = 7
    rng = np.random.default_rng(3)
    negative = torch.tensor(rng.normal(size=(B, s)))
    target_score = torch.tensor(rng.normal(size=B))
    shape = {"none": None, "shared": s, "own": (B, s)}[weights]
    log_weight = None if shape is None else torch.tensor(rng.normal(size=shape))
    mask = torch.tensor(rng.random((B, s)) < 0.3)
    left_out = {"nothing": None, "mask": mask, "pairs": mask.nonzero(as_tuple=True)}[excluded]
    loss = loss_named(name, PENALTY)
    given_scores = negative.clone()
    found = loss.sampled(target_score, negative, log_weight, left_out, rewards)
    assert torch.equal(negative, given_scores)

    weight = np.ones((B, s)) if log_weight is None else np.exp(log_weight.expand(B, s).numpy())
    for b in range(B):
        counted = [j for j in range(s) if excluded == "nothing" or not mask[b, j]]
        others = [(float(negative[b, j]), float(weight[b, j])) for j in counted]
        reward = None if rewards is None else float(rewards[b])
        expected = by_hand(name, float(target_score[b]), others, reward)
        assert found[b].item() == pytest.approx(expected)


@every_loss
@pytest.mark.parametrize("q", [SKEWED, np.ones(V)], ids=["skewed", "uniform"])
def test_more_draws_bring_the_sampled_loss_and_gradient_to_the_dense_ones(
    name: str, q: np.ndarray
) -> None:
    """Single errors shrink like 1 / sqrt(S); their mean, the bias, like 1 / S."""
    q = q / q.sum()
    sampler, rng = AliasSampler(q), np.random.default_rng(1)
    scores = SCORES.clone().requires_grad_()
    dense = loss_named(name, PENALTY).dense(scores, TARGET)
    (dense_grad,) = torch.autograd.grad(dense.sum(), scores)
    error, bias, grad_error, grad_bias = [], [], [], []
    for n_draws in (20, 200, 20_000):
        off, grad_off = [], []
        for _ in range(40):
            losses = sampled(name, scores, torch.tensor(sampler.draw(n_draws, rng)), q)
            (grad,) = torch.autograd.grad(losses.sum(), scores)
            off.append((losses - dense).detach())
            grad_off.append(grad - dense_grad)
        for shift, rms, mean in (
            (torch.stack(off), error, bias),
            (torch.stack(grad_off), grad_error, grad_bias),
        ):
            rms.append(shift.square().mean().sqrt().item())
            mean.append(shift.mean(dim=0).square().mean().sqrt().item())

    size, grad_size = dense.square().mean().sqrt(), dense_grad.square().mean().sqrt()
    for now, before in zip(error[1:] + grad_error[1:], error[:-1] + grad_error[:-1], strict=True):
        assert now < 0.6 * before
    assert error[-1] < 0.01 * size
    assert bias[-1] < 0.003 * size
    assert grad_error[-1] < 0.05 * grad_size
    assert grad_bias[-1] < 0.015 * grad_size


@every_loss
def test_uncorrected_draws_lead_elsewhere(name: str) -> None:
    q = SKEWED / SKEWED.sum()
    drawn = torch.tensor(AliasSampler(q).draw(50_000, np.random.default_rng(1)))
    dense = loss_named(name, PENALTY).dense(SCORES, TARGET)
    plain = sampled(name, SCORES, drawn, np.full(V, 1 / V))
    assert (plain - dense).abs().mean() > 0.01 * dense.abs().mean()


@every_loss
def test_gradients_are_those_of_the_values(name: str) -> None:
    rng = np.random.default_rng(8)
    target_score = torch.tensor(rng.normal(size=B), requires_grad=True)
    negative = torch.tensor(rng.normal(size=(B, 5)), requires_grad=True)
    log_weight = torch.tensor(rng.normal(size=5))
    mask = torch.tensor(rng.random((B, 5)) < 0.4)
    mask[2] = True
    loss = loss_named(name, PENALTY)
    for excluded in (None, mask, mask.nonzero(as_tuple=True)):
        assert torch.autograd.gradcheck(
            lambda s, r, e=excluded: loss.sampled(s, r, log_weight, e, REWARDS),
            (target_score, negative),
        )
    dense_scores = SCORES[:, :6].clone().requires_grad_()
    columns = torch.tensor([3, 5, 0, 3])
    assert torch.autograd.gradcheck(lambda s: loss.dense(s, columns, REWARDS), dense_scores)


@every_loss
@pytest.mark.parametrize("as_pairs", [False, True])
def test_a_target_without_any_negative_left_costs_nothing_and_teaches_nothing(
    name: str, as_pairs: bool
) -> None:
    scores = SCORES.clone().requires_grad_()
    mask = torch.zeros(B, V, dtype=torch.bool)
    mask[1] = True
    losses = loss_named(name, PENALTY).sampled(
        own_scores(scores), scores, None, mask.nonzero(as_tuple=True) if as_pairs else mask
    )
    losses.sum().backward()
    assert losses[1].item() == 0
    assert scores.grad[1].abs().sum() == 0
    assert scores.grad.isfinite().all()
    assert (losses[[0, 2, 3]] > 0).all()


@every_loss
def test_excluded_draws_get_no_gradient_and_the_targets_score_still_does(name: str) -> None:
    """A user's history may hold the target: it stays the target, it is just no negative."""
    target_score = torch.tensor([0.5], requires_grad=True)
    negative = torch.tensor([[0.5, 1.0, 0.2]], requires_grad=True)  # column 0 is the target
    history = torch.tensor([[True, False, False]])
    loss_named(name).sampled(target_score, negative, None, history).sum().backward()
    assert target_score.grad[0] < 0
    assert negative.grad[0, 0] == 0
    assert (negative.grad[0, 1:] != 0).all()


@every_loss
@pytest.mark.parametrize("gap", [-200.0, 200.0])
def test_far_apart_scores_stay_finite(name: str, gap: float) -> None:
    target_score = torch.zeros(2, requires_grad=True)
    negative = torch.full((2, 3), gap).requires_grad_()
    log_weight = torch.tensor([-40.0, 0.0, 40.0])
    losses = loss_named(name, 0.0).sampled(target_score, negative, log_weight)
    losses.sum().backward()
    for value in (losses, target_score.grad, negative.grad):
        assert value.isfinite().all()
    if gap > 0 and name != "top1":  # not flat where it is most wrong
        assert losses[0] > 150
        assert target_score.grad[0] == pytest.approx(-1)


@every_loss
def test_half_precision_scores_are_summed_in_single_precision(name: str) -> None:
    rng = np.random.default_rng(4)
    negative = torch.tensor(rng.normal(size=(3, 4096)), dtype=torch.bfloat16, requires_grad=True)
    target_score = torch.tensor(rng.normal(size=3), dtype=torch.bfloat16)
    log_weight = torch.tensor(rng.normal(size=4096))
    loss = loss_named(name)
    found = loss.sampled(target_score, negative, log_weight)
    exact = loss.sampled(target_score.double(), negative.detach().double(), log_weight)
    assert found.dtype == torch.float32
    assert torch.allclose(found.double(), exact, rtol=1e-5)
    found.sum().backward()
    assert negative.grad.dtype == torch.bfloat16


def test_one_against_all_without_rewards_is_cross_entropy() -> None:
    one, other = loss_named("one_against_all"), loss_named("cross_entropy")
    assert torch.equal(one.dense(SCORES, TARGET), other.dense(SCORES, TARGET))


def test_a_reward_below_the_average_pushes_an_item_down() -> None:
    """HRNN 3.3: at reward r the score settles where the item's share of clicks is r."""
    score = torch.tensor([[0.0, 0.0]], requires_grad=True)  # the target's share is 1/2
    loss = loss_named("one_against_all")
    for reward, direction in ((0.8, -1), (0.5, 0), (0.2, 1)):
        losses = loss.dense(score, torch.tensor([0]), torch.tensor([reward]))
        (grad,) = torch.autograd.grad(losses.sum(), score)
        assert np.sign(round(grad[0, 0].item(), 6)) == direction


def test_an_unknown_loss_is_refused_with_the_list() -> None:
    with pytest.raises(HourglassError, match=r"no loss 'bprmax'.*hinge, bpr_max"):
        loss_named("bprmax")
    with pytest.raises(HourglassError, match="score_penalty is -1"):
        loss_named("bpr_max", -1.0)
