"""The raw files that wait to be ingested, and what is known of each."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.hours import Hour, HourRange
from pipeline.sources.fields import is_storable


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

    def sha256(self) -> str:
        """Digest of the file's bytes as they are on disk."""
        with self.path.open("rb") as raw:
            return hashlib.file_digest(raw, "sha256").hexdigest()


def find_raw_files(
    root: Path,
    pattern: str,
    arrival_hour: Callable[[str], Hour | None],
    clock: datetime,
    hours: HourRange | None = None,
) -> list[RawFile]:
    """The files below ``root`` (or ``root`` itself) that match, in the order of their names.

    Where names tell the hour of arrival, ``hours`` narrows the choice; files whose names tell
    none are always taken whole.  Hidden files, and those of a writer that has not finished
    (``*.tmp``, ``_*``), are passed over.

    Raises:
        UsageError: the folder is missing or cannot be read, nothing in it matches, or a file's
            name is not Unicode.
    """
    if not root.exists():
        raise UsageError(f"{root}: no such file or folder: set source.path, or pass --raw")
    try:
        if root.is_file():
            base, paths = root.parent, [root]
        else:
            # Listed for its error: globbing passes over a folder it may not read.
            next(root.iterdir(), None)
            base, paths = root, sorted(p for p in root.glob(pattern) if _is_ready(root, p))
    except OSError as error:
        raise UsageError(f"{root}: cannot be read: {error.strerror}") from error
    except (ValueError, NotImplementedError) as error:
        raise UsageError(f"source.pattern = {pattern!r} is not a relative glob: {error}") from error
    if not paths:
        raise UsageError(f"{root}: no file matches {pattern!r}: see source.pattern")
    files = [_describe(base, path, arrival_hour, clock) for path in paths]
    return [
        file
        for file in files
        if hours is None or not file.arrival_is_named or file.arrival in hours
    ]


def _is_ready(root: Path, path: Path) -> bool:
    parts = path.relative_to(root).parts
    return (
        path.is_file()
        and not path.name.endswith(".tmp")
        and not any(part.startswith((".", "_")) for part in parts)
    )


def _describe(
    base: Path, path: Path, arrival_hour: Callable[[str], Hour | None], clock: datetime
) -> RawFile:
    name = path.relative_to(base).as_posix()
    if not is_storable(name):
        raise UsageError(f"{os.fsencode(name)!r}: this file's name is not UTF-8: rename it")
    facts = path.stat()
    named = arrival_hour(name)
    return RawFile(
        path=path.absolute(),
        source_file=name,
        arrival=named or Hour.of(clock),
        arrival_is_named=named is not None,
        # Whole microseconds, so that what a table gives back compares equal.
        modified=datetime.fromtimestamp(facts.st_mtime_ns // 1000 / 1e6, tz=UTC),
        bytes=facts.st_size,
    )


def not_yet_ingested(
    files: Iterable[RawFile], known: Iterable[tuple[str, datetime, int, str]]
) -> list[tuple[RawFile, str]]:
    """The files that are new or have changed, each with its digest.

    ``known`` holds name, modification time, size and digest of what was ingested before.  A file
    is read only if its time or size differ; one that was merely touched is still known.
    """
    unchanged: set[tuple[str, datetime, int]] = set()
    digests: set[tuple[str, str]] = set()
    for name, modified, size, digest in known:
        unchanged.add((name, modified, size))
        digests.add((name, digest))
    fresh = []
    for file in files:
        if (file.source_file, file.modified, file.bytes) in unchanged:
            continue
        digest = file.sha256()
        if (file.source_file, digest) not in digests:
            fresh.append((file, digest))
    return fresh
