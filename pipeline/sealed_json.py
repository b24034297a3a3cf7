"""Records: JSON files that are written once and never changed.

A record is canonical JSON whose name ends in the beginning of its SHA-256, so that no one can
change it unnoticed: ``<folder>/<prefix>-<12 hex>.json``.

So that a folder stays short however many hours lie behind it, old records are filed away in
``<folder>/past``: those whose names begin with an hour in a folder a month, ``past/2016-03``,
others in one for their first word, ``past/promotion``.  Whoever names a record names it where it
was written, and it is read where it lies.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import HourglassError
from pipeline.files import flush, names_in, written_whole
from pipeline.hours import Hour

FORMAT = 1
PAST = "past"
_NAME = re.compile(r".+-([0-9a-f]{12})\.json")
_HOUR_CHARS, _MONTH_CHARS = 13, 7
_DATED = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}-")
_MONTH = re.compile(r"\d{4}-\d{2}")
_MODE = 0o444


@dataclass(frozen=True)
class Record:
    """A verified record: where it lies, its whole SHA-256, and what it says."""

    path: Path
    sha256: str
    content: dict[str, Any]

    @property
    def folder(self) -> Path:
        """Of all records of its kind: where it was written, though it may be filed away."""
        return folder_of(self.path)


def write_record(folder: Path, prefix: str, content: dict[str, Any]) -> Path:
    """Write ``<folder>/<prefix>-<12 hex>.json``, read-only, whole or not at all, and for good.

    Raises:
        HourglassError: a file of that name holds something else.
    """
    text = json.dumps(json_ready(content), indent=1, sort_keys=True, ensure_ascii=False)
    data = (text + "\n").encode()
    path = folder / f"{prefix}-{hashlib.sha256(data).hexdigest()[:12]}.json"
    try:
        earlier, before = read_where_it_lies(path)
    except FileNotFoundError:
        pass
    else:
        if before != data:
            raise HourglassError(
                f"{earlier}: holds something else than its name says: move it away and run again"
            )
        # Whoever wrote it may have been killed before the disk held its name.
        flush(earlier.parent)
        return earlier

    def write(unfinished: Path) -> None:
        unfinished.write_bytes(data)
        flush(unfinished)
        unfinished.chmod(_MODE)

    # Two writers of one name write the same bytes, since the name is made from them.
    written_whole(path, write)
    flush(folder)
    return path


def read_record(path: Path) -> Record:
    """Read a record, wherever it lies by now, and verify it against its name.

    Raises:
        HourglassError: the file is missing, changed, renamed or of another format.
    """
    match = _NAME.fullmatch(path.name)
    if not match:
        raise HourglassError(f"{path}: the name does not end in a checksum: give a decision file")
    try:
        path, data = read_where_it_lies(path)
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
    if not _DATED.match(path.name) or not is_record(path):
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
    Months of the past that are outside of it, or that nobody comes to, are not even listed.
    """
    begins, ends = str(first or ""), str(stop or "~")
    by_month: dict[str, dict[str, Path]] = {}
    for name in names_in(folder):
        if begins <= name[:_HOUR_CHARS] < ends:
            by_month.setdefault(name[:_MONTH_CHARS], {})[name] = folder / name
    past = folder / PAST
    filed = {
        month
        for month in filter(_MONTH.fullmatch, names_in(past))
        if begins[:_MONTH_CHARS] <= month <= ends[:_MONTH_CHARS]
    }
    for month in sorted(by_month.keys() | filed, reverse=newest_first):
        paths = by_month.get(month, {})
        if month in filed:
            inside = (n for n in names_in(past / month) if begins <= n[:_HOUR_CHARS] < ends)
            # What is being filed away at this moment may be met twice.
            paths = {name: past / month / name for name in inside} | paths
        for name in sorted(paths, reverse=newest_first):
            hour = hour_of_name(paths[name])
            if hour is not None:
                yield hour, paths[name]


def all_records(folder: Path) -> Iterator[Path]:
    """Every record of a folder, also those filed away; its cost grows with their number."""
    for parent in _folders(folder):
        yield from (parent / name for name in sorted(names_in(parent)) if _NAME.fullmatch(name))


def record_names(folder: Path) -> set[str]:
    """The names of all of them."""
    return {n for parent in _folders(folder) for n in names_in(parent) if _NAME.fullmatch(n)}


def where_filed(path: Path) -> Path:
    """Where a record lies once it is filed away."""
    return folder_of(path) / PAST / _drawer(path) / path.name


def find_record(path: Path) -> Path | None:
    """Where a record lies now, if it does."""
    if path.is_file():
        return path
    filed = where_filed(path)
    return filed if filed.is_file() else None


def file_away(path: Path) -> None:
    """Put a record among those of the past; one that is there already is never replaced.

    Of a copy that says something else, such as one that was put back by half, both stay.

    Raises:
        OSError: it cannot be moved, or another process moved it.
    """
    target = where_filed(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists() or target.read_bytes() == path.read_bytes():
        path.replace(target)


def file_each_away(paths: Iterable[Path]) -> None:
    """File records away; those that cannot be moved now stay, since nothing depends on it.

    A full disk or a folder that may only be read must not keep anyone from rolling back.
    """
    for path in paths:
        with suppress(OSError):
            file_away(path)


def file_away_oldest(folder: Path, keep: int) -> None:
    """File dated records away, all but the newest ``keep``, once there are twice as many."""
    dated = sorted(name for name in names_in(folder) if _DATED.match(name))
    if len(dated) > 2 * keep:
        file_each_away(folder / name for name in dated[:-keep])


def folder_of(path: Path) -> Path:
    """The folder that a record was written to, though it may be filed away."""
    parent = path.parent
    is_filed = parent.parent.name == PAST and parent.name == _drawer(path)
    return parent.parent.parent if is_filed else parent


def _drawer(path: Path) -> str:
    name = path.name
    return name[:_MONTH_CHARS] if _DATED.match(name) else name.partition("-")[0]


def changed_ns(path: Path) -> int:
    """When a record was last changed, wherever it lies by now: moving it does not count."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return where_filed(path).stat().st_mtime_ns


def read_where_it_lies(path: Path) -> tuple[Path, bytes]:
    """Where a record lies now, and its bytes.

    Raises:
        OSError: it is gone, or cannot be read.
    """
    try:
        return path, path.read_bytes()
    except FileNotFoundError:
        filed = where_filed(path)
        if not filed.is_file():
            raise
        return filed, filed.read_bytes()


def _folders(folder: Path) -> list[Path]:
    """A folder of records, and those below it that records are filed away in."""
    past = folder / PAST
    return [folder, *(past / name for name in sorted(names_in(past)))]


def json_ready(value: Any) -> Any:  # noqa: ANN401 - whatever goes into JSON
    """The same with None for NaN and infinity, which JSON does not have: nothing is known."""
    if isinstance(value, dict):
        return {str(key): json_ready(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [json_ready(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
