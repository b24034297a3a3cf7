"""Since when the events of a raw file are known, by the hour of its arrival.

A path that tells the arrival tells it for good, whenever the file was taken in: of a year that was
loaded yesterday it says what came when.  Elsewhere the arrival is the hour of the run that took the
file in, and a run at the beginning of an hour takes in what came before it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from pipeline.hours import Hour
from pipeline.ingest.file_audit import FileAudit, read_audits, versions_of
from pipeline.ingest.landing.arrivals import TellArrival, arrival_teller
from pipeline.lake.lake import Lake, State
from pipeline.settings.settings import Settings
from pipeline.sources import source_for


class FileArrival(NamedTuple):
    """Since when a file's events are known, as ``Hour.index``.

    Those of hours from ``on_time_from`` on may have come as soon as they happened.  Those of
    earlier hours are late: they are known from the start of ``known_from`` on.
    """

    on_time_from: int
    known_from: int


def read_arrivals(lake: Lake, settings: Settings, state: State) -> dict[str, FileArrival]:
    """The arrival of each file that the lake has an account of."""
    tell = arrival_teller(settings.source, source_for(settings.source))
    return file_arrivals(read_audits(lake, state), tell)


def arrivals_digest(arrivals: Mapping[str, FileArrival]) -> str:
    """Names all that the arrivals say."""
    return hashlib.sha256(repr(sorted(arrivals.items())).encode()).hexdigest()


def file_arrivals(audits: Iterable[FileAudit], tell: TellArrival) -> dict[str, FileArrival]:
    """The arrival of each file that has an account.

    Nothing says with which content of a file an event came.  The latest one that any event is of
    counts, so that no event is known too early.

    A file below ``2026-11-21T13``: an event of 13:10 is on time, one of 12:59 is known from 14:00.
    A file without such a path, taken in at 14:02: events of 13 h are on time, one of 12:59 is known
    from 14:00.
    """
    arrivals = {}
    for name, contents in versions_of(audits).items():
        arrival = Hour.of(max(_of_events(contents), key=lambda each: each.arrival).arrival)
        hours = tell(name)
        if hours is not None and arrival in hours:
            arrivals[name] = FileArrival(hours.first.index, hours.stop.index)
        else:
            arrivals[name] = FileArrival(arrival.index - 1, arrival.index)
    return arrivals


def _of_events(contents: list[FileAudit]) -> list[FileAudit]:
    return [each for each in contents if each.accepted] or contents
