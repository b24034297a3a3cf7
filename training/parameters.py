"""Parameters that people give a model by name; what is unknown or out of range is refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pipeline.errors import UsageError, suggest

P = TypeVar("P")


def parse_parameters(kind: type[P], system: str, values: Mapping[str, Any]) -> P:
    """Build a parameter dataclass from a mapping, refusing unknown names and wrong types.

    Raises:
        UsageError: a name is unknown, a value has the wrong type or is out of its range.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for name, value in values.items():
        if name not in fields:
            names = ", ".join(sorted(fields)) or "none"
            hint = suggest(str(name), fields)
            raise UsageError(f"{system}: unknown parameter {name!r}{hint}: it has {names}")
        wanted = type(_default_of(fields[name]))
        whole_number = wanted is float and type(value) is int
        if type(value) is not wanted and not whole_number:
            raise UsageError(
                f"{system}: parameter {name} = {value!r} is not of type {wanted.__name__}"
            )
    return kind(**values)


def _default_of(field: dataclasses.Field[Any]) -> object:
    factory = field.default_factory
    return field.default if factory is dataclasses.MISSING else factory()


def require(condition: bool, name: str, value: object, rule: str) -> None:
    """Refuse a parameter that is out of its range.

    Raises:
        UsageError: the condition does not hold.
    """
    if not condition:
        raise UsageError(f"parameter {name} = {value!r} must be {rule}")


def require_choice(name: str, value: str, allowed: Sequence[str]) -> None:
    """Refuse a word that is none of those that a parameter may be.

    Raises:
        UsageError: with a guess at what was meant.
    """
    require(value in allowed, name, value, f"one of {', '.join(allowed)}{suggest(value, allowed)}")
