"""This process as an engine: Arrow tables in memory, and DuckDB for the SQL.

Starting Spark takes seconds, planning for it more; the hour of a middling site is done before that.
Every frame is computed at once.  What is held is counted, so that an archive that unpacks to many
times its size is left to Spark in time.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.engine.engine import Batches, Engine, Frame, Parameter, TooLargeError
from pipeline.engine.spark_hash import hash_rows
from pipeline.lake.compute import Compute
from pipeline.lake.lake import Lake
from pipeline.lake.parquet_files import HourFile, read_file, write_rows_by_hour
from pipeline.lake.sql import statement
from pipeline.lake.tables import TableSpec

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

# So many bytes in memory come of one of a raw file, and of one of a table file, where it is large.
_MEMORY_PER_RAW_BYTE = 8
_RAW_PER_TABLE_BYTE = 4
_SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    # Nothing is fetched from anywhere, and no name in a query is that of a variable here.
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "python_enable_replacements": False,
    # As Spark orders them.
    "default_null_order": "nulls_first",
    # What needs more is left to Spark, which has a folder for what memory does not hold.
    "memory_limit": "1GiB",
    "temp_directory": "",
}
# What the SQL of the transforms asks of Spark and DuckDB calls otherwise.
_AS_SPARK_HAS_IT = """
SET TimeZone = 'UTC';
CREATE MACRO UNIX_MICROS(moment) AS EPOCH_US(moment);
"""
_MARKER = re.compile(r"(?<![:\w]):(\w+)")
_COMMENT = re.compile(r"--[^\n]*")


@dataclass(frozen=True)
class ArrowFrame(Frame):
    """Rows in memory."""

    rows: pa.Table

    def where(self, flag: str) -> Frame:
        """See :class:`Frame`; so for all methods."""
        return ArrowFrame(self.rows.filter(self.rows[flag]))

    def where_not(self, flag: str) -> Frame:
        return ArrowFrame(self.rows.filter(pc.invert(self.rows[flag])))

    def where_in(self, column: str, values: Collection[str]) -> Frame:
        return ArrowFrame(self.rows.filter(_is_in(self.rows[column], values)))

    def where_not_in(self, column: str, values: Collection[str]) -> Frame:
        return ArrowFrame(self.rows.filter(pc.invert(_is_in(self.rows[column], values))))

    def select(self, *columns: str) -> Frame:
        return ArrowFrame(self.rows.select(columns))

    def union(self, other: Frame) -> Frame:
        return ArrowFrame(pa.concat_tables([self.rows, _rows_of(other)]))

    def none(self) -> Frame:
        return ArrowFrame(self.rows.slice(0, 0))

    def is_empty(self) -> bool:
        return not len(self.rows)

    def collect(self) -> list[Any]:
        return [SimpleNamespace(**row) for row in self.rows.to_pylist()]

    @contextmanager
    def computed_once(self) -> Iterator[Frame]:
        yield self


def _is_in(values: pa.ChunkedArray, wanted: Collection[str]) -> pa.ChunkedArray:
    return pc.is_in(values, value_set=pa.array(list(wanted), pa.string()))


def _rows_of(frame: Frame) -> pa.Table:
    return cast("ArrowFrame", frame).rows


@dataclass
class InProcessEngine(Engine):
    """Runs everything here; raises :class:`TooLargeError` rather than hold too much."""

    compute: Compute
    connection: DuckDBPyConnection
    _held_bytes: int = field(default=0, init=False)

    def texts(self, column: str, values: Collection[str]) -> Frame:
        """See :class:`Engine`; so for all methods."""
        return ArrowFrame(pa.table({column: pa.array(list(values), pa.string())}))

    def read_files(self, schema: pa.Schema, files: Sequence[HourFile]) -> Frame:
        if not self.compute.is_small(_RAW_PER_TABLE_BYTE * sum(file.bytes for file in files)):
            raise TooLargeError
        tables = []
        for file in files:
            rows = read_file(file.path, schema.names)
            tables.append(rows.select(schema.names).cast(schema))
            self._hold(rows.nbytes)
        return ArrowFrame(pa.concat_tables(tables) if tables else schema.empty_table())

    def made_from(
        self,
        inputs: pa.Table,
        make: Callable[[Batches], Batches],
        schema: pa.Schema,
        folder: Path,  # noqa: ARG002 - memory holds the rows
    ) -> Frame:
        batches = []
        for batch in make(iter(inputs.to_batches())):
            self._hold(batch.nbytes)
            batches.append(batch)
        return ArrowFrame(pa.Table.from_batches(batches, schema))

    def query(self, name: str, views: Mapping[str, Frame], **parameters: Parameter) -> Frame:
        from duckdb import OutOfMemoryException

        for view, frame in views.items():
            self.connection.register(view, _rows_of(frame))
        try:
            text = _COMMENT.sub("", statement(name))
            result = self.connection.sql(_MARKER.sub(r"$\1", text), params=parameters)
            rows = result.to_arrow_table()
        except OutOfMemoryException as error:
            raise TooLargeError from error
        finally:
            for view in views:
                self.connection.unregister(view)
        return ArrowFrame(_as_spark_types(rows))

    def stage(self, lake: Lake, frame: Frame, spec: TableSpec) -> list[HourFile]:
        return write_rows_by_hour(_rows_of(frame), spec.schema, lake.staging(spec))

    def _hold(self, size: int) -> None:
        self._held_bytes += size
        if not self.compute.is_small(self._held_bytes // _MEMORY_PER_RAW_BYTE):
            raise TooLargeError


def _as_spark_types(rows: pa.Table) -> pa.Table:
    """DuckDB adds whole numbers up in more bits than Spark has for them."""
    fields = [
        field.with_type(pa.int64()) if pa.types.is_decimal(field.type) else field
        for field in rows.schema
    ]
    return rows.cast(pa.schema(fields))


@contextmanager
def in_process(compute: Compute) -> Iterator[InProcessEngine]:
    """An engine that is closed again in the end."""
    import duckdb
    from duckdb.func import FunctionNullHandling, PythonUDFType

    settings = _SETTINGS | {"threads": os.cpu_count() or 1}
    connection = duckdb.connect(":memory:", config=settings)
    try:
        connection.execute(_AS_SPARK_HAS_IT)
        connection.create_function(
            "XXHASH64",
            _hashes,
            None,
            "BIGINT",
            type=PythonUDFType.ARROW,
            null_handling=FunctionNullHandling.SPECIAL,
        )
        yield InProcessEngine(compute, connection)
    finally:
        connection.close()


def _hashes(*columns: pa.ChunkedArray) -> pa.Array:
    return pa.array(hash_rows(columns))
