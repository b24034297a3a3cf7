"""DuckDB as the transforms need it: as Spark orders, names and hashes things."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from pipeline.engine.engine import TooLargeError
from pipeline.engine.spark_hash import hash_rows
from pipeline.lake.sql import statement
from pipeline.process.interrupts import is_interrupted
from pipeline.process.machine import usable_cores

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

# More threads than this wait for one another on what is small.
_MAX_THREADS = 4
# DuckDB's buffers alone take this.
_LEAST_MEMORY_BYTES = 128 << 20
_SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    # Nothing is fetched from anywhere, and no name in a query is that of a variable here.
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "python_enable_replacements": False,
    # As Spark orders them.
    "default_null_order": "nulls_first",
}
# What the SQL of the transforms asks of Spark and DuckDB calls otherwise.
_AS_SPARK_HAS_IT = """
SET TimeZone = 'UTC';
CREATE MACRO UNIX_MICROS(moment) AS EPOCH_US(moment);
"""
_MARKER = re.compile(r"(?<![:\w]):(\w+)")
_COMMENT = re.compile(r"--[^\n]*")
_NAMED_QUERY = re.compile(r"^((?:WITH )?\w+ AS )\($", re.MULTILINE)


@contextmanager
def open_duck(memory_bytes: int, spill: Path | None = None) -> Iterator[DuckDBPyConnection]:
    """A database of its own; with a folder to ``spill`` to, it may hold more than its memory.

    Then its tables are in a file of that folder, which whoever calls removes: what DuckDB holds of
    a table in memory it spills too, but thirty million rows left no room for grouping them.
    """
    import duckdb
    from duckdb.func import FunctionNullHandling, PythonUDFType

    limits: dict[str, str | bool | int | float | list[str]] = {
        "threads": min(usable_cores(), _MAX_THREADS),
        "memory_limit": f"{max(memory_bytes, _LEAST_MEMORY_BYTES) >> 20}MiB",
        "temp_directory": "" if spill is None else str(spill),
        # Kept, the order of rows would have to be held in memory.
        "preserve_insertion_order": spill is None,
    }
    database = ":memory:" if spill is None else str(spill / f"rows-{uuid.uuid4().hex}.duckdb")
    connection = duckdb.connect(database, config=_SETTINGS | limits)
    try:
        # Nobody opens the file again.
        connection.execute("PRAGMA disable_checkpoint_on_shutdown")
        connection.execute(_AS_SPARK_HAS_IT)
        connection.create_function(
            "XXHASH64",
            _hashes,
            None,
            "BIGINT",
            type=PythonUDFType.ARROW,
            null_handling=FunctionNullHandling.SPECIAL,
        )
        yield connection
    finally:
        connection.close()


@contextmanager
def explained() -> Iterator[None]:
    """Tell apart what DuckDB gives up for want of memory and what a signal has ended.

    Raises:
        TooLargeError: there is more than may be held.
        KeyboardInterrupt: DuckDB looks for signals while it works, and reports them as its errors.
    """
    import duckdb

    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise TooLargeError from error
    except (duckdb.Error, RuntimeError) as error:
        if is_interrupted():
            raise KeyboardInterrupt from error
        raise


def duck_statement(name: str) -> str:
    """Text of ``sql/<name>.sql``, its ``:markers`` written as DuckDB has them.

    What is named in ``WITH`` is not computed before it is used: DuckDB would hold all of it.
    """
    text = _MARKER.sub(r"$\1", _COMMENT.sub("", statement(name)))
    return _NAMED_QUERY.sub(r"\1NOT MATERIALIZED (", text)


def _hashes(*columns: pa.ChunkedArray) -> pa.Array:
    return pa.array(hash_rows(columns))
