"""Models with a trend as earlier versions stored them, read so that they score as they did then.

Three things came later: the places of items in the sessions that are compared, the notes of the
latest whole fit, before which weights that were never fitted were others, and some of the features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import HourglassError
from training.models.parts.base import take_tensor
from training.models.parts.mixture.score_features import (
    FORMER_DEFAULT_WEIGHTS,
    LATER_FEATURES,
    SIMILAR,
)
from training.models.parts.mixture.score_weights import GaussianPrior
from training.models.parts.mixture.weight_priors import STRENGTH, WeightPriors
from training.models.parts.neighbours.session_similarity import (
    PLACES,
    SESSION_TENSORS,
    Sessions,
    SimilarityRule,
)

_SIMILAR = "mixture.similar."


def similarity_rule(similar_sessions: int) -> SimilarityRule:
    """As STAN compares so many sessions."""
    return replace(
        _rule_without_places(similar_sessions),
        position_decay=1.0,
        normalised=True,
        place_decay=2.0,
    )


def _rule_without_places(similar_sessions: int) -> SimilarityRule:
    """As V-SkNN does, of models that were trained before places counted."""
    return SimilarityRule(similar_sessions)


def read_sessions(
    tensors: Mapping[str, NDArray[Any]], similar_sessions: int, n_items: int
) -> Sessions | None:
    """The sessions of a model that compares some, by the rule of its time."""
    # Trained when no sessions were asked for by default, and without any.
    if not any(name.startswith(_SIMILAR) for name in tensors):
        return None
    has_places = f"{_SIMILAR}{PLACES}" in tensors
    names = (*SESSION_TENSORS, PLACES) if has_places else SESSION_TENSORS
    rule = (
        similarity_rule(similar_sessions) if has_places else _rule_without_places(similar_sessions)
    )
    session_tensors = {name: take_tensor(tensors, f"{_SIMILAR}{name}") for name in names}
    return Sessions.from_tensors(session_tensors, n_items, rule)


def former_default_priors(features: Sequence[str]) -> tuple[GaussianPrior, GaussianPrior]:
    """What was weighed where no weights were fitted, before the latest whole fit was noted."""
    former = np.array([FORMER_DEFAULT_WEIGHTS.get(name, 0.0) for name in features])
    return (GaussianPrior.about(former, STRENGTH),) * 2


def refuse_other_features(
    name: str, stored: WeightPriors, features: Sequence[str], has_sessions: bool
) -> None:
    """Let weights pass that lack only features which came later.

    Raises:
        HourglassError: they are of other features than the parameters ask for.
    """
    lacks = [feature for feature in features if feature not in stored.features]
    has_all = len(stored.features) + len(lacks) == len(features)
    spared = {*LATER_FEATURES} if has_sessions else {*LATER_FEATURES, SIMILAR}
    if not (has_all and set(lacks) <= spared):
        raise HourglassError(
            f"{name}: its weights are of {', '.join(stored.features)}, its parameters ask for "
            f"{', '.join(features)}: train it again"
        )
