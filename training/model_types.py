"""What models and what trains, keeps and measures them say to one another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from numpy.typing import NDArray


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


class Continuation(StrEnum):
    """What becomes of a model that has an earlier one to go on from."""

    AS_DUE = "as_due"  # it goes on, or is made anew where its parameters say that it is time
    STEP = "step"  # it goes on, however old its latest whole fit is
    ANEW = "anew"  # it is made anew, however young that is


@dataclass(frozen=True)
class WholeFit:
    """The latest fit from nothing behind a model that may be continued."""

    age_h: float  # how much later the data set is that is learned from now
    is_old: bool  # so old that the parameters ask for another one
    is_outgrown: bool  # had so few of the targets of now that they do

    @property
    def is_due(self) -> bool:
        """Whether the parameters ask for another one."""
        return self.is_old or self.is_outgrown


Report = Callable[[FitProgress], None]
Tensors = dict[str, NDArray[Any]]
