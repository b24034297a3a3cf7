"""What every part of the settings is."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

#: A key of later versions: the value that means what earlier ones did.
_AS_BEFORE = "as_before"


class Section(BaseModel):
    """A part of the settings: immutable, and unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def as_before(value: Any) -> dict[str, Any]:  # noqa: ANN401 - any setting's
    """For ``json_schema_extra`` of a key that earlier versions lacked: what they did without it.

    A section whose keys all have that value has the digest that it had then.
    """
    return {_AS_BEFORE: value}


def keys_as_before(section: BaseModel) -> dict[str, Any]:
    """The keys, for ``exclude`` of pydantic's dumps, that say what earlier versions did."""
    excluded: dict[str, Any] = {}
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        extra = field.json_schema_extra
        if isinstance(extra, dict) and _AS_BEFORE in extra and value == extra[_AS_BEFORE]:
            excluded[name] = True
        elif isinstance(value, BaseModel) and (below := keys_as_before(value)):
            excluded[name] = below
    return excluded
