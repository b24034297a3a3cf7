"""Compaction: what lies in many small files is written anew as one, row for row the same."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from pipeline.errors import HourglassError
from pipeline.hours import Hour, contiguous
from pipeline.lake.commits import STEP_PROPERTY
from pipeline.lake.fingerprint import content_digest
from pipeline.lake.lake import Lake
from pipeline.lake.parquet_files import HourFile, HourWriter, read_file
from pipeline.lake.tables import ALL_TABLES, FILLED_HOURS, TableSpec
from pipeline.text.wording import counted
from pipeline.version import code_version

STEP = "maintain"
# Ingest appends to `source_files` at every run; a few files cost a reader nothing.
MOST_UNPARTED_FILES = 4
_OWN_PROPERTIES = "hourglass."


@dataclass(frozen=True)
class Fragments:
    """Files that would better be one: those of an hour, or of a whole table without hours."""

    spec: TableSpec
    hour: Hour | None
    files: tuple[HourFile, ...]

    @property
    def bytes(self) -> int:
        """Size of all the files."""
        return sum(file.bytes for file in self.files)


def fragments(lake: Lake, target_bytes: int) -> list[Fragments]:
    """What lies in more files than it should, and is below the target size in total.

    Tables parted by days are left out: each commit writes the days that it touches as one file.
    """
    groups = []
    for spec in ALL_TABLES:
        if spec.partition == "day":
            continue
        by_hour: dict[Hour | None, list[HourFile]] = defaultdict(list)
        for file in lake.files(spec):
            by_hour[file.hour].append(file)
        groups += [Fragments(spec, hour, tuple(files)) for hour, files in by_hour.items()]
    return [
        group
        for group in groups
        if len(group.files) > (MOST_UNPARTED_FILES if group.hour is None else 1)
        and group.bytes < target_bytes
    ]


def compact(lake: Lake, fragments_found: Sequence[Fragments]) -> None:
    """Rewrite fragments, one commit a table, and make the result visible as one state.

    Only the lake's one writer may call this.  Digests in ``filled_hours`` are of content, and the
    content stays: no hour becomes stale.

    Raises:
        HourglassError: what was written does not read back as what was there; that table is left
            as it was.
    """
    if not fragments_found:
        return
    for spec, group in itertools.groupby(fragments_found, key=lambda fragment: fragment.spec):
        properties = _properties(lake, spec)
        if spec.partition is None:
            _rewrite_whole(lake, next(group), properties)
        else:
            _rewrite_hours(lake, spec, list(group), properties)
    # No row changes; the new snapshot of filled_hours is what names those of the other tables.
    nothing = FILLED_HOURS.schema.empty_table()
    lake.record_filled(STEP, [], nothing, _made_by())


def _rewrite_hours(
    lake: Lake, spec: TableSpec, group: list[Fragments], properties: Mapping[str, str]
) -> None:
    writer = HourWriter(lake.staging(spec))
    written = [_rewritten(writer, fragment) for fragment in group]
    hours = contiguous(file.hour for file in written if file.hour is not None)
    lake.replace(spec, hours[0] if len(hours) == 1 else hours, written, properties)


def _rewritten(writer: HourWriter, fragment: Fragments) -> HourFile:
    if fragment.hour is None:
        raise ValueError(f"table {fragment.spec.name} is not parted by hours")
    schema = fragment.spec.schema
    parts = [read_file(file.path, schema.names).select(schema.names) for file in fragment.files]
    rows = pa.concat_tables([rows_of_file.cast(schema) for rows_of_file in parts])
    _check_count(fragment, rows)
    written = writer.write(fragment.hour, iter([rows]))
    again = read_file(written.path, schema.names).cast(schema)
    if content_digest(again) != content_digest(rows):
        raise HourglassError(
            f"table {fragment.spec.name}, {fragment.hour}: its rewritten file reads back otherwise "
            "than it was; the table is left as it is: check the disk"
        )
    return written


def _rewrite_whole(lake: Lake, fragment: Fragments, properties: Mapping[str, str]) -> None:
    rows = lake.arrow(fragment.spec)
    _check_count(fragment, rows)
    lake.overwrite(fragment.spec, "true", rows, properties)


def _check_count(fragment: Fragments, rows: pa.Table) -> None:
    expected = sum(file.rows for file in fragment.files)
    if rows.num_rows != expected:
        raise HourglassError(
            f"table {fragment.spec.name}: its files should hold {counted(expected, 'row')} and "
            f"hold {rows.num_rows}; the table is left as it is: restore them, or roll back"
        )


def _properties(lake: Lake, spec: TableSpec) -> dict[str, str]:
    """What the last commit recorded stays true of rows that stay as they are."""
    former = lake.properties(spec).items()
    own = {name: text for name, text in former if name.startswith(_OWN_PROPERTIES)}
    return {**own, **_made_by()}


def _made_by() -> dict[str, str]:
    return {STEP_PROPERTY: STEP, "hourglass.code": code_version()}
