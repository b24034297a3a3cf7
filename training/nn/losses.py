"""Ranking losses by name, over all items or over drawn ones (ASARS eqs. 20-23, HRNN 3.1, 3.3).

Write s for the target's score and r_j for another item's, d_j = r_j - s, and w_j for the number of
items that j stands for.  Means over j are weighted by w_j, p_j is the share of w_j exp(r_j) in
their sum.  One target's loss is

    cross_entropy    log(exp(s) + sum_j w_j exp(r_j)) - s                     HRNN eq. 3
    one_against_all  log(exp(s) + sum_j w_j exp(r_j)) - reward * s            HRNN 3.3
    bpr              mean_j -log sigmoid(-d_j)                                ASARS eq. 21
    top1             mean_j (sigmoid(d_j) + sigmoid(r_j ** 2))                ASARS eq. 22
    hinge            mean_j max(d_j + 1, 0)                                   ASARS eq. 23
    bpr_max          -log(sum_j p_j sigmoid(-d_j)) + penalty * sum_j p_j r_j ** 2

(ASARS prints BPR with the difference turned round; here a target that is scored higher costs less.)
Dense, j runs over all other items and w_j = 1.  Sampled, j runs over draws, and with the weights of
`training.batching.negatives.importance_log_weight` every sum over draws has the dense sum as its
expectation: the sampled loss and its gradient tend to the dense ones as the number of draws grows.
The target itself is counted once, outside the draws, so draws that hit it must be excluded.

n targets, S draws, V items.  Half precision is raised to float32 before anything is summed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from pipeline.errors import HourglassError
from training.batching.negatives import Excluded

NEVER = -1e30  # a log weight that counts for nothing; finite, so that no row turns into NaN


class Loss(Protocol):
    """The loss of each of n targets; what to divide their sum by is the caller's choice.

    ``rewards`` (n,), 0 or more, say how good each target turned out to be.  One-against-all scales
    the score of the target with them, the others the whole loss; without them all are 1.
    """

    def dense(self, scores: Tensor, target: Tensor, rewards: Tensor | None = None) -> Tensor:
        """Losses (n,) from scores (n, V) of all items and the targets' columns (n,)."""
        ...

    def sampled(
        self,
        target_score: Tensor,
        negative_scores: Tensor,
        log_weight: Tensor | None = None,
        excluded: Excluded | None = None,
        rewards: Tensor | None = None,
    ) -> Tensor:
        """Losses (n,) from scores of the targets (n,) and of draws (n, S).

        Args:
            target_score: (n,).
            negative_scores: (n, S).
            log_weight: (S,) or (n, S) log of the number of items a draw stands for; None: one
                each, the uncorrected practice of GRU4Rec.
            excluded: draws that count for nothing.  Where none is left, the softmax losses see the
                target alone and the others are 0.
            rewards: (n,).
        """
        ...


@dataclass(frozen=True)
class SoftmaxLoss:
    """Cross-entropy, or one-against-all where rewards scale the score of the target only."""

    rewards_scale_score: bool = False

    def dense(self, scores: Tensor, target: Tensor, rewards: Tensor | None = None) -> Tensor:
        """See `Loss`."""
        scores = _summable(scores)
        losses = functional.cross_entropy(scores, target, reduction="none")  # (n,)
        if not self.rewards_scale_score or rewards is None:
            return _times(losses, rewards)
        return losses + (1 - rewards) * scores.gather(1, target[:, None])[:, 0]

    def sampled(
        self,
        target_score: Tensor,
        negative_scores: Tensor,
        log_weight: Tensor | None = None,
        excluded: Excluded | None = None,
        rewards: Tensor | None = None,
    ) -> Tensor:
        """See `Loss`."""
        score = _summable(target_score)
        total: Tensor = _LogTotal.apply(score, negative_scores, log_weight, excluded)  # type: ignore[no-untyped-call]
        if not self.rewards_scale_score or rewards is None:
            return _times(total - score, rewards)
        return total - rewards * score


class _LogTotal(torch.autograd.Function):
    """``log(exp(s) + sum_j w_j exp(r_j))``, (n,).

    Written out because this is where a step spends its time beside the matrix products: one
    buffer (n, S) for the weighted scores, one for their softmax, which is also the gradient.
    """

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - PyTorch gives it no type
        target_score: Tensor,
        negative_scores: Tensor,
        log_weight: Tensor | None,
        excluded: Excluded | None,
    ) -> Tensor:
        exponent = weighted(_summable(negative_scores), log_weight, excluded)  # (n, S)
        share = torch.softmax(exponent, dim=1)
        # The largest share is at least 1 / S, so its logarithm is safe.
        log_sum = exponent.amax(dim=1) - share.amax(dim=1).log()  # (n,)
        total = torch.logaddexp(log_sum, target_score)
        ctx.save_for_backward(share, log_sum - total, target_score - total)
        ctx.dtype = negative_scores.dtype
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:  # noqa: ANN401
        share, log_negatives, log_target = ctx.saved_tensors
        by_negatives = share * (grad * log_negatives.exp())[:, None]  # (n, S)
        return grad * log_target.exp(), by_negatives.to(ctx.dtype), None, None


Compare = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class PairwiseLoss:
    """A loss that compares the target with every other item.

    ``compare`` takes target scores (n, 1), negative scores (n, S) and log weights (S,) or (n, S)
    and gives losses (n,).
    """

    compare: Compare = field(repr=False)

    def dense(self, scores: Tensor, target: Tensor, rewards: Tensor | None = None) -> Tensor:
        """See `Loss`."""
        own = (torch.arange(len(target), device=target.device), target)
        return self.sampled(scores[own], scores, None, own, rewards)

    def sampled(
        self,
        target_score: Tensor,
        negative_scores: Tensor,
        log_weight: Tensor | None = None,
        excluded: Excluded | None = None,
        rewards: Tensor | None = None,
    ) -> Tensor:
        """See `Loss`."""
        target, negative = _summable(target_score)[:, None], _summable(negative_scores)
        if log_weight is None:
            log_weight = negative.new_zeros(negative.shape[1])
        if excluded is None:
            log_weight = log_weight.to(negative.dtype)
            return _times(self.compare(target, negative, log_weight), rewards)
        log_weight = weighted(negative.new_zeros(1).expand_as(negative), log_weight, excluded)
        some_left = log_weight.amax(dim=1) > NEVER / 2  # (n,)
        losses = self.compare(target, negative, log_weight)
        return _times(torch.where(some_left, losses, 0.0), rewards)


def _bpr(target: Tensor, negative: Tensor, log_weight: Tensor) -> Tensor:
    return _mean(functional.softplus(negative - target), log_weight)


def _top1(target: Tensor, negative: Tensor, log_weight: Tensor) -> Tensor:
    beaten, large = torch.sigmoid(negative - target), torch.sigmoid(negative.square())
    return _mean(beaten + large, log_weight)


def _hinge(target: Tensor, negative: Tensor, log_weight: Tensor) -> Tensor:
    return _mean(functional.relu(negative - target + 1), log_weight)


def _mean(values: Tensor, log_weight: Tensor) -> Tensor:
    """Means (n,) of values (n, S) with weights (S,) or (n, S)."""
    return (values * torch.softmax(log_weight, dim=-1)).sum(dim=1)


@dataclass(frozen=True)
class _BprMax:
    """BPR against the highest scores, by a soft maximum of them (GRU4Rec)."""

    score_penalty: float

    def __call__(self, target: Tensor, negative: Tensor, log_weight: Tensor) -> Tensor:
        log_share = torch.log_softmax(negative + log_weight, dim=1)  # (n, S)
        log_wins = torch.logsumexp(log_share + functional.logsigmoid(target - negative), dim=1)
        large = (log_share.exp() * negative.square()).sum(dim=1)
        return self.score_penalty * large - log_wins


_LOSSES: dict[str, Callable[[float], Loss]] = {
    "cross_entropy": lambda _: SoftmaxLoss(),
    "bpr": lambda _: PairwiseLoss(_bpr),
    "top1": lambda _: PairwiseLoss(_top1),
    "hinge": lambda _: PairwiseLoss(_hinge),
    "bpr_max": lambda score_penalty: PairwiseLoss(_BprMax(score_penalty)),
    "one_against_all": lambda _: SoftmaxLoss(rewards_scale_score=True),
}
LOSS_NAMES = tuple(_LOSSES)


def loss_named(name: str, score_penalty: float = 1.0) -> Loss:
    """The loss of that name; ``score_penalty`` is what bpr_max charges for large scores.

    Raises:
        HourglassError: there is no such loss, or the penalty is negative or no number.
    """
    if name not in _LOSSES:
        raise HourglassError(f"there is no loss {name!r}: choose one of {', '.join(LOSS_NAMES)}")
    if not 0 <= score_penalty < math.inf:
        raise HourglassError(f"score_penalty is {score_penalty}: it must be a number, 0 or more")
    return _LOSSES[name](score_penalty)


def weighted(scores: Tensor, log_weight: Tensor | None, excluded: Excluded | None) -> Tensor:
    """``scores + log_weight`` (n, S) in a tensor of its own, next to nothing where excluded."""
    if log_weight is None:
        result = scores.clone() if excluded is not None else scores
    else:
        result = scores + log_weight.to(scores.dtype)
    if isinstance(excluded, Tensor):
        return result.masked_fill_(excluded, NEVER)
    if excluded is not None:
        result.index_put_(excluded, result.new_tensor(NEVER))
    return result


def _summable(scores: Tensor) -> Tensor:
    """The same scores in a type whose sums over thousands of items mean something."""
    return scores.float() if scores.dtype in (torch.float16, torch.bfloat16) else scores


def _times(losses: Tensor, rewards: Tensor | None) -> Tensor:
    return losses if rewards is None else losses * rewards
