"""Softmax cross-entropy over all items, and its estimate from sampled items."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

# B targets, S sampled items, V items.


def dense_softmax_loss(scores: Tensor, target: Tensor) -> Tensor:
    """Mean over targets of ``log sum_j exp(s_j) - s_target`` (HRNN eq. 3).

    ``scores`` (B, V); ``target`` (B,) columns.
    """
    return functional.cross_entropy(scores, target)


def sampled_softmax_loss(
    target_score: Tensor,
    sampled_scores: Tensor,
    target: Tensor,
    sampled: Tensor,
    log_q: Tensor,
) -> Tensor:
    """The dense loss with its sum estimated from S draws out of q (HRNN section 3.1).

    A draw j stands for ``1 / (S q_j)`` items (HRNN eq. 4), so ``log(S q_j)`` is subtracted from
    its score.  The target is always counted, with weight 1; draws that hit it are masked, or it
    would count twice.  The estimated sum then has the dense sum as its expectation, and the loss
    tends to the dense loss as S grows.

    Args:
        target_score: (B,) scores of the targets.
        sampled_scores: (B, S) scores of the draws, the same S items for every target.
        target: (B,) item numbers.
        sampled: (S,) item numbers, drawn from q with repetition.
        log_q: (S,) log-probabilities of the draws.
    """
    log_count = log_q + math.log(len(sampled))
    hit = (sampled == target[:, None]).nonzero(as_tuple=True)
    corrected = (sampled_scores - log_count).index_put(hit, log_q.new_tensor(-math.inf))  # (B, S)
    all_scores = torch.cat([target_score[:, None], corrected], dim=1)  # (B, 1 + S)
    return functional.cross_entropy(all_scores, torch.zeros_like(target))
