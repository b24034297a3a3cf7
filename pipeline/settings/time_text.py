"""How times are written: what can be said of a format or a zone before any time is read."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

# Each depends on the machine: the names of its own zone, and how its language writes times.
_BY_MACHINE = {
    "%Z": "write %z for offsets, or source.timezone",
    "%c": "spell it out",
    "%x": "spell it out",
    "%X": "spell it out",
}
_SOME_TIME = datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC)
_DIRECTIVE = re.compile(r"%.")


def check_formats(formats: str | tuple[str, ...]) -> str | tuple[str, ...]:
    """One format of a time, or several.

    Raises:
        ValueError: no time can be read by one of them, or not the same time everywhere.
    """
    for text in (formats,) if isinstance(formats, str) else formats:
        _check_format(text)
    return formats


def _check_format(text: str) -> None:
    directives = set(_DIRECTIVE.findall(text))
    for directive in sorted(directives & _BY_MACHINE.keys()):
        raise ValueError(
            f"{directive} means another thing on each machine: {_BY_MACHINE[directive]}"
        )
    if not directives & {"%Y", "%y", "%G"}:
        raise ValueError("tells no year: a format is written like %Y-%m-%d %H:%M:%S")
    try:
        datetime.strptime(_SOME_TIME.strftime(text), text)
    except (ValueError, re.error):
        raise ValueError("is no format of a time, such as %Y-%m-%d %H:%M:%S") from None


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
