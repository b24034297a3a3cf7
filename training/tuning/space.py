"""What may be tried of each parameter: ranges that are the same for all logs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.errors import UsageError, suggest
from pipeline.settings.learning import SearchRange
from training.models import parameter_names

Choices = tuple[Any, ...]
#: By the name of a parameter.
Space = dict[str, SearchRange | Choices]

_NETWORK: Space = {
    "learning_rate": SearchRange(low=0.001, high=0.02, log=True),
    "dropout": SearchRange(low=0.0, high=0.6),
    "input_dropout": SearchRange(low=0.0, high=0.6),
    "width": (32, 64, 100, 128, 192),
    "batch_events": (256, 512, 1024, 2048),
}
_OF_A_TREND: Space = {
    "half_life_h": SearchRange(low=0.5, high=168.0, log=True),
    "smoothing": SearchRange(low=0.01, high=1.0, log=True),
}
_NEIGHBOURS: Space = {
    "neighbours": (50, 100, 200, 500, 1000),
    "sessions_per_item": (100, 500, 2000),
    "half_life_h": SearchRange(low=3.0, high=720.0, log=True),
    "last_events": SearchRange(low=3, high=50, log=True),
}
# Of systems that are no network; each key is one of the system's parameters.
_OF_SYSTEM: dict[str, Space] = {
    "recent_pop": {
        "k_h": (0, 1, 2, 3, 6, 12, 24, 48, 96, 168),
        "half_life_h": (0.0, 1.0, 3.0, 12.0, 48.0),
    },
    "item_knn": {
        "within": ("history", "session"),
        "reach": SearchRange(low=1, high=20, log=True),
        "exponent": SearchRange(low=0.0, high=1.0),
        "shrinkage": SearchRange(low=0.1, high=100.0, log=True),
        "directed": (False, True),
        "last_items": SearchRange(low=1, high=10),
        "fade": SearchRange(low=0.1, high=1.0),
    },
    "vsknn": {**_NEIGHBOURS, "last_shared": (False, True)},
    "stan": {
        **_NEIGHBOURS,
        "position_decay": SearchRange(low=0.3, high=10.0, log=True),
        "place_decay": SearchRange(low=0.3, high=10.0, log=True),
        "last_shared": (False, True),
    },
}


def space_of(
    system: str, parameters: Mapping[str, Any], own: Mapping[str, SearchRange | Choices]
) -> Space:
    """What may be tried of a system's parameters.

    Args:
        system: its name.
        parameters: all of its parameters, as configured.
        own: ranges that are added to the shipped ones, or stand in their places.

    Raises:
        UsageError: a range is of a parameter that the system lacks, or there is nothing to try.
    """
    unknown = sorted(set(own) - set(parameter_names(system)))
    if unknown:
        raise UsageError(
            f"tune.space: {system} has no parameter {unknown[0]!r}"
            f"{suggest(unknown[0], parameter_names(system))}"
        )
    shipped: Space = {**_OF_SYSTEM.get(system, {})}
    if "learning_rate" in parameters:
        network = {**_NETWORK, **(_OF_A_TREND if parameters.get("trend") else {})}
        shipped = {name: tried for name, tried in network.items() if name in parameters}
    space = {**shipped, **own}
    if not space:
        raise UsageError(
            f"there is nothing to tune of {system}: name parameters and what to try of them under "
            "tune.space"
        )
    return space
