"""Parquet files that each hold one hour, quick also where there are thousands of small ones.

Spark's own partitioned writer opens, renames and commits a file in 10 ms or more, and its reader
takes several ms a file; on a year of small hours that is minutes.  Here every task streams its rows
through Arrow instead.  A task names its files itself and reports them when it is done, so a failed
or repeated task leaves only files behind that nobody knows of.
"""

from __future__ import annotations

import itertools
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import HourglassError
from pipeline.hours import Hour
from pipeline.lake.tables import ADDED_LATER

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_ROWS_PER_GROUP = 1 << 17
# Below this mean size the cost of opening a file outweighs what Spark's columnar reader saves.
_SMALL_BYTES = 1 << 20
_BYTES_PER_TASK = 64 << 20
_FILES_PER_TASK = 256
_BRIEF_LEVEL = -5
_REPEATING = [
    *("hour", "user_id", "item_id", "event_type", "given_session", "session_id"),
    *("context.key_value.key", "context.key_value.value", "source_file", "reason"),
]
_PRUNED_BY = ["hour", "event_time", "user_id", "item_id"]
# What Arrow raises for a file whose bytes have changed depends on which bytes.
_DAMAGE = (OSError, KeyError, pa.ArrowException)
_WILDCARD = re.compile(r"[][{}*?\\]")


class HourFile(NamedTuple):
    """A Parquet file of a table: where it is, how large, how many rows, and of which hour.

    ``hour`` is None where the table is not parted by hours.
    """

    path: str
    bytes: int
    rows: int
    hour: Hour | None


def write_by_hour(frame: DataFrame, schema: pa.Schema, folder_uri: str) -> list[HourFile]:
    """Write the rows below ``folder_uri``, one hour a file.

    The frame must hold the columns of ``schema``, ``hour`` among them and never null.  Object
    stores work as far as Arrow has a file system for the scheme of the URI.
    """
    session = frame.sparkSession
    tasks = int(session.conf.get("spark.sql.shuffle.partitions") or 1)
    written = (
        frame.select(*schema.names)
        .repartition(tasks, "hour")
        .sortWithinPartitions("hour")
        .mapInArrow(_writer(schema, folder_uri), _WRITTEN_FILES)
        .collect()
    )
    return sorted(HourFile(row.path, row.bytes, row.rows, Hour(row.hour)) for row in written)


def write_rows_by_hour(rows: pa.Table, schema: pa.Schema, folder_uri: str) -> list[HourFile]:
    """As :func:`write_by_hour`, of rows in memory."""
    if not rows.num_rows:
        return []
    rows = rows.select(schema.names)
    order = pc.sort_indices(rows, sort_keys=[("hour", "ascending")])
    return sorted(_written(HourWriter(folder_uri), iter(rows.take(order).to_batches()), schema))


def write_sorted_by_hour(
    batches: Iterator[pa.RecordBatch], schema: pa.Schema, folder_uri: str
) -> list[HourFile]:
    """As :func:`write_by_hour`, of rows that come sorted by hour."""
    return sorted(_written(HourWriter(folder_uri), batches, schema))


def read_by_hour(spark: SparkSession, schema: pa.Schema, files: Sequence[HourFile]) -> DataFrame:
    """Rows of the files; the columns are those of ``schema``."""
    from pyspark.sql.pandas.types import from_arrow_schema

    spark_schema = from_arrow_schema(schema)
    if not files:
        return spark.createDataFrame([], spark_schema)
    paths = [file.path for file in files]
    total = sum(file.bytes for file in files)
    if total > _SMALL_BYTES * len(files):
        return spark.read.schema(spark_schema).parquet(*map(literal_path, paths))
    tasks = max(total // _BYTES_PER_TASK, len(files) // _FILES_PER_TASK, 1)
    rows = spark.sparkContext.parallelize([(path,) for path in paths], int(tasks))
    return spark.createDataFrame(rows, "path string").mapInArrow(_reader(schema), spark_schema)


def literal_path(path: str) -> str:
    """A path for Spark's readers, which would take some of its characters for wildcards."""
    return _WILDCARD.sub(r"\\\g<0>", path)


def _store_of(location: str) -> tuple[Any, str]:
    """The file system of a location, and the path within it; a plain path is a local one."""
    import pyarrow.fs as pa_fs

    if "://" not in location:
        return pa_fs.LocalFileSystem(), location
    store, path = pa_fs.FileSystem.from_uri(location)
    return store, path


def read_file(location: str, columns: Sequence[str]) -> pa.Table:
    """Some columns of one small Parquet file, whole.

    Raises:
        HourglassError: the file is gone or damaged.
    """
    import pyarrow.parquet as pq

    store, path = _store_of(location)
    try:
        with store.open_input_file(path) as content:
            # Small, so read at once: threads and buffers would cost more than they save.
            rows = pq.ParquetFile(content, pre_buffer=False).read(
                columns=list(columns), use_threads=False
            )
            return with_added(rows, columns)
    except _DAMAGE as error:
        raise _unreadable(location, error) from error


def read_in_batches(location: str, columns: Sequence[str], rows: int) -> Iterator[pa.Table]:
    """As :func:`read_file`, so many rows at a time: what a dictionary packs may be huge unpacked.

    Raises:
        HourglassError: the file is gone or damaged.
    """
    import pyarrow.parquet as pq

    store, path = _store_of(location)
    try:
        with store.open_input_file(path) as content:
            file = pq.ParquetFile(content, pre_buffer=False)
            present = [name for name in columns if name in file.schema_arrow.names]
            for batch in file.iter_batches(rows, columns=present, use_threads=False):
                yield with_added(pa.Table.from_batches([batch]), columns)
    except _DAMAGE as error:
        raise _unreadable(location, error) from error


def _unreadable(location: str, error: Exception) -> HourglassError:
    reason = " ".join(str(error).split())
    return HourglassError(f"{location}: this table file cannot be read: {reason}")


def unpacked_bytes(location: str) -> int:
    """How much a Parquet file's pages hold once they are unpacked, but for their dictionaries.

    Raises:
        HourglassError: the file is gone or damaged.
    """
    import pyarrow.parquet as pq

    store, path = _store_of(location)
    try:
        with store.open_input_file(path) as content:
            footer = pq.read_metadata(content)
    except _DAMAGE as error:
        raise _unreadable(location, error) from error
    return sum(footer.row_group(nth).total_byte_size for nth in range(footer.num_row_groups))


def remove_files(files: Iterable[HourFile]) -> None:
    """Remove files that no table knows of; what cannot be removed does no harm."""
    for file in files:
        store, path = _store_of(file.path)
        with suppress(OSError):
            store.delete_file(path)


def with_added(rows: pa.Table, columns: Sequence[str]) -> pa.Table:
    """The rows with nulls for those of the columns that tables of earlier versions lack."""
    for name in columns:
        if name in ADDED_LATER and name not in rows.column_names:
            rows = rows.append_column(name, pa.nulls(rows.num_rows, ADDED_LATER[name]))
    return rows


class HourWriter:
    """Writes the files of one task below a folder, each named after its hour.

    ``brief`` is for rows that do not stay: quicker to write, and larger.
    """

    def __init__(self, folder_uri: str, brief: bool = False) -> None:
        self._level = _BRIEF_LEVEL if brief else None
        self._store, self._folder = _store_of(folder_uri)
        self._uri = folder_uri
        self._store.create_dir(self._folder, recursive=True)

    def write(self, hour: Hour, parts: Iterator[pa.Table]) -> HourFile:
        """One file of the rows of an hour, which arrive in one part or more."""
        import pyarrow.parquet as pq

        name = f"{hour}-{uuid.uuid4().hex}.parquet"
        path = f"{self._folder}/{name}"
        first = next(parts)
        rows = 0
        with pq.ParquetWriter(
            path,
            first.schema,
            filesystem=self._store,
            compression="zstd",
            compression_level=self._level,
            # Built in vain where values hardly repeat.
            use_dictionary=_REPEATING,
            write_statistics=_PRUNED_BY,
        ) as writer:
            for rows_of_hour in itertools.chain([first], parts):
                writer.write_table(rows_of_hour, row_group_size=_ROWS_PER_GROUP)
                rows += rows_of_hour.num_rows
        size = self._store.get_file_info(path).size
        return HourFile(f"{self._uri}/{name}", size, rows, hour)


_WRITTEN_FILES = "path string, bytes bigint, rows bigint, hour bigint"


def _reader(
    schema: pa.Schema,
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def read(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for location in batch.column("path").to_pylist():
                rows = read_file(location, schema.names)
                yield from rows.select(schema.names).cast(schema).to_batches()

    return read


def _writer(
    schema: pa.Schema, folder_uri: str
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def write(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        files = _written(HourWriter(folder_uri), batches, schema)
        yield pa.record_batch(
            {
                "path": pa.array([file.path for file in files], pa.string()),
                "bytes": pa.array([file.bytes for file in files], pa.int64()),
                "rows": pa.array([file.rows for file in files], pa.int64()),
                "hour": pa.array([file.hour.index for file in files if file.hour], pa.int64()),
            }
        )

    return write


def _written(
    writer: HourWriter, batches: Iterator[pa.RecordBatch], schema: pa.Schema
) -> list[HourFile]:
    """The files of rows that are sorted by hour."""
    runs = _runs_of_one_hour(batches, schema)
    return [
        writer.write(hour, (rows_of_hour for _, rows_of_hour in parts))
        for hour, parts in itertools.groupby(runs, key=lambda run: run[0])
    ]


def _runs_of_one_hour(
    batches: Iterator[pa.RecordBatch], schema: pa.Schema
) -> Iterator[tuple[Hour, pa.Table]]:
    """Cut batches that are sorted by hour where the hour changes."""
    for batch in batches:
        if not batch.num_rows:
            continue
        rows = pa.Table.from_batches([batch]).select(schema.names).cast(schema)
        hours = rows.column("hour").combine_chunks()
        changes = pc.not_equal(hours.slice(1), hours.slice(0, len(hours) - 1))
        starts = [0, *(i + 1 for i in pc.indices_nonzero(changes).to_pylist()), len(hours)]
        for first, stop in itertools.pairwise(starts):
            yield Hour.of(hours[first].as_py()), rows.slice(first, stop - first)
