"""Lakes with a past, for the tests of upkeep: several states, fragments, files of killed runs."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from test_dataset_quality import manifest as full_manifest

from pipeline.hours import Hour, HourRange
from pipeline.lake.fingerprint import content_digest
from pipeline.lake.lake import Lake, State
from pipeline.lake.parquet_files import HourFile
from pipeline.lake.tables import (
    ALL_TABLES,
    FILLED_HOURS,
    ITEM_HOURS,
    ITEMS,
    SOURCE_FILES,
    TableSpec,
)
from pipeline.settings.settings import MaintainSettings, Settings

H0 = Hour.parse("2016-03-14T13")
PARTED = (ITEM_HOURS, FILLED_HOURS, SOURCE_FILES)


class OldLake:
    """A lake in a work folder whose every step is one state."""

    def __init__(self, work: Path, **rules: object) -> None:
        self.settings = Settings(work=work, maintain=MaintainSettings(**rules))
        self.lake = Lake(self.settings.resolved_catalog_uri, self.settings.resolved_warehouse)

    def write(self, hour: Hour, *items: str) -> HourFile:
        """A file of ``item_hours``, uncommitted."""
        folder = self.lake.warehouse / ITEM_HOURS.name / "data" / uuid.uuid4().hex
        folder.mkdir(parents=True)
        path = folder / f"{hour}.parquet"
        rows = [{"hour": hour.start, "item_id": item, "events": 1, "users": 1} for item in items]
        pq.write_table(pa.Table.from_pylist(rows, ITEM_HOURS.schema), path)
        return HourFile(str(path), path.stat().st_size, len(rows), hour)

    def commit(self, hour: Hour, *files: tuple[str, ...]) -> None:
        """Commit an hour of ``item_hours``, a file for each tuple of items, but record nothing."""
        written = [self.write(hour, *items) for items in files]
        self.lake.replace(ITEM_HOURS, HourRange(hour, hour + 1), written, {})

    def step(self, hour: Hour, *files: tuple[str, ...]) -> State:
        """A whole step; returns the state that it left."""
        self.commit(hour, *files)
        return self.record(hour, ",".join(sum(files, ())))

    def record(self, hour: Hour, digest: str) -> State:
        row = dict.fromkeys(FILLED_HOURS.schema.names, "")
        row |= {"hour": hour.start, "step": "ingest", "output_digest": digest, "rows": 1}
        rows = pa.Table.from_pylist([row], FILLED_HOURS.schema)
        self.lake.record_filled("ingest", HourRange(hour, hour + 1), rows, {})
        return self.lake.state()

    def account(self, *names: str) -> None:
        """A commit of ``source_files``, a file of its own."""
        rows = [
            {"source_file": name, "arrival": H0.start, "bytes": 1, "sha256": name} for name in names
        ]
        self.lake.append(SOURCE_FILES, pa.Table.from_pylist(rows, SOURCE_FILES.schema), {})

    def describe(self, *names: str) -> None:
        """A commit of ``items``, which no step waits for."""
        rows = [{"item_id": n, "categories": [n], "numbers": [("p", 1.5)]} for n in names]
        made_from = {"hourglass.source_sha256": "x"}
        self.lake.overwrite(ITEMS, "true", pa.Table.from_pylist(rows, ITEMS.schema), made_from)

    def rows(self, spec: TableSpec, state: State | None = None) -> str:
        """Digest of a table's rows by hour, within an hour in the order in which they are read."""
        rows = self.lake.arrow(spec, state=state)
        return content_digest(rows if spec.partition is None else rows.sort_by("hour"))

    def seen(self, state: State) -> dict[str, str]:
        """What a reader of a state sees."""
        return {spec.name: self.rows(spec, state) for spec in PARTED}

    def snapshot_ids(self, spec: TableSpec) -> set[int]:
        return {snapshot.snapshot_id for snapshot in self.lake.table(spec).metadata.snapshots}

    def replaced(self, state: State) -> datetime:
        """When ``filled_hours`` left the snapshot of a state."""
        wanted = state[FILLED_HOURS.name]
        log = [
            (entry.snapshot_id, entry.timestamp_ms)
            for entry in self.lake.table(FILLED_HOURS).metadata.snapshot_log
        ]
        at_ms = next(after[1] for each, after in pairwise(log) if each[0] == wanted)
        return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=at_ms)

    def files(self, spec: TableSpec = ITEM_HOURS) -> set[Path]:
        folder = self.lake.warehouse / spec.name
        return {path for path in folder.rglob("*") if path.is_file()}


def listing(folder: Path) -> str:
    """Digest of names, sizes and times of everything below a folder."""
    found = sorted(
        (str(path), status.st_size, status.st_mtime_ns)
        for path in folder.rglob("*")
        for status in [path.lstat()]
    )
    return hashlib.sha256(repr(found).encode()).hexdigest()


def age(paths: Iterable[Path], hours: float) -> None:
    """Let files and folders, with all in them, have changed that long ago."""
    at = datetime.now(UTC).timestamp() - hours * 3600
    for path in paths:
        for each in (path, *(path.rglob("*") if path.is_dir() else ())):
            os.utime(each, (at, at), follow_symlinks=False)


def part(work: Path, place: str, name: str, **manifest: object) -> Path:
    """A data set's folder, or that of a part which follows one."""
    folder = work / place / name
    folder.mkdir(parents=True)
    window = {"as_of": "2016-03-14T13", "window_start": "2016-03-14T03"}
    content = full_manifest(**{"dataset_id": name, **window, **manifest})
    (folder / "manifest.json").write_text(content.text)
    (folder / "part-00000.parquet").write_bytes(b"x" * 1000)
    return folder


def all_snapshots(old: OldLake) -> dict[str, set[int]]:
    return {spec.name: old.snapshot_ids(spec) for spec in ALL_TABLES}
