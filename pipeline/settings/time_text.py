"""How times are written: what can be said of a format or a zone before any time is read."""

from __future__ import annotations

import re
from collections.abc import Sequence
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
# What stands in a path for a code of strptime: the name of its group, and its digits.
_OF_PATHS = {
    "%Y": ("year", r"[0-9]{4}"),
    "%y": ("short_year", r"[0-9]{2}"),
    "%m": ("month", r"1[0-2]|0[1-9]"),
    "%d": ("day", r"3[01]|[12][0-9]|0[1-9]"),
    "%H": ("hour", r"2[0-3]|[01][0-9]"),
    "%M": ("minute", r"[0-5][0-9]"),
    "%S": ("second", r"[0-5][0-9]"),
}
_PADDED = frozenset({"month", "day", "hour"})
_SIGN = re.compile(r"%.?|.", re.DOTALL)
_ANYTHING = "*"


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


def check_path_patterns(patterns: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
    """One pattern of the paths of files, several, or none.

    Raises:
        ValueError: one of them tells no day, or has a code that no path is searched for.
    """
    if patterns == ():
        raise ValueError("is empty: name a pattern like dt=%Y-%m-%d/hour=%H, or null")
    for text in (patterns,) if isinstance(patterns, str) else patterns or ():
        path_pattern(text)
    return patterns


def path_pattern(text: str) -> re.Pattern[str]:
    """What finds ``dt=%Y-%m-%d/hour=%H`` in a path.

    Its groups are ``year`` (or ``short_year``), ``month``, ``day`` and, where the pattern has it,
    ``hour``.  A ``*`` is anything but a slash.  No digit of the path stands next to what is found,
    and none between a code and a ``*``; a month, day or hour that no digit can follow or
    precede may have a single one.  A code that stands twice must say the same twice.

    Raises:
        ValueError: the pattern tells no day, or has a code that no path is searched for.
    """
    signs = _SIGN.findall(text)
    for sign in signs:
        if sign.startswith("%") and sign != "%%" and sign not in _OF_PATHS:
            raise ValueError(
                f"{sign} is no code of a path: there are {', '.join(_OF_PATHS)}, and %% for a %"
            )
    if not {"%m", "%d"} <= set(signs) or not {"%Y", "%y"} & set(signs):
        raise ValueError(
            "tells no day: a pattern has %Y (or %y), %m and %d, like dt=%Y-%m-%d/hour=%H"
        )
    searched = [_searched(signs, at) for at in range(len(signs))]
    return re.compile("".join(searched))


def _searched(signs: Sequence[str], at: int) -> str:
    """The regular expression of a sign, which depends on what stands beside it."""
    sign = signs[at]
    if sign == _ANYTHING:
        return "[^/]*"
    before, after = signs[at - 1] if at else _ANYTHING, (*signs, _ANYTHING)[at + 1]
    alone = not any(each in _OF_PATHS or each.isdecimal() for each in (before, after))
    if sign in _OF_PATHS:
        name, digits = _OF_PATHS[sign]
        if sign in signs[:at]:
            text = f"(?P={name})"
        else:
            if alone and name in _PADDED:
                digits += "|[0-9]" if name == "hour" else "|[1-9]"
            text = f"(?P<{name}>{digits})"
    else:
        text = re.escape("%" if sign == "%%" else sign)
    if sign in _OF_PATHS or sign.isdecimal():
        text = ("(?<![0-9])" if before == _ANYTHING else "") + text
        text += "(?![0-9])" if after == _ANYTHING else ""
    return text
