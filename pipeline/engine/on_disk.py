"""This process as an engine for more than its memory holds: tables of a DuckDB file.

A frame is a query that is computed where it is used; what a SQL file makes is kept as a table.
On one machine that costs a fraction of what Spark does, whose rows travel between processes.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa

from pipeline.engine.duck import duck_statement, explained, open_duck
from pipeline.engine.engine import Batches, Engine, Frame, Parameter, TooLargeError
from pipeline.lake.lake import Lake
from pipeline.lake.parquet_files import HourFile, remove_files, write_sorted_by_hour
from pipeline.lake.tables import TableSpec
from pipeline.lake.turns import LakeMovedError
from pipeline.process.machine import usable_cores
from pipeline.process.workers import shared_out

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

# With Python, Arrow, the rows on their way and the processes that read it comes to some 1.2 GiB;
# thirty million records of Parquet went through with 320 MiB.
_MEMORY_BYTES = 448 << 20
_ROWS_PER_BATCH = 1 << 16
# To start a process costs what it costs to read some 15 MB of CSV: of more it is little.
_BYTES_PER_WORKER = 64 << 20
_BYTES_PER_JOB = 8 << 20
_ROWS_AT_ONCE = 1 << 19
# Grouped by what is nearly each one's own, thirty million go through with less memory than this.
_ROWS_A_PASS = 20_000_000
_WIDE = ("HUGEINT", "DECIMAL")


@dataclass(frozen=True)
class QueryFrame(Frame):
    """Rows that a query gives."""

    connection: DuckDBPyConnection
    text: str

    def where(self, flag: str) -> Frame:
        """See :class:`Frame`; so for all methods."""
        return self._from(f"SELECT * FROM ({self.text}) WHERE {_name(flag)}")

    def where_not(self, flag: str) -> Frame:
        return self._from(f"SELECT * FROM ({self.text}) WHERE NOT {_name(flag)}")

    def where_in(self, column: str, values: Collection[str]) -> Frame:
        return self._from(f"SELECT * FROM ({self.text}) WHERE {_is_in(column, values)}")

    def where_not_in(self, column: str, values: Collection[str]) -> Frame:
        return self._from(f"SELECT * FROM ({self.text}) WHERE NOT {_is_in(column, values)}")

    def select(self, *columns: str) -> Frame:
        return self._from(f"SELECT {', '.join(map(_name, columns))} FROM ({self.text})")

    def union(self, other: Frame) -> Frame:
        return self._from(f"({self.text}) UNION ALL ({_text_of(other)})")

    def none(self) -> Frame:
        return self._from(f"SELECT * FROM ({self.text}) LIMIT 0")

    def is_empty(self) -> bool:
        with explained():
            rows = self.connection.sql(f"SELECT 1 FROM ({self.text}) LIMIT 1").fetchall()
        return not rows

    def collect(self) -> list[Any]:
        with explained():
            rows = self.connection.sql(self.text).to_arrow_table()
        return [SimpleNamespace(**row) for row in rows.to_pylist()]

    @contextmanager
    def computed_once(self) -> Iterator[Frame]:
        yield self

    def _from(self, text: str) -> QueryFrame:
        return QueryFrame(self.connection, text)


def _text_of(frame: Frame) -> str:
    return cast("QueryFrame", frame).text


def _name(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def _literal(value: Parameter) -> str:
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return str(value)


def _is_in(column: str, values: Collection[str]) -> str:
    if not values:
        return "FALSE"
    return f"{_name(column)} IN ({', '.join(map(_literal, values))})"


@dataclass
class OnDiskEngine(Engine):
    """Runs everything here, in bounded memory."""

    connection: DuckDBPyConnection
    rows_a_pass: int = _ROWS_A_PASS
    _numbers: Iterator[int] = field(default_factory=itertools.count, init=False)
    _staged: list[HourFile] = field(default_factory=list, init=False)

    def texts(self, column: str, values: Collection[str]) -> Frame:
        """See :class:`Engine`; so for all methods."""
        rows = pa.table({column: pa.array(list(values), pa.string())})
        return self._table_of(pa.RecordBatchReader.from_batches(rows.schema, rows.to_batches()))

    def read_files(self, schema: pa.Schema, files: Sequence[HourFile]) -> Frame:
        if any("://" in file.path for file in files):
            # DuckDB has no file system for it here.
            raise TooLargeError
        columns = ", ".join(map(_name, schema.names))
        empty = _text_of(self._table_of(pa.RecordBatchReader.from_batches(schema, iter(()))))
        if not files:
            return QueryFrame(self.connection, f"SELECT {columns} FROM ({empty})")
        paths = ", ".join(_literal(file.path) for file in files)
        # Files of earlier versions lack columns that were added later; the empty rows have them.
        # A folder called user_id=7 says nothing of what its files hold.
        rows = (
            f"SELECT * FROM read_parquet([{paths}], union_by_name = true, "
            "hive_partitioning = false)"
        )
        text = f"SELECT {columns} FROM ({empty} UNION ALL BY NAME {rows})"
        return QueryFrame(self.connection, text)

    def shares_out(self, input_bytes: int) -> bool:
        return _workers_for(input_bytes) > 1

    def made_from(
        self,
        inputs: pa.Table,
        make: Callable[[Batches], Batches],
        schema: pa.Schema,
        folder: Path,
        sizes: Sequence[int],
    ) -> Frame:
        failures: list[BaseException] = []

        def made() -> Batches:
            if not self.shares_out(sum(sizes)):
                return make(iter(inputs.to_batches()))
            jobs = list(_jobs(inputs, sizes))
            return shared_out(jobs, make, schema, _workers_for(sum(sizes)), folder)

        def batches() -> Generator[pa.RecordBatch, None, None]:
            try:
                yield from made()
            except BaseException as error:
                failures.append(error)
                raise

        rows = batches()
        try:
            return self._table_of(pa.RecordBatchReader.from_batches(schema, rows))
        except Exception:
            # DuckDB makes an error of its own of whatever stops the rows that it reads.
            if failures:
                raise failures[0] from None
            raise
        finally:
            # No process is left where the rows were not all taken.
            rows.close()

    def query(self, name: str, views: Mapping[str, Frame], **parameters: Parameter) -> Frame:
        for view, frame in views.items():
            self.connection.execute(
                f"CREATE OR REPLACE TEMP VIEW {_name(view)} AS {_text_of(frame)}"
            )
        text = duck_statement(name)
        for parameter, value in parameters.items():
            text = text.replace(f"${parameter}", _literal(value))
        with explained():
            described = self.connection.execute(f"DESCRIBE ({text})").fetchall()
            # DuckDB adds whole numbers up in more bits than Spark has for them.
            columns = [
                f"CAST({_name(column)} AS BIGINT) AS {_name(column)}"
                if kind.startswith(_WIDE)
                else _name(column)
                for column, kind, *_ in described
            ]
            return self._table(f"SELECT {', '.join(columns)} FROM ({text})")

    def passes(self, frame: Frame) -> int:
        with explained():
            counted = self.connection.sql(f"SELECT COUNT(*) FROM ({_text_of(frame)})").fetchall()
        rows: int = counted[0][0]
        return max(1, -(-rows // self.rows_a_pass))

    def stage(self, lake: Lake, frame: Frame, spec: TableSpec) -> list[HourFile]:
        columns = ", ".join(map(_name, spec.schema.names))
        rows = _text_of(frame)
        folder = lake.staging(spec)
        staged = []
        with explained():
            for first, last in self._hours_at_once(rows):
                # A single hour may be of any size: it is in order as it is.
                order = "" if first == last else "ORDER BY hour"
                some = self.connection.sql(
                    f"SELECT {columns} FROM ({rows}) "
                    f"WHERE epoch_us(hour) BETWEEN {first} AND {last} {order}"
                ).to_arrow_reader(_ROWS_PER_BATCH)
                files = write_sorted_by_hour(iter(some), spec.schema, folder)
                self._staged += files
                staged += files
        return sorted(staged)

    def _hours_at_once(self, rows: str) -> Iterator[tuple[int, int]]:
        """The hours of rows from the first to the last, in turn so many as memory holds with ease.

        Sorted all at once, rows would be held twice.
        """
        counted = self.connection.sql(
            f"SELECT epoch_us(hour) AS hour_us, COUNT(*) FROM ({rows}) GROUP BY 1 ORDER BY 1"
        ).fetchall()
        first_us: int | None = None
        last_us = rows_at_once = 0
        for hour_us, count in counted:
            if first_us is not None and rows_at_once + count > _ROWS_AT_ONCE:
                yield first_us, last_us
                first_us, rows_at_once = None, 0
            first_us = hour_us if first_us is None else first_us
            last_us = hour_us
            rows_at_once += count
        if first_us is not None:
            yield first_us, last_us

    def remove_staged(self) -> None:
        """Remove the files that were written, of which no table may know."""
        remove_files(self._staged)

    def _table_of(self, rows: pa.RecordBatchReader) -> QueryFrame:
        view = f"arriving_{next(self._numbers)}"
        self.connection.register(view, rows)
        try:
            with explained():
                return self._table(f"SELECT * FROM {view}")
        finally:
            self.connection.unregister(view)

    def _table(self, text: str) -> QueryFrame:
        table = f"rows_{next(self._numbers)}"
        self.connection.execute(f"CREATE TABLE {table} AS {text}")
        return QueryFrame(self.connection, f"SELECT * FROM {table}")


def _workers_for(input_bytes: int) -> int:
    """How many processes make rows of so much: 1 where it is done before others have started."""
    if not sys.executable:
        return 1
    return max(min(usable_cores(), input_bytes // _BYTES_PER_WORKER), 1)


def _jobs(inputs: pa.Table, sizes: Sequence[int]) -> Iterator[pa.RecordBatch]:
    """Inputs that follow one another, as many as are worth the trouble of handing them over."""
    (inputs,) = inputs.combine_chunks().to_batches()
    first = size = 0
    for nth, more in enumerate(sizes):
        if size and size + more > _BYTES_PER_JOB:
            yield inputs.slice(first, nth - first)
            first, size = nth, 0
        size += more
    yield inputs.slice(first)


@contextmanager
def on_disk(spill: Path) -> Iterator[OnDiskEngine]:
    """An engine that keeps in ``spill`` what memory does not hold."""
    spill.mkdir(parents=True, exist_ok=True)
    with open_duck(_MEMORY_BYTES, spill) as connection:
        engine = OnDiskEngine(connection)
        try:
            yield engine
        except (TooLargeError, LakeMovedError):
            engine.remove_staged()
            raise
