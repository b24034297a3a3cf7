"""Iceberg's own files, written anew for the folder that a table lies in now.

All that they say stays as it is, the ids of snapshots too; only the paths in them change.  The
former files are not touched: what is written has names of its own, the same at every run.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar, cast

from pipeline.errors import HourglassError
from pipeline.lake.catalog import CatalogRow
from pipeline.lake.location import local_path

if TYPE_CHECKING:
    from pyiceberg.avro.codecs import AvroCompressionCodec
    from pyiceberg.io import FileIO
    from pyiceberg.manifest import ManifestFile
    from pyiceberg.table.metadata import TableMetadata
    from pyiceberg.table.snapshots import Snapshot
    from pyiceberg.table.statistics import PartitionStatisticsFile, StatisticsFile

    _Statistics = TypeVar("_Statistics", StatisticsFile, PartitionStatisticsFile)

FORMAT: Literal[2] = 2  # of Iceberg's tables: the one that Hourglass writes
_VERSIONED = re.compile(r"(\d+)-[\w-]{36}(.*\.metadata\.json)")
_FILE_PATH, _MANIFEST_PATH, _MANIFEST_LENGTH = 1, 0, 1  # positions in Iceberg's records


@dataclass(frozen=True)
class MovedTable:
    """A table that names another place than its own: the catalog's row, and its folder here."""

    row: CatalogRow
    formers: tuple[str, ...]
    folder: Path

    @property
    def metadata_file(self) -> Path:
        """The current metadata file, here."""
        return self.folder / "metadata" / Path(local_path(self.row.metadata_location)).name

    def here(self, location: str) -> str:
        """Where a file that the table names lies now; those of other folders stay."""
        path = local_path(location)
        if path.startswith(f"{self.folder}/"):
            return path
        for former in self.formers:
            if path.startswith(f"{former}/"):
                return f"{self.folder}{path.removeprefix(former)}"
        # By another name of the former folder, a link to it: its files came along all the same.
        _, inside, below = path.rpartition(f"/{self.folder.name}/")
        if inside and (self.folder / below).is_file():
            return str(self.folder / below)
        return location


def read_metadata(table: MovedTable) -> TableMetadata:
    """The metadata that the catalog means, from the table's present folder.

    Raises:
        HourglassError: it is missing there.
    """
    from pyiceberg.serializers import FromInputFile

    path = table.metadata_file
    if not path.is_file():
        raise HourglassError(
            f"table {table.row.table}: its metadata {path} is missing (the catalog names "
            f"{local_path(table.row.metadata_location)}); nothing was changed: copy or restore "
            "the whole lake, while nothing writes to it"
        )
    return FromInputFile.table_metadata(file_io().new_input(str(path)))


def rewritten(table: MovedTable) -> str:
    """Write a table's metadata for its present folder; returns where the new metadata lies."""
    from pyiceberg.serializers import ToOutputFile

    metadata = read_metadata(table)
    manifests: dict[str, ManifestFile] = {}
    snapshots = [_rewritten_list(table, metadata, each, manifests) for each in metadata.snapshots]
    moved = metadata.model_copy(
        update={
            "location": str(table.folder),
            "snapshots": snapshots,
            # What these name are files of the first lake, and a commit removes the oldest.
            "metadata_log": [],
            "properties": {name: table.here(text) for name, text in metadata.properties.items()},
            "statistics": [_moved_statistics(table, each) for each in metadata.statistics],
            "partition_statistics": [
                _moved_statistics(table, each) for each in metadata.partition_statistics
            ],
        }
    )
    path = table.folder / "metadata" / _next_name(table)
    ToOutputFile.table_metadata(moved, file_io().new_output(str(path)), overwrite=True)
    return str(path)


def _moved_statistics(table: MovedTable, named: _Statistics) -> _Statistics:
    return named.model_copy(update={"statistics_path": table.here(named.statistics_path)})


def _rewritten_list(
    table: MovedTable,
    metadata: TableMetadata,
    snapshot: Snapshot,
    manifests: dict[str, ManifestFile],
) -> Snapshot:
    """Write a snapshot's list of manifests, and those of them that are not written yet."""
    from pyiceberg.manifest import write_manifest_list

    named = read_manifests(table.here(snapshot.manifest_list))
    for manifest in named:
        if manifest.manifest_path not in manifests:
            manifests[manifest.manifest_path] = _rewritten_manifest(table, metadata, manifest)
    path = _new_file(table, snapshot.manifest_list, "snap")
    with write_manifest_list(
        format_version=FORMAT,
        output_file=file_io().new_output(path),
        snapshot_id=snapshot.snapshot_id,
        parent_snapshot_id=snapshot.parent_snapshot_id,
        sequence_number=snapshot.sequence_number,
        avro_compression=_compression(metadata.properties),
    ) as writer:
        writer.add_manifests([manifests[each.manifest_path] for each in named])
    return snapshot.model_copy(update={"manifest_list": path})


def _rewritten_manifest(
    table: MovedTable, metadata: TableMetadata, manifest: ManifestFile
) -> ManifestFile:
    """Write a manifest whose entries name the present files; all else of them stays."""
    from pyiceberg.manifest import write_manifest

    path = _new_file(table, manifest.manifest_path, "m")
    output = file_io().new_output(path)
    with write_manifest(
        format_version=FORMAT,
        spec=metadata.specs()[manifest.partition_spec_id],
        schema=metadata.schema(),
        output_file=output,
        snapshot_id=manifest.added_snapshot_id or 0,
        avro_compression=_compression(metadata.properties),
    ) as writer:
        entries = read_from(table, manifest).fetch_manifest_entry(file_io(), discard_deleted=False)
        for entry in entries:
            entry.data_file[_FILE_PATH] = table.here(entry.data_file.file_path)
            writer.add_entry(entry)
    moved = copy(manifest)
    moved._data = list(manifest._data)
    moved[_MANIFEST_PATH] = path
    moved[_MANIFEST_LENGTH] = len(output)
    return moved


def read_from(table: MovedTable, manifest: ManifestFile) -> ManifestFile:
    """The manifest, to be read where it lies now."""
    moved = copy(manifest)
    moved._data = list(manifest._data)
    moved[_MANIFEST_PATH] = table.here(manifest.manifest_path)
    return moved


def read_manifests(manifest_list: str) -> list[ManifestFile]:
    """The manifests that a list in a file names."""
    from pyiceberg.manifest import read_manifest_list

    return list(read_manifest_list(file_io().new_input(manifest_list)))


def _compression(properties: Mapping[str, str]) -> AvroCompressionCodec:
    from pyiceberg.table import TableProperties

    default = TableProperties.WRITE_AVRO_COMPRESSION_DEFAULT
    named = properties.get(TableProperties.WRITE_AVRO_COMPRESSION, default)
    return cast("AvroCompressionCodec", named)


def file_io() -> FileIO:
    """What reads and writes Iceberg's files in folders of this machine."""
    from pyiceberg.io.pyarrow import PyArrowFileIO

    return PyArrowFileIO()


def _new_file(table: MovedTable, former: str, kind: str) -> str:
    """The same at every run, so that what a killed one left is written over, not added to."""
    digest = hashlib.sha256(f"{table.folder}\n{former}".encode()).hexdigest()[:32]
    return str(table.folder / "metadata" / f"{kind}-{uuid.UUID(digest)}.avro")


def _next_name(table: MovedTable) -> str:
    """The next version's name, as Iceberg's libraries count them."""
    name = table.metadata_file.name
    parts = _VERSIONED.fullmatch(name)
    version, ending = (int(parts[1]), parts[2]) if parts else (-1, ".metadata.json")
    digest = hashlib.sha256(f"{table.folder}\n{name}".encode()).hexdigest()[:32]
    return f"{version + 1:05d}-{uuid.UUID(digest)}{ending}"
