"""The recommender systems by name; each lives in one file with its parameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pipeline.errors import UsageError
from training.parameters import parse_parameters

if TYPE_CHECKING:
    from training.models.parts.base import Model

_CLASSES = {
    "random": "Random",
    "pop": "Pop",
    "recent_pop": "RecentPop",
    "p_pop": "PPop",
    "item_knn": "ItemKnn",
    "vsknn": "VSknn",
    "stan": "Stan",
    "gru4rec": "Gru4Rec",
    "hrnn": "Hrnn",
    "hrnn_trend": "HrnnTrend",
    "hrnn_meta": "HrnnMeta",
    "hrnn_rating": "HrnnRating",
}
MODEL_NAMES = tuple(_CLASSES)


def build(name: str, parameters: Mapping[str, Any]) -> Model:
    """An unfitted system; parameters that are not given keep their defaults.

    Raises:
        UsageError: the name or a parameter is unknown, or a value is wrong.
    """
    # Imported on demand: PyTorch takes seconds, and most commands need no model.

    chosen = parse_parameters(parameters_class(name), name, parameters)
    system: Model = getattr(_module(name), _CLASSES[name])(chosen)
    return system


def parameter_names(name: str) -> set[str]:
    """What a system can be told.

    Raises:
        UsageError: the name is unknown.
    """
    return {field.name for field in dataclasses.fields(parameters_class(name))}


def parameters_class(name: str) -> type[Any]:
    """The dataclass of a system's parameters.

    Raises:
        UsageError: the name is unknown.
    """
    kind: type[Any] = getattr(_module(name), f"{_CLASSES[name]}Parameters")
    return kind


def _module(name: str) -> ModuleType:
    if name not in _CLASSES:
        raise UsageError(f"unknown system {name!r}: choose one of {', '.join(MODEL_NAMES)}")
    return import_module(f"training.models.{name}")
