"""The steps that fill hours: their names, and the first and last hour that one has filled.

``filled_hours`` has a file a day, and a lake of years has thousands of hours: so a look for an end
begins at the day where the table has its own, and takes twice as many days where it found nothing.
"""

from __future__ import annotations

from pipeline.hours import DAY_H, Hour, HourRange
from pipeline.lake.lake import Lake, State
from pipeline.lake.tables import FILLED_HOURS

INGEST = "ingest"
SESSIONIZE = "sessionize"
VALIDATE = "validate"
# Of an hour in which nothing is.
EMPTY_DIGEST = "0-0"


def first_filled(lake: Lake, step: str, state: State | None = None) -> Hour | None:
    """The first hour that a step has filled; None: there is none."""
    span = lake.span(FILLED_HOURS, state)
    width_h = DAY_H
    while span:
        looked_at = HourRange(span.first, min(span.first + width_h, span.stop))
        if filled := lake.filled(step, looked_at, state):
            return min(filled)
        span, width_h = HourRange(looked_at.stop, span.stop), 2 * width_h
    return None


def last_filled(
    lake: Lake, step: str, before: Hour | None = None, state: State | None = None
) -> Hour | None:
    """The last hour (of those before a time) that a step has filled; None: there is none."""
    span = lake.span(FILLED_HOURS, state)
    if before is not None:
        span = HourRange(min(span.first, before), min(span.stop, before))
    width_h = DAY_H
    while span:
        looked_at = HourRange(max(span.stop - width_h, span.first), span.stop)
        if filled := lake.filled(step, looked_at, state):
            return max(filled)
        span, width_h = HourRange(span.first, looked_at.first), 2 * width_h
    return None
