"""What is believed of the weights of terms, kept under the names of the terms.

B = 2 beliefs, of requests within a session and of those that begin one; K terms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import HourglassError
from training.model_types import Tensors
from training.models.parts.base import take_tensor
from training.models.parts.mixture.score_features import (
    DEFAULT_WEIGHTS,
    LATER_FEATURES,
    SCORE_FEATURES,
    SIMILAR,
)
from training.models.parts.mixture.score_weights import GaussianPrior, priors_as_tensors

STRENGTH = 10.0  # of the belief before any fit; terms are logarithms, so weights are below 1
# Models from before the names were kept tell their terms by how many they are.
_FIRST_FEATURES = tuple(name for name in SCORE_FEATURES if name not in (*LATER_FEATURES, SIMILAR))
_UNNAMED = {11: _FIRST_FEATURES, 10: _FIRST_FEATURES[1:], 2: _FIRST_FEATURES[:2]}


@dataclass(frozen=True)
class WeightPriors:
    """Both beliefs, and the terms that they are about."""

    features: tuple[str, ...]
    both: tuple[GaussianPrior, GaussianPrior]

    def about(self, features: Sequence[str]) -> tuple[GaussianPrior, GaussianPrior]:
        """The same of other terms: what is said of those that stay, the first guess of new ones."""
        if tuple(features) == self.features:
            return self.both
        within, beginning = (self._of_prior(belief, features) for belief in self.both)
        return within, beginning

    def _of_prior(self, prior: GaussianPrior, features: Sequence[str]) -> GaussianPrior:
        stays = [name for name in features if name in self.features]
        of, to = ([names.index(name) for name in stays] for names in (self.features, features))
        own = GaussianPrior.about(
            np.array([DEFAULT_WEIGHTS.get(name, 0.0) for name in features]), STRENGTH
        )
        mean, precision = own.mean.copy(), own.precision.copy()
        mean[to] = prior.mean[of]
        # Whatever the weights of the terms are that go: the marginal, not the conditional.
        precision[np.ix_(to, to)] = np.linalg.inv(np.linalg.inv(prior.precision)[np.ix_(of, of)])
        return GaussianPrior(mean, precision)

    def tensors(self) -> Tensors:
        """Means (B, K), precisions (B, K, K), and the names as the bytes of their lines."""
        names = np.frombuffer("\n".join(self.features).encode(), np.uint8).copy()
        return {**priors_as_tensors(self.both), "terms": names}

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, NDArray[Any]], system: str, prefix: str
    ) -> WeightPriors | None:
        """What `tensors` gave, each name after ``prefix``; None where nothing was fitted.

        Raises:
            HourglassError: terms and weights do not agree.
        """
        if f"{prefix}weight" not in tensors:
            return None
        means, precisions = (
            take_tensor(tensors, prefix + name) for name in ("weight", "precision")
        )
        terms = _UNNAMED.get(means.shape[-1], ())
        if f"{prefix}terms" in tensors:
            terms = tuple(tensors[f"{prefix}terms"].tobytes().decode().split("\n"))
        if means.shape != (2, len(terms)) or not set(terms) <= set(SCORE_FEATURES):
            raise HourglassError(
                f"{system}: tensor '{prefix}weight' has shape {means.shape}, which are no weights "
                f"of {', '.join(terms) or 'known terms'}: train it again"
            )
        return cls(
            terms, (GaussianPrior(means[0], precisions[0]), GaussianPrior(means[1], precisions[1]))
        )
