"""Files below the tables' folders that no snapshot needs: of killed runs, of expired snapshots."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import HourglassError
from pipeline.lake.lake import Lake
from pipeline.lake.location import local_path
from pipeline.lake.tables import ALL_TABLES
from pipeline.maintenance.expire import Snapshots
from pipeline.text.wording import counted, verb

if TYPE_CHECKING:
    from pyiceberg.table import Table

# All that Hourglass and PyIceberg write there; anything else is somebody's own.
_WRITTEN = {"data": (".parquet",), "metadata": (".avro", ".metadata.json")}


@dataclass(frozen=True, order=True)
class OrphanFile:
    """A file or folder: where it is, how large (a folder: with all its files)."""

    path: Path
    bytes: int


def find_orphans(lake: Lake, retained: Snapshots, older_than_s: float) -> list[OrphanFile]:
    """Files of the tables that no retained snapshot reaches, last changed before an instant.

    Args:
        lake: whose table folders are searched; nothing outside them is looked at, and no link is
            followed.
        retained: the snapshots, by table, whose files are needed.
        older_than_s: the instant, in seconds since 1970.

    Raises:
        HourglassError: a table lies elsewhere than the lake says (it was moved, copied or linked),
            or a file that is needed is missing; what is an orphan cannot be told then.
    """
    orphans = []
    for spec in ALL_TABLES:
        table = lake.table(spec)
        root = _root(table, lake.warehouse / spec.name)
        needed = _needed(table, retained.get(spec.name, frozenset()))
        for path in _files(root):
            with suppress(FileNotFoundError):
                status = path.lstat()
                if str(path) not in needed and status.st_mtime < older_than_s:
                    orphans.append(OrphanFile(path, status.st_size))
    return sorted(orphans)


def check_folders(lake: Lake) -> None:
    """Make sure that the lake's tables lie where the lake says.

    Raises:
        HourglassError: one lies elsewhere: removing files here would hurt another lake.
    """
    for spec in ALL_TABLES:
        _root(lake.table(spec), lake.warehouse / spec.name)


def remove_files(files: Iterable[OrphanFile]) -> None:
    """Remove files, and the folders that they leave empty; what is gone already is no error."""
    for file in files:
        file.path.unlink(missing_ok=True)
        # The folder of a staging, never a table's own `data`.
        if file.path.parent.name not in _WRITTEN:
            with suppress(OSError):
                file.path.parent.rmdir()


def _root(table: Table, folder: Path) -> Path:
    """The table's real folder, if it is the one that the lake means."""
    root = Path(os.path.realpath(local_path(table.location())))
    expected = Path(os.path.realpath(folder.parent)) / folder.name
    if root != expected:
        raise HourglassError(
            f"table {folder.name}: its files lie in {root}, not in {expected} (the lake was moved, "
            "copied or linked): nothing was removed; maintain it where it was made"
        )
    return root


def _needed(table: Table, retained: frozenset[int]) -> set[str]:
    """Real paths of everything that the retained snapshots, or a reader of the table, may open.

    PyIceberg's ``inspect.all_files`` lists the same of all snapshots, not of some, and with
    statistics of all columns, which takes twice the time (PyIceberg 0.12).
    """
    metadata = table.metadata
    reached: set[str] = set()
    for snapshot in metadata.snapshots:
        if snapshot.snapshot_id not in retained:
            continue
        reached.add(snapshot.manifest_list)
        for manifest in snapshot.manifests(table.io):
            if manifest.manifest_path in reached:
                continue
            reached.add(manifest.manifest_path)
            entries = manifest.fetch_manifest_entry(table.io)
            reached.update(entry.data_file.file_path for entry in entries)
    missing = sorted(path for path in reached if not Path(local_path(path)).is_file())
    if missing:
        raise HourglassError(
            f"table {table.name()[-1]}: {counted(len(missing), 'file')} that its snapshots name "
            f"{verb(len(missing), 'is', 'are')} missing, "
            f"the first is {missing[0]}: nothing was removed; restore them, or roll back"
        )
    reached.add(table.metadata_location)
    reached.update(entry.metadata_file for entry in metadata.metadata_log)
    folders = {folder: os.path.realpath(folder) for folder in map(_folder, reached)}
    return {f"{folders[_folder(path)]}/{Path(path).name}" for path in reached}


def _folder(location: str) -> str:
    return str(Path(local_path(location)).parent)


def _files(root: Path) -> Iterator[Path]:
    """Files of the kinds that tables are made of; links are neither followed nor listed."""
    for subfolder, endings in _WRITTEN.items():
        if (root / subfolder).is_symlink():
            continue
        for folder, _, names in os.walk(root / subfolder, followlinks=False):
            for name in names:
                path = Path(folder, name)
                if name.endswith(endings) and not path.is_symlink():
                    yield path
