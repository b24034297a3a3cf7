"""The Iceberg catalog: where it is kept, and how its tables are laid out."""

from __future__ import annotations

import random
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pipeline.errors import HourglassError
from pipeline.lake.location import check_folder, table_folder
from pipeline.lake.sqlite_files import BUSY_S, connected, plain_file
from pipeline.lake.tables import ALL_TABLES, TableSpec
from pipeline.text.masking import mask, remember_secrets

if TYPE_CHECKING:
    from pyiceberg.catalog.sql import SqlCatalog
    from pyiceberg.partitioning import PartitionSpec
    from pyiceberg.schema import Schema

NAMESPACE = "hourglass"
_OPENING_ATTEMPTS = 10


def open_catalog(uri: str, warehouse: Path) -> SqlCatalog:
    """The Iceberg catalog at a SQLAlchemy address, with every table; made where it is missing.

    Raises:
        HourglassError: the folder or the database cannot be used, or the tables lie elsewhere.
    """
    from sqlalchemy.exc import SQLAlchemyError

    remember_secrets(uri)
    attempts, began_s = 0, time.monotonic()
    while True:
        try:
            return _complete_catalog(uri, warehouse)
        except ValueError as error:
            # The address cannot be taken apart: its port is no number, say.
            raise HourglassError(
                f"cannot open the lake at {warehouse} ({uri}): {mask(str(error))}: see catalog_uri"
            ) from error
        except (OSError, SQLAlchemyError) as error:
            attempts += 1
            # What was waited for so long already is not about to be let go.
            if attempts == _OPENING_ATTEMPTS or time.monotonic() - began_s >= BUSY_S:
                # Before it is cut: half a password would not be recognised.
                cause = getattr(error, "orig", None) or error
                reason = " ".join(mask(str(cause)).split()[:30])
                raise HourglassError(
                    f"cannot open the lake at {warehouse} ({uri}): {reason}"
                ) from error
            # Most likely another process was making the same new lake, and was faster.  Those who
            # wait equally long meet again.
            time.sleep(random.uniform(0.1, 0.4))  # noqa: S311 - no secret


def is_whole(uri: str, warehouse: Path) -> bool:
    """Whether a catalog in a SQLite file names every table, each in this warehouse.

    It is looked up without Iceberg's library, which takes half a second to load.  Where the answer
    is no, whoever opens the catalog makes what it lacks, or is told what is wrong with it.
    """
    database = plain_file(uri)
    if database is None or not database.is_file():
        return False
    try:
        with closing(connected(database)) as connection:
            rows = connection.execute(
                "SELECT table_name, metadata_location FROM iceberg_tables WHERE catalog_name = ? "
                "AND table_namespace = ? AND metadata_location IS NOT NULL",
                (NAMESPACE, NAMESPACE),
            )
            locations: dict[str, str] = dict(rows.fetchall())
        for name in (spec.name for spec in ALL_TABLES):
            check_folder(name, table_folder(locations[name]), warehouse)
    except (sqlite3.Error, KeyError, HourglassError):
        return False
    return True


def existing_catalog(uri: str, warehouse: Path) -> SqlCatalog:
    """The catalog as it is, whatever places its tables name; nothing is made.

    Raises:
        HourglassError: there is none, or it cannot be read.
    """
    from sqlalchemy.exc import SQLAlchemyError

    from pipeline.lake.iceberg.fast_pyiceberg import CachedCatalog

    missing = (
        f"there is no lake at {warehouse} yet, or its catalog cannot be read: check work, "
        "warehouse and catalog_uri in the settings"
    )
    if (database := sqlite_file(uri)) is not None and not database.exists():
        raise HourglassError(missing)
    try:
        catalog = CachedCatalog(
            NAMESPACE,
            uri=_patient(uri),
            warehouse=str(warehouse.absolute()),
            init_catalog_tables="false",
        )
        rows = catalog_rows(catalog)
    except (OSError, SQLAlchemyError) as error:
        raise HourglassError(missing) from error
    if not rows:
        raise HourglassError(missing)
    return catalog


def _patient(uri: str) -> str:
    """The address, with a time to wait for others where SQLite's own is not set."""
    from sqlalchemy.engine import make_url

    url = make_url(uri)
    if url.get_backend_name() != "sqlite" or "timeout" in url.query:
        return uri
    return url.update_query_dict({"timeout": str(BUSY_S)}).render_as_string(hide_password=False)


def _complete_catalog(uri: str, warehouse: Path) -> SqlCatalog:
    """Open the catalog and create what it lacks."""
    from pyiceberg.exceptions import NamespaceAlreadyExistsError, TableAlreadyExistsError
    from pyiceberg.schema import assign_fresh_schema_ids

    from pipeline.lake.iceberg.fast_pyiceberg import CachedCatalog

    if (database := sqlite_file(uri)) is not None and not database.exists():
        # Most often the database lies in there.
        warehouse.mkdir(parents=True, exist_ok=True)
    catalog = CachedCatalog(NAMESPACE, uri=_patient(uri), warehouse=str(warehouse.absolute()))
    present = {row.table: row.metadata_location for row in catalog_rows(catalog)}
    names = {spec.name for spec in ALL_TABLES}
    for name in sorted(names.intersection(present)):
        check_folder(name, table_folder(present[name]), warehouse)
    warehouse.mkdir(parents=True, exist_ok=True)
    if not present:
        catalog.create_namespace_if_not_exists(NAMESPACE)
    for spec in ALL_TABLES:
        if spec.name in present:
            continue
        schema = assign_fresh_schema_ids(catalog._convert_schema_if_needed(spec.schema))
        with suppress(NamespaceAlreadyExistsError, TableAlreadyExistsError):
            catalog.create_table(
                (NAMESPACE, spec.name),
                schema=schema,
                partition_spec=_partition_spec(spec, schema),
                # A plain path: Iceberg would take the escapes of a file URI literally.
                location=str(warehouse.absolute() / spec.name),
                properties={
                    **_TABLE_PROPERTIES,
                    **(_HOURLY_PROPERTIES if spec.partition == "hour" else {}),
                    # Our Parquet files name their columns and do not number them.
                    "schema.name-mapping.default": schema.name_mapping.model_dump_json(),
                },
            )
    return catalog


# Without merging, every hourly commit would leave one more manifest to read for ever.
_TABLE_PROPERTIES = {
    "format-version": "2",
    "commit.manifest-merge.enabled": "true",
    "commit.manifest.min-count-to-merge": "16",
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "20",
}
# Tried again on top of a commit beside it, a step's commit might fill the same hours twice.
_HOURLY_PROPERTIES = {"commit.retry.num-retries": "0"}


class CatalogRow(NamedTuple):
    """A table of the catalog, and its current metadata file."""

    namespace: str
    table: str
    metadata_location: str


def catalog_rows(catalog: SqlCatalog, all_namespaces: bool = False) -> list[CatalogRow]:
    """The tables of the lake, or also those that other programs keep in the same catalog."""
    from pyiceberg.catalog.sql import IcebergTables
    from sqlalchemy import select

    columns = (
        IcebergTables.table_namespace,
        IcebergTables.table_name,
        IcebergTables.metadata_location,
    )
    chosen = select(*columns).where(
        IcebergTables.catalog_name == catalog.name, IcebergTables.metadata_location.is_not(None)
    )
    with catalog.engine.connect() as connection:
        rows = [CatalogRow(row[0], row[1], str(row[2])) for row in connection.execute(chosen)]
    return sorted(row for row in rows if all_namespaces or row.namespace == NAMESPACE)


def sqlite_file(uri: str) -> Path | None:
    """The file of a SQLite database; None for other databases and for one in memory."""
    if (plain := plain_file(uri)) is not None:
        return plain
    from sqlalchemy.engine import make_url

    url = make_url(uri)
    if url.get_backend_name() != "sqlite" or not url.database or url.database.startswith("file:"):
        return None
    return None if url.database == ":memory:" else Path(url.database)


def _partition_spec(spec: TableSpec, schema: Schema) -> PartitionSpec:
    from pyiceberg.partitioning import PartitionField, PartitionSpec
    from pyiceberg.transforms import DayTransform, IdentityTransform

    if spec.partition is None:
        return PartitionSpec()
    source = schema.find_field("hour").field_id
    transform, name = (
        (IdentityTransform(), "hour") if spec.partition == "hour" else (DayTransform(), "hour_day")
    )
    return PartitionSpec(
        PartitionField(source_id=source, field_id=1000, transform=transform, name=name)
    )
