"""How an hour differs from what is usual, as the columns of a one-row frame."""

from __future__ import annotations

from statistics import median

from pipeline.hours import DAY_H, Hour
from pipeline.quality.baseline import UNKNOWN, WEEK_H, Deviation, Past, deviation_from_usual

SPAN_H = 6
# A key of the context counts as usual when so large a share of events carries it.
_USUAL_KEY = 0.5
_FEWEST_VALUES = 50
_NAN = float("nan")
# An expectation can ask for both a large and a sure difference by its column alone.  (A condition
# on the row would say it too, but Great Expectations takes far longer over those.)
_LEVELS = (4, 5, 6)
_ALONE = ("new_type_share", "lost_context", "lost_value")
_SESSION_FACTS = ("events_per_session", "single_share", "dwell_median_s")
_COMPARED = (
    "events",
    f"events_{SPAN_H}h",
    "users",
    f"users_{SPAN_H}h",
    "events_per_user",
    "share_of_top_user",
    "value",
)


def event_comparison(hour: Hour | None, past: Past) -> dict[str, float]:
    """Compare the events of an hour, whose profile ``past`` holds already, with earlier hours.

    Returns:
        ``events_ratio``, ``events_z``, ``users_ratio``, ``users_z`` and the same of the six hours
        that end with this one (``events_6h_ratio`` ...); ``events_per_user_ratio`` and ``_z``;
        ``share_of_top_user_ratio`` and ``_z``; ``value_ratio`` and ``_z``, of the median.  Of
        each, ``_ratio_z4``, ``_z5`` and ``_z6`` are the ratio where the size of z is as large as
        that, and empty elsewhere.  ``new_type_share``, of events whose type the week before did
        not have; ``lost_context``, how much of a usual context key is gone, as a share of events,
        of the key that lost most; ``lost_value``, the same of the value.  NaN where too little is
        known, or where there is no one hour.
    """
    if hour is None:
        nothing = {key: _NAN for name in _COMPARED for key in _named(name, UNKNOWN)}
        return nothing | dict.fromkeys(_ALONE, _NAN)
    row: dict[str, float] = {}
    for name, volume in (("events", past.event_volume), ("users", past.user_volume)):
        row |= _named(name, volume.deviation(hour))
        row |= _named(f"{name}_{SPAN_H}h", volume.deviation(hour, SPAN_H))
    for name in ("events_per_user", "share_of_top_user"):
        row |= _named(name, _usual(past, hour, "fact", name))
    values = sum(past.bins("value", hour).values())
    enough = values >= _FEWEST_VALUES
    row |= _named("value", _usual(past, hour, "fact", "value_median") if enough else UNKNOWN)
    n = past.bins("count", hour).get("events", 0.0)
    types = past.shares("event_type", "events", hour)
    keys = past.shares("context", "events", hour)
    row |= dict.fromkeys(_ALONE, _NAN)
    shares = past.figures("fact", "value_share")
    week = [share for h, share in shares.items() if hour - WEEK_H <= h < hour]
    if n >= _FEWEST_VALUES and len(week) >= DAY_H:
        row["lost_value"] = median(week) - shares.get(hour, 0.0)
    if n and types is not None:
        new = sum(m for name, m in past.bins("event_type", hour).items() if name not in types)
        row["new_type_share"] = new / n
    if n >= _FEWEST_VALUES and keys is not None:
        now = past.bins("context", hour)
        lost = [was - now.get(key, 0.0) / n for key, was in keys.items() if was >= _USUAL_KEY]
        row["lost_context"] = max([0.0, *lost])
    return row


def session_comparison(hour: Hour | None, past: Past) -> dict[str, float]:
    """Compare the sessions that closed in an hour, whose profile ``past`` holds, with earlier ones.

    Returns:
        ``events_per_session_ratio``, ``single_share_ratio``, ``dwell_median_ratio``, each with its
        ``_z``.  NaN where too little is known, or where there is no one hour.
    """
    row: dict[str, float] = {}
    for name in _SESSION_FACTS:
        found = UNKNOWN if hour is None else _usual(past, hour, "session_fact", name)
        row |= _named(name.removesuffix("_s"), found)
    return row


def _usual(past: Past, hour: Hour, distribution: str, name: str) -> Deviation:
    figures = past.figures(distribution, name)
    return deviation_from_usual(figures, hour, figures.get(hour, _NAN))


def _named(name: str, found: Deviation) -> dict[str, float]:
    sure = {
        f"{name}_ratio_z{level}": found.ratio if abs(found.z) >= level else _NAN
        for level in _LEVELS
    }
    return {f"{name}_ratio": found.ratio, f"{name}_z": found.z, **sure}
