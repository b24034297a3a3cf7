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
from pipeline.lake.lake import Lake
from pipeline.lake.parquet_files import (
    HourFile,
    read_in_batches,
    remove_files,
    unpacked_bytes,
    write_rows_by_hour,
)
from pipeline.lake.sql import statement
from pipeline.lake.tables import TableSpec
from pipeline.process.interrupts import is_interrupted
from pipeline.spark.compute import Compute

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

# A table file holds about as much as a raw file of so many times its size.
_RAW_PER_TABLE_BYTE = 4
# More threads than this wait for one another on what is small.
_MAX_THREADS = 4
_ROWS_PER_BATCH = 1 << 12
# DuckDB's buffers alone take this.
_LEAST_MEMORY_BYTES = 128 << 20
_SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    # Nothing is fetched from anywhere, and no name in a query is that of a variable here.
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "python_enable_replacements": False,
    # As Spark orders them.
    "default_null_order": "nulls_first",
    # What does not fit memory is left to Spark, which has a folder for it.
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
    _staged: list[HourFile] = field(default_factory=list, init=False)

    def texts(self, column: str, values: Collection[str]) -> Frame:
        """See :class:`Engine`; so for all methods."""
        return ArrowFrame(pa.table({column: pa.array(list(values), pa.string())}))

    def read_files(self, schema: pa.Schema, files: Sequence[HourFile]) -> Frame:
        size, count = (sum(sizes) for sizes in ((f.bytes for f in files), (f.rows for f in files)))
        if not self.compute.is_small(_RAW_PER_TABLE_BYTE * size, count):
            raise TooLargeError
        # One text over and over packs to next to nothing: what it unpacks to is known beforehand.
        self._check(sum(unpacked_bytes(file.path) for file in files))
        tables = []
        for file in files:
            for rows in read_in_batches(file.path, schema.names, _ROWS_PER_BATCH):
                self._hold(rows.nbytes)
                tables.append(rows.select(schema.names).cast(schema))
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
        import duckdb

        for view, frame in views.items():
            self.connection.register(view, _rows_of(frame))
        try:
            text = _COMMENT.sub("", statement(name))
            result = self.connection.sql(_MARKER.sub(r"$\1", text), params=parameters)
            rows = result.to_arrow_table()
        except duckdb.OutOfMemoryException as error:
            raise TooLargeError from error
        except (duckdb.Error, RuntimeError) as error:
            # DuckDB looks for signals while it works, and reports them as an error of its own.
            if is_interrupted():
                raise KeyboardInterrupt from error
            raise
        finally:
            for view in views:
                self.connection.unregister(view)
        self._hold(rows.nbytes)
        return ArrowFrame(_as_spark_types(rows))

    def stage(self, lake: Lake, frame: Frame, spec: TableSpec) -> list[HourFile]:
        files = write_rows_by_hour(_rows_of(frame), spec.schema, lake.staging(spec))
        self._staged += files
        return files

    def remove_staged(self) -> None:
        """Remove the files that were written, of which no table may know."""
        remove_files(self._staged)

    def _hold(self, size: int) -> None:
        self._check(size)
        self._held_bytes += size

    def _check(self, size: int) -> None:
        if self._held_bytes + size > self.compute.memory_bytes:
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
    """An engine that is closed again in the end; if it gives up, nothing of it is left."""
    import duckdb
    from duckdb.func import FunctionNullHandling, PythonUDFType

    limits: dict[str, str | bool | int | float | list[str]] = {
        "threads": min(_usable_cores(), _MAX_THREADS),
        "memory_limit": f"{max(compute.memory_bytes, _LEAST_MEMORY_BYTES) >> 20}MiB",
    }
    settings = _SETTINGS | limits
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
        engine = InProcessEngine(compute, connection)
        try:
            yield engine
        except TooLargeError:
            engine.remove_staged()
            raise
    finally:
        connection.close()


def _usable_cores() -> int:
    """The cores that this process may use; not all systems tell."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _hashes(*columns: pa.ChunkedArray) -> pa.Array:
    return pa.array(hash_rows(columns))
