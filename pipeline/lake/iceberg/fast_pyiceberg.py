"""PyIceberg without the work it repeats: what a commit costs should not grow with those before it.

A table's metadata holds all its snapshots.  PyIceberg parses it at every look at a table, and
within a transaction copies it, deeply, some thirty times; after a week of hourly commits that takes
longer than an hour's step.  Both are kept here instead: a metadata file never changes once it is
written, and a transaction's metadata changes only with its updates.  And where it replaces files,
it makes two snapshots of it and leaves a manifest behind that names only what is gone, which all
later readers open; here it is one snapshot, and such manifests go with the next one.  Where it adds
files, it joins manifests until each look at an hour reads the entries of all hours: see
`pipeline.lake.iceberg.manifests`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import IcebergTables, SqlCatalog
from pyiceberg.table import Table, Transaction
from pyiceberg.table.metadata import TableMetadataV2
from pyiceberg.table.snapshots import Operation
from pyiceberg.table.update.snapshot import _MergeAppendFiles, _OverwriteFiles
from sqlalchemy import bindparam, select

from pipeline.lake.iceberg.manifests import arranged
from pipeline.lake.location import check_metadata

if TYPE_CHECKING:
    from pyiceberg.manifest import ManifestFile
    from pyiceberg.table import CommitTableResponse
    from pyiceberg.table.metadata import TableMetadata
    from pyiceberg.table.update import TableRequirement, TableUpdate
    from pyiceberg.typedef import Identifier

# A few for each table of a lake.
_MAX_CACHED = 64
# Made once: to put a query together takes longer than to run it.
_LOCATION = select(IcebergTables.metadata_location).where(
    IcebergTables.catalog_name == bindparam("catalog"),
    IcebergTables.table_namespace == bindparam("namespace"),
    IcebergTables.table_name == bindparam("table"),
)


class CachedCatalog(SqlCatalog):
    """A SQL catalog that reads each metadata file once."""

    def load_table(self, identifier: str | Identifier) -> Table:
        """As PyIceberg does; only where a table has changed, its row is mapped to an object."""
        *namespace, name = Catalog.identifier_to_tuple(identifier)
        words = {"catalog": self.name, "namespace": ".".join(namespace), "table": name}
        with self.engine.connect() as connection:
            location = connection.scalar(_LOCATION, words)
        cached = self._cached.get(str(location))
        return super().load_table(identifier) if cached is None else self._own(cached)

    def _convert_orm_to_iceberg(self, orm_table: IcebergTables) -> Table:
        location = str(orm_table.metadata_location)
        cached = self._cached.get(location)
        if cached is None:
            cached = super()._convert_orm_to_iceberg(orm_table)
            if orm_table.table_namespace == self.name:
                # Each file that a commit may write to or remove: the lake may be a copy.
                warehouse = Path(self.properties["warehouse"])
                check_metadata(str(orm_table.table_name), cached.metadata, warehouse)
            self._remember(cached)
        return self._own(cached)

    def commit_table(
        self,
        table: Table,
        requirements: tuple[TableRequirement, ...],
        updates: tuple[TableUpdate, ...],
    ) -> CommitTableResponse:
        """As PyIceberg does; what was just written need not be read for the next look."""
        done = super().commit_table(table, requirements, updates)
        location = done.metadata_location
        self._remember(Table(table.name(), done.metadata, location, table.io, self))
        return done

    def _remember(self, table: Table) -> None:
        if type(table.metadata) is TableMetadataV2:
            table.metadata = SharedMetadata.of(table.metadata)
        self._cached[table.metadata_location] = table
        if len(self._cached) > _MAX_CACHED:
            self._cached.popitem(last=False)

    @cached_property
    def _cached(self) -> OrderedDict[str, Table]:
        return OrderedDict()

    def _own(self, cached: Table) -> Table:
        """A table object moves on when it commits: everyone gets one of their own."""
        return Table(cached.name(), cached.metadata, cached.metadata_location, cached.io, self)


class SharedMetadata(TableMetadataV2):
    """Metadata that are never copied deeply: what PyIceberg changes of them, it puts in the place.

    All that they hold is frozen, and a week has hundreds of snapshots, which are most of them.
    """

    @classmethod
    def of(cls, metadata: TableMetadataV2) -> SharedMetadata:
        """The same metadata."""
        return cls.model_construct(set(metadata.model_fields_set), **metadata.__dict__)

    def model_copy(
        self,
        *,
        update: Mapping[str, Any] | None = None,
        deep: bool = False,  # noqa: ARG002 - the signature is pydantic's
    ) -> SharedMetadata:
        """A copy that shares what it has in common with the first."""
        return super().model_copy(update=update)


class CachedTransaction(Transaction):
    """A transaction that applies its updates when they change, not at every look."""

    _metadata_cache: tuple[TableMetadata, tuple[TableUpdate, ...], TableMetadata] | None = None

    @property
    def table_metadata(self) -> TableMetadata:
        """The table's metadata with this transaction's updates."""
        base, updates = self._table.metadata, self._updates
        if not updates:
            return base
        if (
            self._metadata_cache is None
            or self._metadata_cache[0] is not base
            or self._metadata_cache[1] is not updates
        ):
            self._metadata_cache = base, updates, super().table_metadata
        return self._metadata_cache[2]


class ReplaceFiles(_OverwriteFiles):
    """Files in the place of others, in one snapshot; to be used as a context manager."""

    def __init__(self, transaction: Transaction, properties: Mapping[str, str]) -> None:
        super().__init__(
            operation=Operation.OVERWRITE,
            transaction=transaction,
            io=transaction._table.io,
            snapshot_properties=dict(properties),
        )

    def _process_manifests(self, manifests: list[ManifestFile]) -> list[ManifestFile]:
        """As `pipeline.lake.iceberg.manifests` has them."""
        return arranged(self, manifests)


class AppendFiles(_MergeAppendFiles):
    """New files, in one snapshot; to be used as a context manager."""

    def __init__(self, transaction: Transaction, properties: Mapping[str, str]) -> None:
        super().__init__(
            operation=Operation.APPEND,
            transaction=transaction,
            io=transaction._table.io,
            snapshot_properties=dict(properties),
        )

    def _process_manifests(self, manifests: list[ManifestFile]) -> list[ManifestFile]:
        """As `pipeline.lake.iceberg.manifests` has them."""
        return arranged(self, manifests)
