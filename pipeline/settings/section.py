"""What every part of the settings is."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

#: A key of later versions: the value that means what earlier ones did.
_AS_BEFORE = "as_before"
# A key that says nothing of what comes out where it decides nothing: who uses it records that.
_IN_NO_DIGEST = "in_no_digest"


class Section(BaseModel):
    """A part of the settings: immutable, and unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def as_before(value: Any) -> dict[str, Any]:  # noqa: ANN401 - any setting's
    """For ``json_schema_extra`` of a key that earlier versions lacked: what they did without it.

    A section whose keys all have that value has the digest that it had then.
    """
    return {_AS_BEFORE: value}


def in_no_digest() -> dict[str, Any]:
    """For ``json_schema_extra`` of a key that is in the digest of no section.

    What depends on it names what it changed instead, and nothing where it changed nothing.
    """
    return {_IN_NO_DIGEST: True}


def keys_as_before(section: BaseModel) -> dict[str, Any]:
    """The keys, for ``exclude`` of pydantic's dumps, that are in no digest.

    They say what earlier versions did, or are none of its business.
    """
    excluded: dict[str, Any] = {}
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        extra = field.json_schema_extra
        marks = extra if isinstance(extra, dict) else {}
        is_as_before = _AS_BEFORE in marks and value == marks[_AS_BEFORE]
        if is_as_before or _IN_NO_DIGEST in marks:
            excluded[name] = True
        elif isinstance(value, BaseModel) and (below := keys_as_before(value)):
            excluded[name] = below
    return excluded
