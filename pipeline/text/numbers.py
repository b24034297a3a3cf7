"""Numbers and durations as people write them: no exponents, no digits that mean nothing."""

from __future__ import annotations

import math

NOTHING = "\N{EN DASH}"
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86_400
# Beyond these no reader counts the noughts.
_LEAST, _MOST = 1e-6, 1e15


def significant(value: float, digits: int = 3) -> str:
    """A number with so many digits, all of those before the point, and no exponent.

    ``2.5``, ``0.0123``, ``2,943``; what is next to nothing or beyond counting by its bound.
    """
    number = float(value)
    if not math.isfinite(number):
        return NOTHING
    if number == 0:
        return "0"
    sign, size = "-" if number < 0 else "", abs(number)
    if size < _LEAST:
        return f"{'>' if sign else '<'} {sign}0.000001"
    if size > _MOST:
        return f"{'below' if sign else 'over'} {sign}{_MOST:,.0f}"
    places = max(0, digits - 1 - math.floor(math.log10(size)))
    text = f"{sign}{size:,.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def duration(seconds: float) -> str:
    """A duration in the unit that suits it."""
    if not math.isfinite(seconds):
        return NOTHING
    if seconds < 0:
        return f"-{duration(-seconds)}"
    for unit_s, unit in ((_DAY_S, "days"), (_HOUR_S, "h"), (_MINUTE_S, "min")):
        if seconds >= 1.5 * unit_s:
            return f"{significant(seconds / unit_s)} {unit}"
    return f"{significant(seconds)} s"


def percent(amount: float, whole: float = 1.0) -> str:
    """A fraction as a percentage of three digits or so."""
    return f"{significant(100 * amount / whole)} %" if whole else NOTHING
