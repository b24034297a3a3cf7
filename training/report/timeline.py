"""Which model served when, in places of the report's hours."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from pipeline.hours import HOUR_S, Hour, HourRange
from pipeline.report.model_values import Mark, Served
from training.report.champion import turn_of

if TYPE_CHECKING:
    from training.deployment.champion_history import Tenure


def served(tenures: Sequence[Tenure], hours: HourRange) -> tuple[Served, ...]:
    """Every time that a model was live, the newest first.

    A change without an hour of the log, such as one by hand, stands at the hour of its clock where
    the report's hours hold that; else its place is not known.
    """
    return tuple(
        Served(
            name=one.name,
            model_id=one.model_id,
            version=one.version,
            turn=turn_of(one.reason),
            since=one.since_at,
            hour=str(one.since_hour) if one.since_hour else None,
            sentence=one.sentence,
            record=one.record.name if one.record else None,
            start=_place(one.since_hour, one.since_at, hours),
            stop=_place(one.until_hour, one.until_at, hours),
        )
        for one in reversed(tenures)
    )


def marks(found: Sequence[Served], n_hours: int) -> tuple[Mark, ...]:
    """The changes that fall into the report's hours, in their order."""
    inside = (one for one in reversed(found) if one.start is not None)
    return tuple(
        Mark(one.start, one.turn)
        for one in inside
        if one.start is not None and 0 <= one.start <= n_hours
    )


def _place(hour: Hour | None, at: str | None, hours: HourRange) -> float | None:
    if hour is not None:
        return float(hour.index - hours.first.index)
    try:
        instant = datetime.fromisoformat(at or "")
        place = (instant - hours.first.start).total_seconds() / HOUR_S
    except (ValueError, TypeError):  # no time, or one without its zone
        return None
    return place if 0 <= place <= len(hours) else None
