"""The raw files that wait to be ingested, and what is known of each."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from pipeline.accounts import Account, versions_of
from pipeline.errors import UsageError
from pipeline.hours import Hour, HourRange
from pipeline.sources.fields import is_storable

_CHUNK_BYTES = 1 << 20


class Unreadable(NamedTuple):
    """A file, or a folder in the landing zone, that cannot be read, and why."""

    source_file: str
    reason: str

    def __str__(self) -> str:
        return f"{self.source_file}: {self.reason}"


@dataclass(frozen=True)
class RawFile:
    """One raw file; ``source_file`` is its path below the source folder, in every table."""

    path: Path
    source_file: str
    arrival: Hour
    #: Whether the file's name tells its hour of arrival; otherwise it is the hour of the run.
    arrival_is_named: bool
    modified: datetime
    bytes: int

    def sha256(self, sizes: Collection[int] = ()) -> tuple[str, dict[int, str]]:
        """Digest of the file's bytes as they are on disk, and of its first so many bytes.

        Sizes that the file does not have are left out.

        Raises:
            OSError: the file cannot be read.
        """
        digest = hashlib.sha256()
        beginnings = {}
        read = 0
        with self.path.open("rb") as raw:
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
    root: Path, pattern: str, arrival_hour: Callable[[str], Hour | None], clock: datetime
) -> tuple[list[RawFile], list[Unreadable]]:
    """The files below ``root`` (or ``root`` itself) that match, in the order of their names.

    Hidden files, and those of a writer that has not finished (``*.tmp``, ``_*``), are passed
    over.  What cannot be looked at is told apart, so that it does not hold up the rest.

    Raises:
        UsageError: ``root`` is missing or cannot be read, nothing in it matches, or a file's
            name is not Unicode.
    """
    if not root.exists():
        raise UsageError(f"{root}: no such file or folder: set source.path, or pass --raw")
    unreadable = []
    try:
        if root.is_file():
            base, paths = root.parent, [root]
        else:
            # Listed for its error: globbing passes over a folder it may not read.
            next(root.iterdir(), None)
            base, paths = root, sorted(p for p in root.glob(pattern) if _is_finished(root, p))
            unreadable = _closed_folders(root) if "/" in pattern else []
    except OSError as error:
        raise UsageError(f"{root}: cannot be read: {error.strerror}") from error
    except (ValueError, NotImplementedError) as error:
        raise UsageError(f"source.pattern = {pattern!r} is not a relative glob: {error}") from error
    files = []
    for path in paths:
        name = path.relative_to(base).as_posix()
        if not is_storable(name):
            raise UsageError(f"{os.fsencode(name)!r}: this file's name is not UTF-8: rename it")
        try:
            facts = path.stat()
        except OSError as error:
            unreadable.append(Unreadable(name, error.strerror or str(error)))
            continue
        if stat.S_ISREG(facts.st_mode):
            files.append(_describe(path, name, facts, arrival_hour(name), clock))
    if not files and not unreadable:
        raise UsageError(f"{root}: no file matches {pattern!r}: see source.pattern")
    return files, unreadable


def _is_finished(root: Path, path: Path) -> bool:
    parts = path.relative_to(root).parts
    return not path.name.endswith(".tmp") and not any(part.startswith((".", "_")) for part in parts)


def _closed_folders(root: Path) -> list[Unreadable]:
    """The folders below ``root`` that globbing passes over because it may not read them."""
    closed = []

    def note(error: OSError) -> None:
        path = Path(error.filename)
        if _is_finished(root, path):
            reason = error.strerror or str(error)
            closed.append(Unreadable(path.relative_to(root).as_posix(), reason))

    for _ in os.walk(root, onerror=note):
        pass
    return closed


def _describe(
    path: Path, name: str, facts: os.stat_result, named: Hour | None, clock: datetime
) -> RawFile:
    return RawFile(
        path=path.absolute(),
        source_file=name,
        arrival=named or Hour.of(clock),
        arrival_is_named=named is not None,
        # Whole microseconds, so that what a table gives back compares equal.
        modified=datetime.fromtimestamp(facts.st_mtime_ns // 1000 / 1e6, tz=UTC),
        bytes=facts.st_size,
    )


def arrived_in(files: Iterable[RawFile], hours: HourRange | None) -> list[RawFile]:
    """The files of the given hours of arrival; those whose names tell none are always taken."""
    return [
        file
        for file in files
        if hours is None or not file.arrival_is_named or file.arrival in hours
    ]


def not_yet_ingested(
    files: Iterable[RawFile], known: Iterable[Account], read_by: str | None = None
) -> tuple[list[Arrival], list[Unreadable]]:
    """The files that are new, have changed or were read by other settings than ``read_by``.

    The second value are those that cannot be read.  A file is opened only if its time or size
    differ from what was ingested, or the settings do; one that was merely touched is still known.
    """
    versions = versions_of(known)
    fresh, unreadable = [], []
    for file in files:
        before = versions.get(file.source_file, [])
        if any(
            (file.modified, file.bytes, read_by) == (old.modified, old.bytes, old.read_by)
            for old in before
        ):
            continue
        try:
            arrival = arrival_of(file, before, read_by)
        except OSError as error:
            unreadable.append(Unreadable(file.source_file, error.strerror or str(error)))
            continue
        if all((arrival.sha256, read_by) != (old.sha256, old.read_by) for old in before):
            fresh.append(arrival)
    return fresh, unreadable


def arrival_of(file: RawFile, before: Iterable[Account], read_by: str | None = None) -> Arrival:
    """A file with its digest, and the contents of before that it begins with.

    A content that was there before keeps the hour in which it first arrived.  Where a file was
    another one once, which nobody can read again, nothing tells the rows of the two apart: then
    what was read by other settings than ``read_by`` stays beside what the file says now.

    Raises:
        OSError: the file cannot be read.
    """
    before = list(before)
    digest, beginnings = file.sha256({old.bytes for old in before})
    arrivals = [Hour.of(old.arrival) for old in before if old.sha256 == digest]
    if arrivals and not file.arrival_is_named:
        file = replace(file, arrival=min(arrivals))
    continues = {old.sha256 for old in before if beginnings.get(old.bytes) == old.sha256}
    if not continues.issuperset(old.sha256 for old in before):
        continues -= {old.sha256 for old in before if old.read_by != read_by}
    return Arrival(file, digest, frozenset(continues))


def grown(arrivals: Iterable[Arrival], versions: Mapping[str, list[Account]]) -> list[str]:
    """The files whose content takes the place of all that is known of them."""
    return [
        arrival.file.source_file
        for arrival in arrivals
        if (known := versions.get(arrival.file.source_file))
        and arrival.continues.issuperset(old.sha256 for old in known)
    ]
