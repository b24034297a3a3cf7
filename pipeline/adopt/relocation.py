"""A lake that was copied, moved or restored becomes a lake of its own, at its present place.

Whatever Iceberg's files say of where others lie is written anew beside them, in new files; one
transaction of the catalog then makes all tables use those.  A run that is killed before that has
changed nothing that a reader sees, and the next one writes the same files again.  The former place
is neither read nor written: what is missing here is told.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.adopt.moved_metadata import (
    FORMAT,
    MovedTable,
    file_io,
    read_from,
    read_manifests,
    read_metadata,
    rewritten,
)
from pipeline.errors import HourglassError
from pipeline.lake.catalog import NAMESPACE, CatalogRow, catalog_rows, sqlite_file
from pipeline.lake.location import check_metadata, local_path, same_folder, table_folder
from pipeline.lake.tables import ALL_TABLES

if TYPE_CHECKING:
    from pyiceberg.catalog.sql import SqlCatalog
    from pyiceberg.manifest import ManifestFile
    from pyiceberg.table.metadata import TableMetadata


def moved_tables(catalog: SqlCatalog, warehouse: Path) -> list[MovedTable]:
    """The tables that name another place; tables of other programs go with the lake's own.

    Raises:
        HourglassError: the metadata of one is missing here.
    """
    warehouse = warehouse.absolute()
    rows = catalog_rows(catalog, all_namespaces=True)
    own = {spec.name for spec in ALL_TABLES}
    moved, warehouses = [], set()
    for row in rows:
        if row.namespace == NAMESPACE and row.table in own:
            table = _moved(row, warehouse / row.table, warehouse)
            if table is not None:
                moved.append(table)
                warehouses |= {os.path.dirname(former) for former in table.formers}  # noqa: PTH120
    for row in rows:
        folder = table_folder(row.metadata_location)
        for former in sorted(warehouses):
            if not (row.namespace == NAMESPACE and row.table in own) and folder.startswith(
                f"{former}/"
            ):
                here = warehouse / folder.removeprefix(f"{former}/")
                moved.append(MovedTable(row, (folder,), here))
    return moved


def _moved(row: CatalogRow, folder: Path, warehouse: Path) -> MovedTable | None:
    named = table_folder(row.metadata_location)
    table = MovedTable(row, (named,), folder)
    metadata = read_metadata(table)
    if same_folder(named, folder):
        try:
            check_metadata(row.table, metadata, warehouse)
        except HourglassError:
            pass
        else:
            return None
    formers = (local_path(metadata.location).rstrip("/"), named)
    return MovedTable(row, tuple(dict.fromkeys(f for f in formers if f != str(folder))), folder)


@dataclass
class _Files:
    """What a table's snapshots need here; each file is looked at once."""

    table: str
    sizes: dict[str, int | None] = field(default_factory=dict)

    def need(self, path: str, size: int | None = None) -> None:
        self.sizes.setdefault(local_path(path), size)

    def check(self) -> None:
        """Refuse where one is missing, cut short, or a link to what may be another lake's."""
        wrong = []
        for path, size in sorted(self.sizes.items()):
            try:
                status = os.lstat(path)
            except OSError:
                wrong.append(f"{path} is missing")
                continue
            if not stat.S_ISREG(status.st_mode):
                wrong.append(f"{path} is a link or no file")
            elif size is not None and status.st_size != size:
                wrong.append(f"{path} has {status.st_size} bytes instead of {size}")
        if wrong:
            raise HourglassError(
                f"table {self.table}: {len(wrong)} of the files that its snapshots name are not "
                f"whole here, the first: {wrong[0]}; nothing was changed: copy or restore the "
                "whole lake again, while nothing writes to it"
            )


def check_links(warehouse: Path, tables: Iterable[MovedTable]) -> None:
    """Refuse folders of tables that are links: another lake may use what they lead to.

    Raises:
        HourglassError: one is.
    """
    root = os.path.realpath(warehouse)
    for table in tables:
        for folder in (table.folder, table.folder / "metadata", table.folder / "data"):
            real = os.path.realpath(folder)
            if not real.startswith(f"{root}/"):
                raise HourglassError(
                    f"{folder} is a link to {real}, which another lake may use; nothing was "
                    "changed: put the files themselves in its place, or pass --alone where "
                    "nobody else uses them"
                )


def check_catalog_is_own(uri: str, folders: Sequence[Path], former: str) -> None:
    """Refuse to change a database that the first lake may use too.

    A SQLite file in the lake's or the work folder came with the copy; whatever else was shared
    before still is.

    Raises:
        HourglassError: it may be so.
    """
    database = sqlite_file(uri)
    if database is not None and database.is_file():
        real = os.path.realpath(database)
        inside = any(real.startswith(f"{os.path.realpath(folder)}/") for folder in folders)
        if inside and database.stat().st_nlink == 1:
            return
    shown = _without_password(uri)
    raise HourglassError(
        f"{shown} names files in {former} and may be what the lake there uses too; nothing was "
        "changed: give this copy a database of its own in the settings, or pass --alone where "
        "nobody uses it for the lake there any more"
    )


def _without_password(uri: str) -> str:
    from sqlalchemy.engine import make_url

    return make_url(uri).render_as_string(hide_password=True)


def check_whole(tables: Iterable[MovedTable]) -> None:
    """Make sure that all that the tables' snapshots name is here.

    Raises:
        HourglassError: something is missing, or the table is of a kind that cannot be moved.
    """
    for table in tables:
        files = _Files(table.row.table)
        metadata = read_metadata(table)
        _check_kind(table, metadata)
        for named in (*metadata.statistics, *metadata.partition_statistics):
            files.need(table.here(named.statistics_path))
        lists = {table.here(each.manifest_list): each for each in metadata.snapshots}
        files.sizes |= dict.fromkeys(map(local_path, lists))
        files.check()
        manifests: dict[str, ManifestFile] = {}
        for path in lists:
            for manifest in read_manifests(path):
                manifests[manifest.manifest_path] = manifest
        for manifest in manifests.values():
            files.need(table.here(manifest.manifest_path), manifest.manifest_length)
            _check_deletes(table, manifest)
        files.check()
        for manifest in manifests.values():
            for entry in read_from(table, manifest).fetch_manifest_entry(file_io()):
                file = entry.data_file
                files.need(table.here(file.file_path), file.file_size_in_bytes)
        files.check()


def _check_kind(table: MovedTable, metadata: TableMetadata) -> None:
    if metadata.format_version != FORMAT:
        raise HourglassError(
            f"table {table.row.table} has format version {metadata.format_version}; only "
            f"version {FORMAT}, which Hourglass writes, can be made to name another place"
        )


def _check_deletes(table: MovedTable, manifest: ManifestFile) -> None:
    from pyiceberg.manifest import ManifestContent

    if manifest.content != ManifestContent.DATA:
        raise HourglassError(
            f"table {table.row.table} has row-level deletes (snapshot "
            f"{manifest.added_snapshot_id}), which name files by their former place: rewrite "
            "the table, and expire that snapshot, with the program that made them, at the first "
            "lake"
        )


def relocate(catalog: SqlCatalog, tables: Sequence[MovedTable]) -> None:
    """Write anew what names places, and have the catalog use it, all tables at once.

    Raises:
        HourglassError: another process changed the catalog meanwhile.
    """
    from pyiceberg.catalog.sql import IcebergTables
    from sqlalchemy import update

    written = [(table.row, rewritten(table)) for table in tables]
    with catalog.engine.begin() as connection:
        for row, location in written:
            done = connection.execute(
                update(IcebergTables)
                .where(
                    IcebergTables.catalog_name == catalog.name,
                    IcebergTables.table_namespace == row.namespace,
                    IcebergTables.table_name == row.table,
                    IcebergTables.metadata_location == row.metadata_location,
                )
                .values(metadata_location=location, previous_metadata_location=None)
            )
            if done.rowcount != 1:
                # Leaving the block by an error takes everything back.
                raise HourglassError(
                    f"table {row.table}: another process committed at the same time; nothing was "
                    "changed: run `hourglass adopt` again"
                )
