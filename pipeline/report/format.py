"""Values as text that people can read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from pipeline.text.numbers import NOTHING, duration, percent, significant

__all__ = [
    "cell", "chance", "duration", "number", "odds", "percent", "plain", "safe_href",
    "signed", "significant", "stamp", "visible", "words",
]  # fmt: skip

_MAX_RAW_CHARS = 300
_INTERVAL_PARTS = 3
_MANY = 1_000_000
_NEXT_TO_NOTHING, _BEYOND_COUNTING = 0.00005, 1e15
_PLAIN = {
    "context": "context keys",
    "user_events": "events per user",
    "item_events": "events per item",
    "dwell_s": "dwell time",
    "session_events": "events per session",
    "session_duration_s": "session duration",
}
Colour = Literal["green", "amber", "red", "grey"]


def number(value: object) -> str:
    """A count with separators, a fraction with four digits, anything else as text."""
    if isinstance(value, bool) or value is None:
        return NOTHING if value is None else "yes" if value else "no"
    if isinstance(value, float) or hasattr(value, "dtype"):
        real = float(value)  # type: ignore[arg-type]
        if not math.isfinite(real):
            return NOTHING
        if abs(real) > _BEYOND_COUNTING or 0 < abs(real) < _NEXT_TO_NOTHING:
            return significant(real)
        if real.is_integer() and abs(real) >= 1:
            return f"{real:,.0f}"
        return f"{real:.4f}" if abs(real) < 1 else f"{real:,.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def cell(value: object) -> str:
    """A leaderboard cell; a triple is a figure and its interval."""
    if isinstance(value, tuple) and len(value) == _INTERVAL_PARTS:
        figure, low, high = value
        return f"{number(figure)} [{number(low)}, {number(high)}]"
    return number(value)


def signed(value: object) -> str:
    """A difference with its sign; a triple is a difference and its interval."""
    if isinstance(value, tuple):
        figure, low, high = map(signed, value)
        return f"{figure} [{low}, {high}]"
    finite = isinstance(value, int | float) and math.isfinite(value)
    return f"{value:+.4f}" if finite else NOTHING


def odds(value: float | None) -> str:
    """Odds with two digits or so; a million stands for more."""
    if value is None:
        return NOTHING
    if value >= _MANY:
        return "over a million"
    return significant(value, 2)


def chance(p: float) -> str:
    """A p value; small ones by their bound."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"  # noqa: PLR2004 - three digits


def stamp(instant: str) -> str:
    """A time of the clock to the minute, as ISO 8601 writes it but readable."""
    return instant[:16].replace("T", " ")


def plain(distribution: str) -> str:
    """What people call a distribution."""
    return _PLAIN.get(distribution, distribution.replace("_", " "))


def words(name: str) -> str:
    """A name of the code or of a suite as words."""
    return name.replace("_", " ")


def visible(raw: str | None, most: int = _MAX_RAW_CHARS) -> str:
    """Raw text fit to be read: control characters spelt out, length bounded."""
    text = "" if raw is None else raw[: most + 1]
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[:most])
    return shown + "…" if len(text) > most else shown


def safe_href(address: str | None) -> str | None:
    """The address, where following it can only open a page; None otherwise."""
    if not address:
        return None
    try:
        scheme = urlsplit(address.strip()).scheme
    except ValueError:
        return None
    return address if scheme in ("", "http", "https") else None


# The small values that reports are made of.


class Interval(NamedTuple):
    """A figure with the ends of its confidence interval; fits a cell of the leaderboard."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class StatusLight:
    """A traffic light: what is judged, its colour, and one sentence."""

    name: str
    colour: Colour
    sentence: str


@dataclass(frozen=True)
class Link:
    """Where to go on: an address (relative, http or https), or a command to run."""

    label: str
    href: str | None = None
    command: str | None = None
