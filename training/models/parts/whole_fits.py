"""When a network was last fitted from nothing, which a model keeps beside its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.array_types import Ints
from pipeline.hours import US_PER_HOUR
from training.data.reader import DataSet
from training.model_types import Tensors, WholeFit

_NAME = "whole_fit"
_GROWN = 2  # times the targets


@dataclass(frozen=True)
class NotedFit:
    """The latest fit from nothing: what it knew happened before ``as_of_us``."""

    as_of_us: int
    n_targets: int

    @classmethod
    def of(cls, data: DataSet, n_targets: int) -> NotedFit:
        """One on a data set."""
        return cls(data.manifest.as_of.index * US_PER_HOUR, n_targets)

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[Any]]) -> NotedFit | None:
        """What `tensors` gave; None of models from before it was noted."""
        if _NAME not in tensors:
            return None
        as_of_us, n_targets = tensors[_NAME].tolist()
        return cls(as_of_us, n_targets)

    def tensors(self) -> Tensors:
        """As a model keeps it."""
        numbers: Ints = np.array([self.as_of_us, self.n_targets])
        return {_NAME: numbers}

    def age_h(self, data: DataSet) -> float:
        """How much later a data set is, in hours."""
        return data.manifest.as_of.index - self.as_of_us / US_PER_HOUR

    def seen_from(self, data: DataSet, n_targets: int, anew_h: int) -> WholeFit:
        """Whether a model should be made anew on a data set with so many targets.

        ``anew_h``: after so many hours, or where the targets have doubled; 0: never.
        """
        age_h = self.age_h(data)
        return WholeFit(
            age_h,
            is_old=0 < anew_h <= age_h,
            is_outgrown=anew_h > 0 and n_targets >= _GROWN * self.n_targets,
        )
