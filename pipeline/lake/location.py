"""Where a lake lies, and whether that is where its tables say.

Iceberg records absolute locations.  In a lake that was copied, moved or restored elsewhere they
still name the files of the first one: a commit would be written there, and old metadata removed
there.  So every opening compares the two before anything is written.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import HourglassError

if TYPE_CHECKING:
    from pyiceberg.table.metadata import TableMetadata

_METADATA_PATH = "write.metadata.path"


def local_path(location: str) -> str:
    """The path of a location; Iceberg takes what stands after the scheme as it is."""
    for scheme in ("file://", "file:"):
        if location.startswith(scheme):
            return location.removeprefix(scheme)
    return location


def table_folder(metadata_location: str) -> str:
    """The folder of the table whose metadata file lies there, ``TABLE/metadata/FILE``."""
    return os.path.dirname(os.path.dirname(local_path(metadata_location)))  # noqa: PTH120 - text


def same_folder(recorded: str, expected: Path) -> bool:
    """Whether two names are of one table's folder.

    Links on the way to it are followed, the folder itself is not: a table folder that is a link
    may be that of two lakes.
    """
    recorded = local_path(recorded).rstrip("/")
    if recorded == str(expected):
        return True
    former = Path(recorded)
    return former.name == expected.name and os.path.realpath(former.parent) == os.path.realpath(
        expected.parent
    )


def check_folder(table: str, recorded: str, warehouse: Path) -> None:
    """Make sure that a table lies where the lake says.

    Args:
        table: its name, which is that of its folder.
        recorded: the folder that the catalog or the table's metadata names.
        warehouse: the folder of the lake's tables, by the settings.

    Raises:
        HourglassError: it lies elsewhere.
    """
    expected = warehouse.absolute() / table
    if not same_folder(recorded, expected):
        raise HourglassError(
            f"the lake at {expected.parent} was moved, copied or linked: its table {table} names "
            f"the files in {local_path(recorded)}; nothing was written: run `hourglass adopt` to "
            "make it a lake of its own, or let the settings name the first one"
        )


def check_metadata(table: str, metadata: TableMetadata, warehouse: Path) -> None:
    """Make sure that a table's metadata names only metadata in the table's own folder.

    A commit removes the oldest metadata file that the newest one names.

    Raises:
        HourglassError: it names some of another lake.
    """
    check_folder(table, metadata.location, warehouse)
    own = f"{metadata.location.rstrip('/')}/"
    elsewhere = metadata.properties.get(_METADATA_PATH)
    for entry in metadata.metadata_log:
        if entry.metadata_file.startswith(own):
            continue
        if elsewhere is None or not entry.metadata_file.startswith(elsewhere):
            check_folder(table, table_folder(entry.metadata_file), warehouse)
