"""Every type of model, small enough that one is fitted in a second."""

from __future__ import annotations

import dataclasses
from typing import Any

from training.models import MODEL_NAMES, parameters_class

_SMALL = {"width": 8, "epochs": 1, "max_len": 6, "device": "cpu"}


def is_network(name: str) -> bool:
    """Whether a type learns by gradients."""
    return "epochs" in {field.name for field in dataclasses.fields(parameters_class(name))}


NETWORKS = tuple(name for name in MODEL_NAMES if is_network(name))
WITHOUT_NETWORK = tuple(name for name in MODEL_NAMES if not is_network(name))


def small(name: str, **others: Any) -> dict[str, Any]:
    """Parameters of a quick fit; where users have vectors, those are as wide as items'."""
    if not is_network(name):
        return {}
    fields = {field.name: field.default for field in dataclasses.fields(parameters_class(name))}
    chosen = {**{key: value for key, value in _SMALL.items() if key in fields}, **others}
    has_users = fields.get("user_width", 0) > 0
    return {**chosen, **({"user_width": chosen["width"]} if has_users else {})}
