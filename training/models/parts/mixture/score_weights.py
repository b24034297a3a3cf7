"""How much each kind of evidence counts: weights fitted on events that were not learned from.

A request's answer is a softmax over candidates of the weighted sum of their K terms.  The weights
have a normal prior, a belief about them; the fit finds the most probable ones by Newton's method,
and the curvature there makes it a new belief, which the next hour's model can start from.

n requests, C candidates of each, S shared ones, V items.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.array_types import Floats, Floats32, Ints
from training.batching.samplers import AliasSampler

_NEVER = -1e30  # a log weight that counts for nothing; finite, so that no row turns into NaN
_MOST_STEPS, _MOST_HALVINGS = 20, 12
_ENOUGH = 1e-5  # less gained a request ends the fit


@dataclass(frozen=True)
class GaussianPrior:
    """A normal distribution of weights: its mean (K,) and precision (K, K)."""

    mean: Floats
    precision: Floats

    @classmethod
    def about(cls, mean: Floats, strength: float) -> GaussianPrior:
        """Each weight by itself lies about ``mean`` with variance 1 / ``strength``."""
        return cls(np.asarray(mean, np.float64), strength * np.eye(len(mean)))

    def decayed(self, into: GaussianPrior, share: float) -> GaussianPrior:
        """The same mean, held with ``share`` of this precision and the rest of another's."""
        return GaussianPrior(self.mean, share * self.precision + (1 - share) * into.precision)


def priors_as_tensors(priors: Sequence[GaussianPrior]) -> dict[str, Floats]:
    """Means (B, K) and precisions (B, K, K) of B beliefs."""
    return {
        "weight": np.stack([belief.mean for belief in priors]),
        "precision": np.stack([belief.precision for belief in priors]),
    }


@dataclass(frozen=True)
class Shared:
    """Columns that stand for all items: each of them, or ``log_weight`` of how many."""

    column: Ints  # (S,) 0-based, ascending
    log_weight: Floats  # (S,)

    @classmethod
    def of(cls, item_events: Ints, most: int, rng: np.random.Generator) -> Shared:
        """The items with events (V,), or ``most`` draws by frequency where there are more."""
        with_events = np.flatnonzero(item_events > 0)
        if len(with_events) <= most:
            return cls(with_events, np.zeros(len(with_events)))
        sampler = AliasSampler.of_popularity(item_events[with_events], 0.75)
        drawn, times = np.unique(sampler.draw(most, rng), return_counts=True)
        log_q = sampler.log_probability(drawn)
        return cls(with_events[drawn], np.log(times) - np.log(most) - log_q)


@dataclass(frozen=True)
class Choices:
    """Terms of the candidates of requests; candidate 0 is what was chosen."""

    features: Floats32  # (n, C, K)
    log_weight: Floats  # (n, C) log of how many items a candidate stands for

    def take(self, rows: slice) -> Choices:
        """Those of some requests."""
        return Choices(self.features[rows], self.log_weight[rows])

    @classmethod
    def joined(cls, several: Sequence[Choices]) -> Choices:
        """All requests of one or more, with as many candidates each: some count for nothing."""
        most = max(choices.features.shape[1] for choices in several)
        missing = [most - choices.features.shape[1] for choices in several]
        return cls(
            np.concatenate(
                [
                    np.pad(choices.features, ((0, 0), (0, more), (0, 0)))
                    for choices, more in zip(several, missing, strict=True)
                ]
            ),
            np.concatenate(
                [
                    np.pad(choices.log_weight, ((0, 0), (0, more)), constant_values=_NEVER)
                    for choices, more in zip(several, missing, strict=True)
                ]
            ),
        )


def log_weights(shared: Shared, target: Ints, left_out: Ints) -> Floats:
    """Log weights (n, 1 + S) of a target (n,) and the shared columns.

    The target stands for itself, once; a column ``left_out`` (n,), -1 for none, for nothing.
    """
    weights = np.zeros((len(target), 1 + len(shared.column)))
    weights[:, 1:] = shared.log_weight
    for column in (target, left_out):
        weights[:, 1:][shared.column[None, :] == column[:, None]] = _NEVER
    return weights


def fit_weights(choices: Choices, prior: GaussianPrior) -> GaussianPrior:
    """The most probable weights, and how sure they are.

    minimise  sum_n (log sum_c exp(log_weight_nc + w . x_nc) - w . x_n0)
              + (w - mean)' precision (w - mean) / 2
    """
    weights = prior.mean.copy()
    cost, shares = _cost(choices, prior, weights)
    n = max(1, len(choices.features))
    for _ in range(_MOST_STEPS):
        gradient, curvature = _slopes(choices, prior, weights, shares)
        step = np.linalg.solve(curvature, gradient)
        for _ in range(_MOST_HALVINGS):
            lower, at_lower = _cost(choices, prior, weights - step)
            if lower < cost:
                break
            step /= 2
        else:
            break
        gained = cost - lower
        weights, cost, shares = weights - step, lower, at_lower
        if gained < _ENOUGH * n:
            break
    return GaussianPrior(weights, _slopes(choices, prior, weights, shares)[1])


def _cost(choices: Choices, prior: GaussianPrior, weights: Floats) -> tuple[float, Floats]:
    """The cost, and each candidate's share of the softmax (n, C)."""
    scores = choices.features @ weights.astype(np.float32) + choices.log_weight
    top = scores.max(axis=1, keepdims=True, initial=_NEVER)
    shares = np.exp(scores - top)
    total = shares.sum(axis=1, keepdims=True)
    losses = np.log(total[:, 0]) + top[:, 0] - scores[:, 0]
    away = weights - prior.mean
    return float(losses.sum() + away @ prior.precision @ away / 2), shares / total


def _slopes(
    choices: Choices, prior: GaussianPrior, weights: Floats, shares: Floats
) -> tuple[Floats, Floats]:
    gradient = prior.precision @ (weights - prior.mean)
    curvature = prior.precision.copy()
    for terms, share in zip(choices.features, shares.astype(np.float32), strict=True):
        mean = share @ terms  # (K,)
        gradient += mean - terms[0]
        curvature += (terms * share[:, None]).T @ terms - np.outer(mean, mean)
    return gradient, curvature
