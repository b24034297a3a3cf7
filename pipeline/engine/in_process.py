"""This process as an engine: Arrow tables in memory, and DuckDB for the SQL.

Starting Spark takes seconds, planning for it more; the hour of a middling site is done before that.
Every frame is computed at once.  What is held is counted, so that an archive that unpacks to many
times its size is left to Spark in time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.engine.duck import duck_statement, explained, open_duck
from pipeline.engine.engine import Batches, Engine, Frame, Parameter, TooLargeError
from pipeline.lake.lake import Lake
from pipeline.lake.parquet_files import (
    HourFile,
    read_in_batches,
    remove_files,
    unpacked_bytes,
    write_rows_by_hour,
)
from pipeline.lake.tables import TableSpec
from pipeline.lake.turns import LakeMovedError
from pipeline.spark.compute import Compute

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

# A table file holds about as much as a raw file of so many times its size.
_RAW_PER_TABLE_BYTE = 4
_ROWS_PER_BATCH = 1 << 12
# DuckDB's buffers alone take this.
_LEAST_MEMORY_BYTES = 128 << 20


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

    def shares_out(self, input_bytes: int) -> bool:  # noqa: ARG002 - it is done before a process starts
        return False

    def made_from(
        self,
        inputs: pa.Table,
        make: Callable[[Batches], Batches],
        schema: pa.Schema,
        folder: Path,  # noqa: ARG002 - memory holds the rows
        sizes: Sequence[int],  # noqa: ARG002 - they are counted as they come
    ) -> Frame:
        batches = []
        for batch in make(iter(inputs.to_batches())):
            self._hold(batch.nbytes)
            batches.append(batch)
        return ArrowFrame(pa.Table.from_batches(batches, schema))

    def query(self, name: str, views: Mapping[str, Frame], **parameters: Parameter) -> Frame:
        for view, frame in views.items():
            self.connection.register(view, _rows_of(frame))
        try:
            with explained():
                result = self.connection.sql(duck_statement(name), params=parameters)
                rows = result.to_arrow_table()
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
    # What does not fit memory is left to an engine that has a folder for it.
    with open_duck(compute.memory_bytes) as connection:
        engine = InProcessEngine(compute, connection)
        try:
            yield engine
        except (TooLargeError, LakeMovedError):
            engine.remove_staged()
            raise
