"""Dotted paths into records: names, a value of a list of pairs, a list of records.

``device.category`` is a key of an object.  ``params[page].value`` is the value of that element of
the list ``params`` whose ``key`` is ``page``, or of the key ``page`` of the object ``params``.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from pipeline.sources.base import ParsedEvent

#: The column that the element of an exploded list is, beside those of its record.
ELEMENT = "[]"
#: What names the element of a list of pairs.
PAIR_KEY = "key"

_PART = r"(?:\[\]|[^.\[\]]+)(?:\[[^\[\]]+\])*"
_PATH = re.compile(rf"{_PART}(?:\.{_PART})*")
_NAME_AND_KEYS = re.compile(r"(\[\]|[^.\[\]]+)((?:\[[^\[\]]+\])*)")
_KEY = re.compile(r"\[([^\[\]]+)\]")


class Part(NamedTuple):
    """What stands between two dots of a path: a name, and keys in brackets if any.

    ``text`` is the whole of it: a name that itself has brackets comes first.
    """

    text: str
    name: str
    keys: tuple[str, ...]


class PairKey(str):
    """A step to the element of a list of pairs that has this key; names are plain texts."""

    __slots__ = ()


def parts_of(path: str) -> list[Part]:
    """The parts of a path; one whose brackets make no sense is of names alone.

    ``params[a.b].value`` has ``params`` with the key ``a.b``, and ``value``.
    """
    if "[" not in path or not _PATH.fullmatch(path):
        return [Part(name, name, ()) for name in path.split(".")]
    return [
        Part(match[0], match[1], tuple(_KEY.findall(match[2])))
        for match in _NAME_AND_KEYS.finditer(path)
    ]


def has_keys(path: str) -> bool:
    """Whether a path names a value of a list of pairs."""
    return any(between_dots.keys for between_dots in parts_of(path))


def below_list(path: str, explode: str) -> str | None:
    """What of a path lies below the list that is exploded, from its dot on; None if elsewhere."""
    return path[len(explode) :] if f"{path}.".startswith(f"{explode}.") else None


def nth_name(explode: str) -> str:
    """What the number of an element is called in the text of its record."""
    return f"{explode}{ELEMENT}"


def with_nth(event: ParsedEvent, nth: int) -> ParsedEvent:
    """The event of an element, told apart from the others by its number: all have one key."""
    key = event.event_key
    return event if key is None else event._replace(event_key=f"{key}#{nth}")
