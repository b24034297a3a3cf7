"""The raw files that wait to be ingested, and what is known of each."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from pipeline.contained_files import open_inside
from pipeline.errors import UsageError
from pipeline.hours import Hour, HourRange
from pipeline.ingest.file_audit import FileAudit, versions_of
from pipeline.ingest.landing.arrivals import TellArrival
from pipeline.ingest.landing.listing import list_files, once
from pipeline.settings.settings import Settings
from pipeline.sources import Source
from pipeline.sources.lines import Line, read_lines

_CHUNK_BYTES = 1 << 20


class Unreadable(NamedTuple):
    """A file, or a folder in the landing zone, that cannot be read, and why."""

    source_file: str
    reason: str

    def __str__(self) -> str:
        return f"{self.source_file}: {self.reason}"


@dataclass(frozen=True)
class RawFile:
    """One raw file; ``source_file`` is its path below the source folder, in every table.

    ``real`` is where it really lies, below ``root``, the real source folder: opened as it is,
    without following a link, it is no other file than the one that was looked at.
    """

    real: str
    source_file: str
    modified: datetime
    bytes: int
    root: Path
    #: The hour of the run.
    now: Hour
    #: Of thousands of known files nobody asks when they arrived.
    tell_arrival: TellArrival = field(compare=False, repr=False)
    #: The hour in which this content arrived first, where it was there before.
    arrived_before: Hour | None = None

    @cached_property
    def may_have_arrived(self) -> HourRange | None:
        """In which hours it may have arrived, where the path tells any.

        Those of a day that is not over do not name the arrival yet.
        """
        return self.tell_arrival(self.source_file)

    @property
    def arrival_is_named(self) -> bool:
        """Whether the path tells the arrival; otherwise it is the hour of the run."""
        hours = self.may_have_arrived
        # The last of several hours, after which no record can be: but what lies here has arrived.
        return hours is not None and (len(hours) == 1 or hours.stop - 1 <= self.now)

    @property
    def arrival(self) -> Hour:
        """The hour of its arrival."""
        hours = self.may_have_arrived
        if self.arrived_before is not None:
            return self.arrived_before
        if hours is None:
            return self.now
        return hours.stop - 1 if self.arrival_is_named else max(hours.first, self.now)

    @property
    def path(self) -> Path:
        """``real`` as a path: of thousands of files few are opened."""
        return Path(self.real)

    def sha256(self, sizes: Collection[int] = ()) -> tuple[str, dict[int, str]]:
        """Digest of the file's bytes as they are on disk, and of its first so many bytes.

        Sizes that the file does not have are left out.

        Raises:
            OSError: the file cannot be read.
        """
        digest = hashlib.sha256()
        beginnings = {}
        read = 0
        with open_inside(self.root, self.path) as raw:
            for size in sorted(sizes):
                while read < size and (chunk := raw.read(min(size - read, _CHUNK_BYTES))):
                    digest.update(chunk)
                    read += len(chunk)
                if read == size:
                    beginnings[size] = digest.hexdigest()
            while chunk := raw.read(_CHUNK_BYTES):
                digest.update(chunk)
        return digest.hexdigest(), beginnings


@dataclass(frozen=True)
class Arrival:
    """A raw file to take in, its digest, and those of known contents that it begins with."""

    file: RawFile
    sha256: str
    continues: frozenset[str] = frozenset()


def find_raw_files(
    root: Path,
    pattern: str,
    tell_arrival: TellArrival,
    clock: datetime,
    passed_over: Collection[Path] = (),
) -> tuple[list[RawFile], list[Unreadable]]:
    """The files below ``root`` (or ``root`` itself) that match, in the order of their names.

    Hidden files, those of a writer that has not finished (``*.tmp``, ``_*``), and what really is
    or lies in one of the real paths ``passed_over`` are left out.  ``root`` may be a link, and
    links to what lies below it are followed.  What cannot be looked at, leaves ``root`` by a link,
    or has a name that is not Unicode is told apart, so that it does not hold up the rest.

    Raises:
        UsageError: ``root`` is missing or cannot be read, or nothing in it matches.
    """
    if not root.exists():
        raise UsageError(f"{root}: no such file or folder: set source.path")
    try:
        real_root = root.resolve().parent if root.is_file() else root.resolve()
        listed, refused = list_files(root, pattern, passed_over)
    except OSError as error:
        raise UsageError(f"{root}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"source.pattern = {pattern!r} is not a relative glob: {error}") from error
    unreadable = [Unreadable(_printable(name), reason) for name, reason in sorted(refused.items())]
    now = Hour.of(clock)
    files = [
        RawFile(
            real=file.real,
            source_file=file.name,
            modified=modified_at(file.facts.st_mtime_ns),
            bytes=file.facts.st_size,
            root=real_root,
            now=now,
            tell_arrival=tell_arrival,
        )
        for file in once(listed, str(real_root))
    ]
    if not files and not unreadable:
        raise UsageError(f"{root}: no file matches {pattern!r}: see source.pattern")
    return files, unreadable


def _printable(name: str) -> str:
    r"""A name of a file as a sentence may hold it, bytes that are not UTF-8 as ``\xe9``."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def modified_at(modified_ns: int) -> datetime:
    """When a file was modified, in whole microseconds: what a table gives back compares equal."""
    return datetime.fromtimestamp(modified_ns // 1000 / 1e6, tz=UTC)


def arrived_in(files: Iterable[RawFile], hours: HourRange | None) -> list[RawFile]:
    """The files of the given hours of arrival; those whose paths tell none are always taken."""
    return [
        file
        for file in files
        if hours is None or not file.arrival_is_named or file.arrival in hours
    ]


def not_yet_ingested(
    files: Iterable[RawFile],
    audits: Iterable[FileAudit],
    read_by: str | None = None,
    arrivals_count: bool = False,
) -> tuple[list[Arrival], list[Unreadable]]:
    """The files that are new, have changed or were read by other settings than ``read_by``.

    With ``arrivals_count`` so are those that were taken for arrived in an hour in which, by their
    paths, they cannot have: other records of theirs come too late, or are of the future.

    The second value are those that cannot be read.  A file is opened only if its time or size
    differ from what was ingested, or the settings do; one that was merely touched is still known.
    """
    versions = versions_of(audits)
    fresh, unreadable = [], []
    for file in files:
        before = versions.get(file.source_file, [])
        same = [old for old in before if not arrivals_count or _may_arrive_in(file, old)]
        if any(
            (file.modified, file.bytes, read_by) == (old.modified, old.bytes, old.read_by)
            for old in same
        ):
            continue
        try:
            arrival = arrival_of(file, before, read_by)
        except OSError as error:
            unreadable.append(Unreadable(file.source_file, error.strerror or str(error)))
            continue
        if all((arrival.sha256, read_by) != (old.sha256, old.read_by) for old in same):
            fresh.append(arrival)
    return fresh, unreadable


def _may_arrive_in(file: RawFile, account: FileAudit) -> bool:
    """Whether a file may have arrived when its account says that it did."""
    return file.may_have_arrived is None or Hour.of(account.arrival) in file.may_have_arrived


def arrival_of(file: RawFile, before: Iterable[FileAudit], read_by: str | None = None) -> Arrival:
    """A file with its digest, and the contents of before that it begins with.

    A content that was there before keeps the hour in which it first arrived.  Where a file was
    another one once, which nobody can read again, nothing tells the rows of the two apart: then
    what was read by other settings than ``read_by`` stays beside what the file says now.

    Raises:
        OSError: the file cannot be read.
    """
    before = list(before)
    digest, beginnings = file.sha256({old.bytes for old in before})
    arrivals = [
        Hour.of(old.arrival) for old in before if old.sha256 == digest and _may_arrive_in(file, old)
    ]
    if arrivals:
        file = replace(file, arrived_before=min(arrivals))
    continues = {old.sha256 for old in before if beginnings.get(old.bytes) == old.sha256}
    if not continues.issuperset(old.sha256 for old in before):
        continues -= {old.sha256 for old in before if old.read_by != read_by}
    return Arrival(file, digest, frozenset(continues))


def grown(arrivals: Iterable[Arrival], versions: Mapping[str, list[FileAudit]]) -> list[str]:
    """The files whose content takes the place of all that is known of them."""
    return [
        arrival.file.source_file
        for arrival in arrivals
        if (recorded := versions.get(arrival.file.source_file))
        and arrival.continues.issuperset(old.sha256 for old in recorded)
    ]


def lines_of(file: RawFile, settings: Settings, source: Source) -> Iterator[Line]:
    """The lines of a raw file, or its records, as the settings say that they are to be read.

    Raises:
        UnreadableFileError: the file cannot be opened or read.
    """
    rules = settings.ingest
    return read_lines(
        file.path,
        settings.source.encoding,
        rules.max_record_chars,
        rules.max_expansion,
        file.root,
        quotes=source.record_quotes,
    )
