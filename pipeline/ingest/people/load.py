"""Files of ``source.people_path`` -> the table ``people``, and the hours that this makes stale.

The hours are marked first, in a commit of their own, and the table follows.  A run that is killed
between the two has marked too much at worst: the next one finds the files unlike the table and
marks once more.  No other process can come between, since whoever calls this holds the lake's lock
(``pipeline.process.locks``) from before the first commit until after the last, and so does whoever
makes sessions.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pyarrow as pa

from pipeline.contained_files import open_inside, resolve_in_landing
from pipeline.errors import HourglassError, UsageError
from pipeline.hours import Hour
from pipeline.ingest.landing.zone import find_raw_files
from pipeline.ingest.metadata.loaded_table import (
    DIGEST,
    FAULTS,
    MOST_NAMED,
    READ_BY,
    LoadedTable,
)
from pipeline.ingest.people.changes import changed_intervals, mark_stale, touched_hours
from pipeline.ingest.people.records import NOT_TOLD_US, FileToRead, RecordReader
from pipeline.ingest.people.standing import Standing, resolve
from pipeline.lake.lake import Lake
from pipeline.lake.people import NO_START_US
from pipeline.lake.steps import SESSIONIZE
from pipeline.lake.tables import PEOPLE
from pipeline.settings.settings import Settings
from pipeline.sources.lines import line_encoding
from pipeline.text.wording import counted

_FOLDER_PATTERN = "**/*"
_CHUNK_BYTES = 1 << 20


def load_people(lake: Lake, settings: Settings) -> LoadedTable | None:
    """Replace the table where the files say something else by now; None where there is neither.

    Hours with events that are another person's from now on become stale.  Only the lake's one
    writer may call this.

    Raises:
        HourglassError: a file or folder is missing or cannot be read to its end, so that nobody
            knows what it withdraws; or another program committed.  The table is as it was.
    """
    path, recorded = settings.source.people_path, lake.properties(PEOPLE)
    if path is None:
        if recorded.get("total-records", "0") == "0":
            return None
        rows, note = _replace(lake, PEOPLE.schema.empty_table(), {})
        return LoadedTable(rows, note=f"people: source.people_path is not set any more: {note}")
    files = _files(path, settings.source.path)
    digest, read_by = _digest(files), _reading_rules(settings)
    if recorded.get(DIGEST) == digest and recorded.get(READ_BY) == read_by:
        former = json.loads(recorded.get(FAULTS, "[]"))
        return LoadedTable(0, tuple(former), is_new=False)
    reader = RecordReader(settings)
    parts = [reader.read(file, number, MOST_NAMED) for number, file in enumerate(files)]
    bad_lines = [sentence for file in parts for sentence in file.faults]
    standing = resolve(pa.concat_tables([file.records for file in parts]))
    named = [
        *bad_lines[:MOST_NAMED],
        *_more(sum(file.bad_lines for file in parts), "line"),
        *_contradictions(standing, files),
    ]
    made_from = {DIGEST: digest, READ_BY: read_by, FAULTS: json.dumps(named)}
    rows, note = _replace(lake, standing.people, made_from)
    return LoadedTable(rows, tuple(named), note=f"people: {note}")


def people_have_changed(lake: Lake, settings: Settings) -> bool:
    """Whether :func:`load_people` would look at what the files say, or withdraw all; reads them.

    Raises:
        HourglassError: a file or folder is missing or cannot be read.
    """
    path, recorded = settings.source.people_path, lake.properties(PEOPLE)
    if path is None:
        return recorded.get("total-records", "0") != "0"
    digest = _digest(_files(path, settings.source.path))
    return (recorded.get(DIGEST), recorded.get(READ_BY)) != (digest, _reading_rules(settings))


def _replace(lake: Lake, people: pa.Table, made_from: dict[str, str]) -> tuple[int, str]:
    """Mark the hours whose sessions change, then replace the table; rows, and what that was."""
    before = lake.arrow(PEOPLE)
    changed = changed_intervals(before, people)
    hours: list[Hour] = []
    if changed.num_rows:
        # Else the marks would make a part of a killed step's work look finished.
        lake.undo_unfinished()
        hours = touched_hours(lake, changed, lake.filled(SESSIONIZE).keys())
        mark_stale(lake, hours)
    lake.overwrite(PEOPLE, "true", people, made_from)
    ids = counted(len(changed["anonymous_id"].unique()), "id")
    stale = counted(len(hours), "hour")
    return people.num_rows, (
        f"{counted(people.num_rows, 'interval')} in which an id is a person, "
        f"{before.num_rows:,} before; {ids} changed, which makes {stale} stale"
    )


def _files(path: Path, landing: Path) -> list[FileToRead]:
    """The file, or all files of the folder in the order of their names."""
    try:
        if not path.exists():
            raise HourglassError(f"{path}: no such file or folder: see source.people_path")
        root, real = resolve_in_landing(path, landing)
    except OSError as error:
        raise HourglassError(f"{path}: cannot be read: {error.strerror or error}") from error
    if real.is_file():
        return [FileToRead(path, real, root)]
    # Their arrival plays no role here.
    arrival = Hour(0)
    try:
        raw_files, unreadable = find_raw_files(real, _FOLDER_PATTERN, lambda _: None, arrival.start)
    except UsageError as error:
        raise HourglassError(
            f"{path}: there is no file in it, or it cannot be read: see source.people_path"
        ) from error
    if unreadable:
        raise HourglassError(f"{path}: {unreadable[0]}: nothing of source.people_path was loaded")
    return [FileToRead(path / file.source_file, file.path, file.root) for file in raw_files]


def _digest(files: Sequence[FileToRead]) -> str:
    """Of all files' names and bytes."""
    digest = hashlib.sha256()
    for file in files:
        of_file = hashlib.sha256()
        try:
            opened = open_inside(file.root, file.real) if file.root else file.real.open("rb")
            with opened as content:
                while chunk := content.read(_CHUNK_BYTES):
                    of_file.update(chunk)
        except OSError as error:
            reason = error.strerror or str(error)
            raise HourglassError(f"{file.name}: cannot be read: {reason}") from error
        digest.update(f"{file.name}\0{of_file.hexdigest()}\n".encode())
    return digest.hexdigest()


def _reading_rules(settings: Settings) -> str:
    """All settings that decide what a line says."""
    source = settings.source
    chosen = {
        "encoding": line_encoding(source.encoding),
        "max_expansion": settings.ingest.max_expansion,
        "max_id_chars": settings.ingest.max_id_chars,
        "nothing": sorted(set(source.nothing)),
        **source.model_dump(include={"trim", "time_unit", "time_format", "timezone", "epoch"}),
    }
    return json.dumps(chosen, sort_keys=True, ensure_ascii=True)


def _contradictions(standing: Standing, files: Sequence[FileToRead]) -> list[str]:
    """A sentence for each id and beginning of which two records say something else at once."""
    n = standing.contradicted.num_rows
    few = (
        side.slice(0, MOST_NAMED).to_pylist()
        for side in (standing.contradicted, standing.contradicting)
    )
    sentences = []
    for first, other in zip(*few, strict=True):
        begins = "" if first["from_us"] == NO_START_US else f" from {_iso(first['from_us'])} on"
        told_us = first["told_us"]
        when = "without told_at" if told_us == NOT_TOLD_US else f"told at {_iso(told_us)}"
        lines = " and ".join(
            f"{files[row['file']].name}: line {row['line']}"
            for row in sorted((first, other), key=lambda row: (row["file"], row["line"]))
        )
        sentences.append(
            f"{lines} contradict each other about {first['anonymous_id']!r}{begins}, both {when}: "
            "neither counts; a record with a later told_at corrects them"
        )
    return [*sentences, *_more(n, "contradiction")]


def _more(n: int, what: str) -> list[str]:
    more = n - MOST_NAMED
    return [f"people: {counted(more, f'more {what}')} of this kind"] if more > 0 else []


def _iso(time_us: int) -> str:
    return (Hour(0).start + timedelta(microseconds=time_us)).isoformat()
