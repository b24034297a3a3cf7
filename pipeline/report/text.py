"""Values as text that people can read."""

from __future__ import annotations

import math
from urllib.parse import urlsplit

_MAX_RAW_CHARS = 300
_INTERVAL_PARTS = 3
_MANY = 1_000_000
_NOTHING = "\N{EN DASH}"
_PLAIN = {
    "context": "context keys",
    "user_events": "events per user",
    "item_events": "events per item",
    "dwell_s": "dwell time",
    "session_events": "events per session",
    "session_duration_s": "session duration",
}
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86_400


def number(value: object) -> str:
    """A count with separators, a fraction with four digits, anything else as text."""
    if isinstance(value, bool) or value is None:
        return _NOTHING if value is None else "yes" if value else "no"
    if isinstance(value, float) or hasattr(value, "dtype"):
        real = float(value)  # type: ignore[arg-type]
        if not math.isfinite(real):
            return _NOTHING
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
    known = isinstance(value, int | float) and math.isfinite(value)
    return f"{value:+.4f}" if known else _NOTHING


def odds(value: float | None) -> str:
    """Odds with two digits or so; a million stands for more."""
    if value is None:
        return _NOTHING
    if value >= _MANY:
        return "over a million"
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"  # noqa: PLR2004 - two digits


def percent(part: float, whole: float = 1.0) -> str:
    """A fraction as a percentage of three digits or so."""
    return f"{100 * part / whole:.3g} %" if whole else _NOTHING


def counted(n: int, thing: str) -> str:
    """``1 hour``, ``2 hours``."""
    return f"{n:,} {thing}{'' if n == 1 else 's'}"


def chance(p: float) -> str:
    """A p value; small ones by their bound."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"  # noqa: PLR2004 - three digits


def duration(seconds: float) -> str:
    """A duration in the unit that suits it."""
    for unit_s, unit in ((_DAY_S, "days"), (_HOUR_S, "h"), (_MINUTE_S, "min")):
        if seconds >= 1.5 * unit_s:
            return f"{seconds / unit_s:.3g} {unit}"
    return f"{seconds:.3g} s"


def stamp(instant: str) -> str:
    """A time of the clock to the minute, as ISO 8601 writes it but readable."""
    return instant[:16].replace("T", " ")


def plain(distribution: str) -> str:
    """What people call a distribution."""
    return _PLAIN.get(distribution, distribution.replace("_", " "))


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
