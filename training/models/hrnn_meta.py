"""HRNN-meta: HRNN that reads whatever else is known (HRNN sections 2.2-2.3).

Steps are told the context of the coming request, type and value of the last event, and the user's
features; items are scored by a mixture of their own vectors and those of their features:

    score_j = (1 - l) * (state . item_j + bias_j) + l * (state . w(f_j) + b(f_j))    (HRNN eq. 2)

with l ~ U[0, 1] in training, so that the features must be able to stand alone, and l = 1 for items
that nothing was learned from.  log q of the hour is added as in `hrnn_trend`.  What a data set does
not have is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

from training.models.parts.trend import TrendModel, TrendParameters


@dataclass(frozen=True)
class HrnnMetaParameters(TrendParameters):
    """Everything on."""

    feedback_input: bool = True
    context_input: bool = True
    user_features: bool = True
    item_features: bool = True


class HrnnMeta(TrendModel):
    """HRNN with context, feedback, and features of users and items."""

    name: str = "hrnn_meta"
