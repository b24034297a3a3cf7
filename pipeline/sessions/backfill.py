"""Backfill: what is missing or has changed, shown as a plan and then filled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from pipeline.hours import HOUR_S, Hour, HourRange, contiguous
from pipeline.ingest.ingest import IngestSummary, ingest
from pipeline.ingest.landing.new_files import find_new_files
from pipeline.lake.lake import Lake
from pipeline.lake.stale_hours import (
    FilledState,
    filled_state,
    rules_digest,
    stale_hours_of,
    why_stale,
)
from pipeline.lake.turns import Alone
from pipeline.quality.verdicts import refused_hours
from pipeline.sessions.sessionize import SessionizeSummary, sessionize
from pipeline.settings.settings import Settings
from pipeline.sources import source_for
from pipeline.spark.compute import Compute

REFUSED = "refused: critical"


@dataclass(frozen=True)
class PlannedRange:
    """Hours in a row that are to be filled for the same reason, and how many events they hold."""

    hours: HourRange
    why: str
    events: int


@dataclass(frozen=True)
class BackfillPlan:
    """What a backfill would do: files that wait to be taken in, and hours to fill in order.

    What those files will change is not known before they are read.  ``unreadable`` says of files
    that cannot be read why.  ``read_again`` of the waiting files were read by other settings;
    ``outdated`` names files with rows by other settings that cannot be read again.  Of
    ``unknown_settings`` files nobody knows by which settings they were read.  Of the waiting files
    ``no_arrival`` names those whose paths do not tell it, though ``source.arrival`` says how.
    """

    waiting_files: tuple[str, ...]
    unreadable: tuple[str, ...]
    ranges: tuple[PlannedRange, ...]
    read_again: int = 0
    outdated: tuple[str, ...] = ()
    unknown_settings: int = 0
    no_arrival: tuple[str, ...] = ()

    @property
    def hours(self) -> int:
        """How many hours are to be filled; those that are refused are not."""
        return sum(len(planned.hours) for planned in self.ranges if planned.why != REFUSED)

    @property
    def refused(self) -> tuple[Hour, ...]:
        """Hours that stay unfilled until they are mended or accepted."""
        refused = [planned.hours for planned in self.ranges if planned.why == REFUSED]
        return tuple(hour for hours in refused for hour in hours)


def plan_backfill(
    lake: Lake,
    settings: Settings,
    clock: datetime,
    requested: HourRange | None,
    accept_late: bool = False,
) -> BackfillPlan:
    """What :func:`backfill` would do now; changes nothing.

    Raises:
        UsageError: the source or its folder is not what the settings say.
        HourglassError: another program committed, so what is to be done is not known yet.
    """
    source = source_for(settings.source)
    lake.refuse_foreign()
    late = _late(clock, requested, accept_late)
    intake = find_new_files(lake, settings, source, clock, _arrivals(requested), late)
    now = filled_state(lake, settings)
    end = _end(now, settings, clock, requested)
    refused = set(refused_hours(lake, "events", HourRange(Hour(0), end)))
    ranges = _planned(now, rules_digest(settings), end, refused)
    return BackfillPlan(
        tuple(arrival.file.source_file for arrival in intake.arrivals),
        tuple(map(str, intake.unreadable)),
        tuple(ranges),
        len(intake.read_again),
        tuple(intake.outdated),
        intake.unknown,
        tuple(intake.no_arrival),
    )


def backfill(
    compute: Compute,
    lake: Lake,
    settings: Settings,
    clock: datetime,
    requested: HourRange | None,
    accept_late: bool = False,
    report: Callable[[HourRange, int], None] = lambda _step, _left: None,
    alone: Alone = nullcontext,
) -> tuple[IngestSummary, SessionizeSummary | None]:
    """Take new files in, then fill the hours that are missing or whose inputs have changed.

    Only hours before the end of ``requested`` are filled, and all of those: hours follow from one
    another, so what is missing before a range belongs to it.  ``accept_late`` lets records of the
    range in that came later than ``ingest.max_lateness``.  Each step is committed as it ends, so
    an interrupted backfill goes on where it was.

    Raises:
        HourglassError: as :func:`pipeline.ingest.ingest.ingest` and
            :func:`pipeline.sessions.sessionize.sessionize`.
    """
    late = _late(clock, requested, accept_late)
    summary = ingest(compute, lake, settings, clock, _arrivals(requested), late, alone)
    now = filled_state(lake, settings)
    end = _end(now, settings, clock, requested)
    stale = stale_hours_of(now, rules_digest(settings), end)
    if not stale:
        return summary, None
    hours = contiguous(stale)[-1]
    return summary, sessionize(compute, lake, settings, hours, report, end, alone)


def _arrivals(requested: HourRange | None) -> HourRange | None:
    """Files of an hour hold events of earlier ones: all that arrived before the end matter."""
    return None if requested is None else HourRange(Hour(0), requested.stop)


def _late(clock: datetime, requested: HourRange | None, accept_late: bool) -> HourRange | None:
    return (requested or HourRange(Hour(0), Hour.of(clock) + 1)) if accept_late else None


def _end(
    now: FilledState, settings: Settings, clock: datetime, requested: HourRange | None
) -> Hour:
    """The hour after the last that is wanted.

    That is what is asked for, or else all that has events and, of the past, the hours in which
    the last sessions close.
    """
    if requested is not None:
        return requested.stop
    latest = max([*now.arrived, *now.filled], default=Hour(-1)) + 1
    close = latest + -(-settings.sessions.gap_s // HOUR_S)
    return max(latest, min(close, Hour.of(clock)))


def _planned(now: FilledState, rules: str, end: Hour, refused: set[Hour]) -> Iterator[PlannedRange]:
    """Ranges of one reason each; hours that will stay unfilled are told with them."""

    def why_of(hour: Hour) -> str | None:
        return REFUSED if hour in refused else why_stale(now, rules, hour)

    hours_told = sorted({*stale_hours_of(now, rules, end), *refused})
    for why, hours in groupby(hours_told, key=why_of):
        for hour_range in contiguous(hours):
            events = sum(now.arrived[hour].rows for hour in hour_range if hour in now.arrived)
            yield PlannedRange(hour_range, why or "", events)
