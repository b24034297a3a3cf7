"""How times are written: what can be said of a format or a zone before any time is read."""

from __future__ import annotations

import re
from datetime import datetime
from zoneinfo import ZoneInfo

# Each depends on the machine: the names of its own zone, and how its language writes times.
_BY_MACHINE = {
    "%Z": "write %z for offsets, or source.timezone",
    "%c": "spell it out",
    "%x": "spell it out",
    "%X": "spell it out",
}
_DIRECTIVE = re.compile(r"%.")


def check_format(text: str) -> str:
    """The format of a time.

    Raises:
        ValueError: no time can be read by it, or not the same one everywhere.
    """
    directives = set(_DIRECTIVE.findall(text))
    for directive in sorted(directives & _BY_MACHINE.keys()):
        raise ValueError(
            f"{directive} means another thing on each machine: {_BY_MACHINE[directive]}"
        )
    if not directives & {"%Y", "%y", "%G"}:
        raise ValueError("tells no year: a format is written like %Y-%m-%d %H:%M:%S")
    try:
        datetime.strptime(datetime(2001, 2, 3, 4, 5, 6).strftime(text), text)
    except ValueError:
        raise ValueError("is no format of a time, such as %Y-%m-%d %H:%M:%S") from None
    return text


def check_zone(name: str) -> str:
    """The name of a time zone.

    Raises:
        ValueError: there is none of that name.
    """
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError("is no time zone: write one like Europe/Berlin or UTC") from error
    return name
