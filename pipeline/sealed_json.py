"""Records: JSON files that are written once and never changed.

A record is canonical JSON whose name ends in the beginning of its SHA-256, so that no one can
change it unnoticed: ``<folder>/<prefix>-<12 hex>.json``.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import HourglassError
from pipeline.files import flush, written_whole
from pipeline.hours import Hour

FORMAT = 1
_NAME = re.compile(r".+-([0-9a-f]{12})\.json")
_HOUR_CHARS = 13
_MODE = 0o444


@dataclass(frozen=True)
class Record:
    """A verified record: where it lies, its whole SHA-256, and what it says."""

    path: Path
    sha256: str
    content: dict[str, Any]


def write_record(folder: Path, prefix: str, content: dict[str, Any]) -> Path:
    """Write ``<folder>/<prefix>-<12 hex>.json``, read-only, whole or not at all, and for good.

    Raises:
        HourglassError: a file of that name holds something else.
    """
    text = json.dumps(_plain(content), indent=1, sort_keys=True, ensure_ascii=False)
    data = (text + "\n").encode()
    path = folder / f"{prefix}-{hashlib.sha256(data).hexdigest()[:12]}.json"
    if path.exists():
        if path.read_bytes() != data:
            raise HourglassError(
                f"{path}: holds something else than its name says: move it away and run again"
            )
        # Whoever wrote it may have been killed before the disk held its name.
        flush(folder)
        return path

    def write(unfinished: Path) -> None:
        unfinished.write_bytes(data)
        flush(unfinished)
        unfinished.chmod(_MODE)

    # Two writers of one name write the same bytes, since the name is made from them.
    written_whole(path, write)
    flush(folder)
    return path


def read_record(path: Path) -> Record:
    """Read a record and verify it against its name.

    Raises:
        HourglassError: the file is missing, changed, renamed or of another format.
    """
    match = _NAME.fullmatch(path.name)
    if not match:
        raise HourglassError(f"{path}: the name does not end in a checksum: give a decision file")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise HourglassError(
            f"{path}: the decision cannot be read ({error.strerror}): run hourglass gate"
        ) from error
    sha256 = hashlib.sha256(data).hexdigest()
    if not sha256.startswith(match[1]):
        raise HourglassError(
            f"{path}: changed after it was written (checksum {sha256[:12]}): run hourglass gate"
        )
    try:
        content = json.loads(data)
    except ValueError as error:
        raise HourglassError(f"{path}: not JSON: run hourglass gate") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise HourglassError(f"{path}: not a record of format {FORMAT}: run hourglass gate")
    return Record(path=path, sha256=sha256, content=content)


def is_record(path: Path) -> bool:
    """Whether a file is named as a record is."""
    return _NAME.fullmatch(path.name) is not None


def hour_of_name(path: Path) -> Hour | None:
    """The hour that a record's name begins with; None where it begins otherwise."""
    if not is_record(path):
        return None
    try:
        return Hour.parse(path.name[:_HOUR_CHARS])
    except HourglassError:
        return None


def dated_records(
    folder: Path, first: Hour | None = None, stop: Hour | None = None, *, newest_first: bool = False
) -> Iterator[tuple[Hour, Path]]:
    """Records whose names begin with an hour of a range, with it, in the order of their names.

    Only names are read, and of those outside the range nothing but their text, which sorts as time.
    """
    begins, ends = str(first or ""), str(stop or "~")
    paths = folder.iterdir() if folder.is_dir() else ()
    inside = [path for path in paths if begins <= path.name[:_HOUR_CHARS] < ends]
    for path in sorted(inside, reverse=newest_first):
        hour = hour_of_name(path)
        if hour is not None:
            yield hour, path


def _plain(value: object) -> object:
    """JSON has no NaN or infinity; both mean here that nothing is known."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
