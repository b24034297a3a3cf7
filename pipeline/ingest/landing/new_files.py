"""What the next run of ingest takes in: files that are new, have grown, or are asked for again."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import PurePosixPath

from pipeline.hours import HourRange
from pipeline.ingest.file_audit import FileAudit, Versions, read_audits, versions_of
from pipeline.ingest.landing.arrivals import arrival_teller
from pipeline.ingest.landing.own_files import not_logs
from pipeline.ingest.landing.zone import (
    Arrival,
    RawFile,
    Unreadable,
    arrival_of,
    arrived_in,
    find_raw_files,
    grown,
    lines_of,
    not_yet_ingested,
)
from pipeline.ingest.late_events import files_too_late
from pipeline.ingest.reading_rules import FORMAT_PROPERTY, reading_digest, with_readers
from pipeline.lake.lake import Lake
from pipeline.lake.tables import EVENTS
from pipeline.settings.settings import Settings
from pipeline.sources import Source
from pipeline.sources.base import HeaderError, UnreadableHeaderError
from pipeline.sources.lines import UnreadableFileError
from pipeline.sources.tables.source import TableSource


@dataclass(frozen=True)
class NewFiles:
    """The files to take in, and what is known of all files so far.

    ``landing`` are all files that are there, by name, whenever they arrived.  ``missing`` names
    files that were to be taken in once more and are no longer there.

    ``read_by`` is the digest of the settings by which files are read now.  ``read_again`` names
    the files that were read by other ones, ``outdated`` those with rows by other ones that cannot
    be read again.  Of ``unknown`` files it was not recorded by which settings they were read.
    """

    arrivals: list[Arrival]
    landing: dict[str, RawFile]
    audits: list[FileAudit]
    known_files: int
    unreadable: list[Unreadable]
    missing: list[str]
    read_by: str = ""
    read_again: list[str] = field(default_factory=list)
    outdated: list[str] = field(default_factory=list)
    unknown: int = 0
    #: Whether the table lacks by which settings some files were read.
    readers_missing: bool = False
    #: New files whose paths do not tell their arrival, though ``source.arrival`` says how.
    no_arrival: list[str] = field(default_factory=list)

    @cached_property
    def versions(self) -> Versions:
        """The accounts of each known file, its oldest content first."""
        return versions_of(self.audits)


def find_new_files(
    lake: Lake,
    settings: Settings,
    source: Source,
    clock: datetime,
    hours: HourRange | None = None,
    late: HourRange | None = None,
) -> NewFiles:
    """New and changed files (of some hours of arrival), and those with records of ``late``.

    Raises:
        UsageError: the source's folder is not what the settings say.
    """
    files, unreadable = find_raw_files(
        settings.source.path,
        source.pattern,
        arrival_teller(settings.source, source),
        clock,
        not_logs(settings),
    )
    state = lake.state()
    recorded = read_audits(lake, state)
    read_by = reading_digest(settings, source)
    accounts, unknown = with_readers(lake, settings, recorded, source, state)
    requested = arrived_in(files, hours)
    by_pattern = settings.source.arrival is not None
    fresh, closed = not_yet_ingested(requested, accounts, read_by, by_pattern)
    again: list[Arrival] = []
    missing: list[str] = []
    landing = {file.source_file: file for file in files}
    if late is not None:
        refused, missing = files_too_late(lake, settings, source, landing, late)
        new = {arrival.file.source_file for arrival in fresh}
        again, more_closed = _once_more(
            [f for f in refused if f.source_file not in new], accounts, read_by
        )
        closed += more_closed
    n_known = len(requested) - len(fresh) - len(closed)
    unreadable = [*unreadable, *closed]
    versions = versions_of(accounts)
    elsewhere = landing.keys() - {file.source_file for file in requested}
    return NewFiles(
        [*fresh, *again],
        landing,
        accounts,
        n_known,
        unreadable,
        missing,
        read_by,
        [
            arrival.file.source_file
            for arrival in fresh
            if arrival.sha256 in {old.sha256 for old in versions.get(arrival.file.source_file, ())}
        ],
        _outdated(versions, read_by, {*elsewhere, *grown([*fresh, *again], versions)}, unreadable),
        unknown,
        accounts != recorded,
        [
            arrival.file.source_file
            for arrival in fresh
            if by_pattern and arrival.file.may_have_arrived is None
        ],
    )


def _outdated(
    versions: Versions, read_by: str, excepted: set[str], unreadable: list[Unreadable]
) -> list[str]:
    """Files with records that were read by other settings and are not read again now."""
    closed = {file.source_file for file in unreadable}
    return [
        name
        for name, audits_of_file in sorted(versions.items())
        if any(old.records and old.read_by != read_by for old in audits_of_file)
        and name not in excepted
        and closed.isdisjoint([name, *map(str, PurePosixPath(name).parents)])
    ]


def files_with_duplicates(new_files: NewFiles) -> list[Arrival]:
    """Known files, still there as they were, with records that another file's stood for."""
    new = {arrival.file.source_file for arrival in new_files.arrivals}
    doubled = [
        new_files.landing[name]
        for name, audits_of_file in new_files.versions.items()
        if name in new_files.landing
        and name not in new
        and any(old.duplicates for old in audits_of_file)
    ]
    arrivals, _ = _once_more(doubled, new_files.audits, new_files.read_by)
    return [arrival for arrival in arrivals if arrival.sha256 in arrival.continues]


def _once_more(
    files: list[RawFile], audits: list[FileAudit], read_by: str
) -> tuple[list[Arrival], list[Unreadable]]:
    versions = versions_of(audits)
    arrivals, unreadable = [], []
    for file in files:
        try:
            arrivals.append(arrival_of(file, versions.get(file.source_file, []), read_by))
        except OSError as error:
            unreadable.append(Unreadable(file.source_file, error.strerror or str(error)))
    return arrivals, unreadable


def check_headers(lake: Lake, settings: Settings, source: Source, arrivals: list[Arrival]) -> None:
    """Refuse to start where no file at all has the columns: the settings are wrong then.

    Raises:
        HeaderError: so it is, and no event was ever read by these settings.
    """
    if not source.has_header and not isinstance(source, TableSource):
        return
    if lake.properties(EVENTS).get(FORMAT_PROPERTY) == settings.digest("source"):
        return
    fault: HeaderError | None = None
    for arrival in arrivals:
        file = arrival.file
        try:
            if isinstance(source, TableSource):
                source.check_columns(file.path, file.source_file, file.root)
                return
            header = next(lines_of(file, settings, source), None)
            if header is None or header.reason:
                # Says nothing about the settings, good or bad.
                continue
            source.parser(header.text, file.source_file)
        except (UnreadableFileError, UnreadableHeaderError):
            continue
        except HeaderError as error:
            fault = fault or error
        else:
            return
    if fault is not None:
        raise fault
