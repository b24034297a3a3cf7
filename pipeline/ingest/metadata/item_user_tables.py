"""Metadata: optional files about items and users -> the ``items`` and ``users`` tables."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.contained_files import open_inside, resolve_in_landing
from pipeline.errors import HourglassError
from pipeline.ingest.metadata.loaded_table import (
    DIGEST,
    FAULTS,
    MOST_NAMED,
    READ_BY,
    LoadedTable,
)
from pipeline.ingest.people.load import load_people
from pipeline.lake.lake import Lake
from pipeline.lake.tables import ITEMS, PEOPLE, USERS, TableSpec
from pipeline.settings.settings import Settings
from pipeline.sources.item_user_metadata import (
    MOST_CHARS,
    IdColumn,
    MetadataLine,
    read_metadata,
)
from pipeline.sources.lines import line_encoding, read_lines
from pipeline.text.wording import counted


@dataclass(frozen=True)
class LoadedMetadata:
    """Rows by table that were read now, and what is wrong with the files, a sentence each.

    ``faults`` are of files that came now or cannot be read; ``former_faults`` of files that were
    read before and are as they were.  ``notes`` say what else follows from what was read.
    """

    rows: dict[str, int]
    faults: tuple[str, ...] = ()
    former_faults: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def load_metadata(lake: Lake, settings: Settings) -> LoadedMetadata:
    """Replace the tables whose file is named in the settings and has changed.

    A line that is no row is left out and named.  Of a file with such lines, rows of before stay
    where no good line has their id: one of the bad lines may have been theirs.  Where an id is
    there more than once, its last good line holds.  A file that cannot be read leaves its table
    as it was.  Who is who is loaded as :func:`load_people` says; the lake's one writer calls this.
    """
    source = settings.source
    files: tuple[tuple[TableSpec, Path | None, IdColumn], ...] = (
        (ITEMS, source.items_path, "item_id"),
        (USERS, source.users_path, "user_id"),
    )
    loaded = {}
    for spec, path, id_column in files:
        if path is None:
            continue
        try:
            loaded[spec.name] = _load(lake, settings, spec, path, id_column)
        except HourglassError as error:
            loaded[spec.name] = LoadedTable(0, (str(error),))
    try:
        people = load_people(lake, settings)
    except HourglassError as error:
        loaded[PEOPLE.name] = LoadedTable(0, (str(error),))
    else:
        if people is not None:
            loaded[PEOPLE.name] = people
    return LoadedMetadata(
        {name: each.rows for name, each in loaded.items()},
        tuple(fault for each in loaded.values() if each.is_new for fault in each.faults),
        tuple(fault for each in loaded.values() if not each.is_new for fault in each.faults),
        tuple(each.note for each in loaded.values() if each.note),
    )


def _load(
    lake: Lake, settings: Settings, spec: TableSpec, path: Path, id_column: IdColumn
) -> LoadedTable:
    if not path.is_file():
        raise HourglassError(f"{path}: no such file: see source.{spec.name}_path")
    root, real = resolve_in_landing(path, settings.source.path)
    try:
        with open_inside(root, real) if root else real.open("rb") as content:
            digest = hashlib.sha256(content.read()).hexdigest()
    except OSError as error:
        raise HourglassError(f"{path}: cannot be read: {error.strerror or error}") from error
    recorded = lake.properties(spec)
    trim = settings.source.trim
    read_by = f"{line_encoding(settings.source.encoding)} {settings.ingest.max_expansion}"
    read_by += " trim" if trim else ""
    # Of before that was recorded: a file without faults says the same however it is read.
    as_before = recorded.get(READ_BY, "" if recorded.get(FAULTS, "[]") != "[]" else read_by)
    if recorded.get(DIGEST) == digest and as_before == read_by:
        return LoadedTable(0, tuple(json.loads(recorded.get(FAULTS, "[]"))), is_new=False)
    lines = read_lines(
        real, settings.source.encoding, MOST_CHARS, settings.ingest.max_expansion, root
    )
    rows, faults = _rows(path, read_metadata(path, lines, id_column, trim), id_column, lake, spec)
    made_from = {DIGEST: digest, FAULTS: json.dumps(faults), READ_BY: read_by}
    lake.overwrite(spec, "true", rows, made_from)
    return LoadedTable(rows.num_rows, tuple(faults))


def _rows(
    path: Path, lines: Iterator[MetadataLine], id_column: IdColumn, lake: Lake, spec: TableSpec
) -> tuple[pa.Table, list[str]]:
    """The rows of a table by its file, and what is wrong with some of its lines."""
    rows, faults, bad = {}, [], 0
    for line in lines:
        if line.fault:
            holds = "" if line.row is None else ", and this line holds"
            faults.append(f"{path}: line {line.number}: {line.fault}{holds}")
        if line.row is None:
            bad += 1
        else:
            rows[line.row[id_column]] = line.row
    table = pa.Table.from_pylist(list(rows.values()), schema=spec.schema)
    if bad:
        former = lake.arrow(spec)
        named = pc.is_in(former[id_column], value_set=table[id_column].combine_chunks())
        table = pa.concat_tables([table, former.filter(pc.invert(named))])
    more = len(faults) - MOST_NAMED
    if more > 0:
        faults = [*faults[:MOST_NAMED], f"{path}: {counted(more, 'more line')} of this kind"]
    return table, faults
