"""What every system offers, and what several of them share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from pipeline.array_types import Floats32, Ints
from pipeline.errors import HourglassError
from pipeline.hours import Hour
from training.data.reader import DataSet, Histories, Popularity, Requests
from training.model_types import Report, Tensors, WholeFit

if TYPE_CHECKING:
    from training.trainer.interface import FitOptions, ParentWeights


class Model(Protocol):
    """A recommender: fit on a data set, score all items for requests.

    ``score`` returns (n, V) float32; column j scores item j + 1.  A request's scores use only
    the user's first ``length`` events and ``now_us``.
    """

    name: ClassVar[str]

    def fit(self, data: DataSet, seed: int, report: Report) -> dict[str, float]:
        """Learn from the data set and return the final training metrics."""
        ...

    def score(self, histories: Histories, requests: Requests) -> Floats32:
        """Score every item for every request, (n, V)."""
        ...

    def tensors(self) -> Tensors:
        """Everything learned, by name."""
        ...

    def load(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Take over what another instance with equal parameters learned."""
        ...


@runtime_checkable
class FollowsTrends(Protocol):
    """A system whose popularity can be renewed without fitting again (HRNN section 3.2)."""

    def refresh(self, popularity: Popularity, as_of: Hour) -> None:
        """Replace the recent popularity; its items are numbered as in the fitted vocabulary."""
        ...


@runtime_checkable
class GradientTrained(Protocol):
    """A system whose fit can be resumed, moved to another device, or begun from a model."""

    def fit_with(
        self, data: DataSet, seed: int, report: Report, options: FitOptions
    ) -> dict[str, float]:
        """As `System.fit`, which is this with the default options."""
        ...

    def optimiser_tensors(self) -> Tensors:
        """State of the optimiser after the fit, by name; `Start` hands it to the next one."""
        ...


@runtime_checkable
class MadeAnewInTime(Protocol):
    """A system that is continued from hour to hour, and made anew now and then."""

    def whole_fit_before(self, data: DataSet, parent: ParentWeights) -> WholeFit | None:
        """The latest whole fit behind a parent, seen from a data set; None: it does not tell."""
        ...


def require_items(model_name: str, data: DataSet) -> None:
    """Refuse to fit on nothing.

    Raises:
        HourglassError: the data set has no event that may be learned from.
    """
    if not len(data.item_ids) or not data.histories.is_target.any():
        raise HourglassError(
            f"{model_name}: {data.manifest.dataset_id} holds no events to learn from: lengthen its "
            "window or lower its support thresholds"
        )


def share(events: Ints) -> Floats32:
    """Events of each item as a part of all, (V,); all zero where there are none."""
    return (events / max(1, int(events.sum()))).astype(np.float32)


def take_tensor(tensors: Mapping[str, NDArray[Any]], name: str) -> NDArray[Any]:
    """One learned tensor.

    Raises:
        HourglassError: the model does not hold it.
    """
    if name not in tensors:
        raise HourglassError(f"the model has no tensor {name!r}: train it again")
    return tensors[name]
