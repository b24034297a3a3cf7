"""What every system offers, and what several of them share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import HourglassError, UsageError, meant
from pipeline.hours import HOUR_S, Hour
from training.data.reader import DataSet, Histories, Popularity, Requests

if TYPE_CHECKING:
    from training.trainer.interface import FitOptions

US_PER_S = 1_000_000
US_PER_HOUR = HOUR_S * US_PER_S

P = TypeVar("P")


@dataclass(frozen=True)
class FitProgress:
    """How far a fit has come; ``loss`` is the mean of the epoch so far."""

    epoch: int  # 1 is the first
    loss: float
    events_per_s: float  # over the latest seconds
    fraction: float  # of the whole fit, 0 to 1
    seconds_left: float | None = None  # at that speed, if every epoch is run
    validation_loss: float | None = None  # of the latest epoch that was validated
    learning_rate: float | None = None  # of the next batch
    # The figure that people know, of what the validation loss is made small from: MRR, RMSE.
    figure: str | None = None
    figure_value: float | None = None


Report = Callable[[FitProgress], None]
Tensors = dict[str, NDArray[Any]]


class System(Protocol):
    """A recommender: fit on a data set, score all items for requests.

    ``score`` returns (n, V) float32; column j scores item j + 1.  A request's scores use only
    the user's first ``length`` events and ``now_us``.
    """

    name: ClassVar[str]

    def fit(self, data: DataSet, seed: int, report: Report) -> dict[str, float]:
        """Learn from the data set and return the final training metrics."""
        ...

    def score(self, histories: Histories, requests: Requests) -> NDArray[np.float32]:
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


def parse_parameters(kind: type[P], system: str, given: Mapping[str, Any]) -> P:
    """Build a parameter dataclass from a mapping, refusing unknown names and wrong types.

    Raises:
        UsageError: a name is unknown, a value has the wrong type or is out of its range.
    """
    known = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for name, value in given.items():
        if name not in known:
            names = ", ".join(sorted(known)) or "none"
            hint = meant(str(name), known)
            raise UsageError(f"{system}: unknown parameter {name!r}{hint}: it has {names}")
        wanted = type(_default_of(known[name]))
        whole_number = wanted is float and type(value) is int
        if type(value) is not wanted and not whole_number:
            raise UsageError(
                f"{system}: parameter {name} = {value!r} is not of type {wanted.__name__}"
            )
    return kind(**given)


def _default_of(field: dataclasses.Field[Any]) -> object:
    made = field.default_factory
    return field.default if made is dataclasses.MISSING else made()


def require(condition: bool, name: str, value: object, rule: str) -> None:
    """Refuse a parameter that is out of its range.

    Raises:
        UsageError: the condition does not hold.
    """
    if not condition:
        raise UsageError(f"parameter {name} = {value!r} must be {rule}")


def require_choice(name: str, value: str, known: Sequence[str]) -> None:
    """Refuse a word that is none of those that a parameter may be.

    Raises:
        UsageError: with a guess at what was meant.
    """
    require(value in known, name, value, f"one of {', '.join(known)}{meant(value, known)}")


def require_items(system: str, data: DataSet) -> None:
    """Refuse to fit on nothing.

    Raises:
        HourglassError: the data set has no event that may be learned from.
    """
    if not len(data.item_ids) or not data.histories.is_target.any():
        raise HourglassError(
            f"{system}: {data.manifest.dataset_id} holds no events to learn from: lengthen its "
            "window or lower its support thresholds"
        )


def share(events: NDArray[np.int64]) -> NDArray[np.float32]:
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
