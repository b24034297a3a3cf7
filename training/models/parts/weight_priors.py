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
from training.models.parts.score_features import AGREED, TERMS
from training.models.parts.score_weights import Belief, priors_as_tensors

STRENGTH = 10.0  # of the belief before any fit; terms are logarithms, so weights are below 1
# Models from before the names were kept tell their terms by how many they are.
_UNNAMED = {11: TERMS[:11], 10: TERMS[1:11], 2: TERMS[:2]}


@dataclass(frozen=True)
class WeightPriors:
    """Both beliefs, and the terms that they are about."""

    terms: tuple[str, ...]
    both: tuple[Belief, Belief]

    def about(self, terms: Sequence[str]) -> tuple[Belief, Belief]:
        """The same of other terms: what is said of those that stay, the first guess of new ones."""
        if tuple(terms) == self.terms:
            return self.both
        within, beginning = (self._about(belief, terms) for belief in self.both)
        return within, beginning

    def _about(self, belief: Belief, terms: Sequence[str]) -> Belief:
        stays = [name for name in terms if name in self.terms]
        of, to = ([names.index(name) for name in stays] for names in (self.terms, terms))
        own = Belief.about(np.array([AGREED.get(name, 0.0) for name in terms]), STRENGTH)
        mean, precision = own.mean.copy(), own.precision.copy()
        mean[to] = belief.mean[of]
        # Whatever the weights of the terms are that go: the marginal, not the conditional.
        precision[np.ix_(to, to)] = np.linalg.inv(np.linalg.inv(belief.precision)[np.ix_(of, of)])
        return Belief(mean, precision)

    def tensors(self) -> Tensors:
        """Means (B, K), precisions (B, K, K), and the names as the bytes of their lines."""
        names = np.frombuffer("\n".join(self.terms).encode(), np.uint8).copy()
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
        if means.shape != (2, len(terms)) or not set(terms) <= set(TERMS):
            raise HourglassError(
                f"{system}: tensor '{prefix}weight' has shape {means.shape}, which are no weights "
                f"of {', '.join(terms) or 'known terms'}: train it again"
            )
        return cls(terms, (Belief(means[0], precisions[0]), Belief(means[1], precisions[1])))
