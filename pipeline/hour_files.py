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
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_ROWS_PER_GROUP = 1 << 17
# Below this mean size the cost of opening a file outweighs what Spark's columnar reader saves.
_SMALL_BYTES = 1 << 20
_BYTES_PER_TASK = 64 << 20
_FILES_PER_TASK = 256
_WILDCARD = re.compile(r"[][{}*?\\]")


def write_by_hour(frame: DataFrame, schema: pa.Schema, folder_uri: str) -> list[tuple[str, int]]:
    """Write the rows below ``folder_uri``, one hour a file; returns paths and sizes in bytes.

    The frame must hold the columns of ``schema``, ``hour`` among them and never null.  Object
    stores work as far as Arrow has a file system for the scheme of the URI.
    """
    session = frame.sparkSession
    tasks = int(session.conf.get("spark.sql.shuffle.partitions") or 1)
    written = (
        frame.select(*schema.names)
        .repartition(tasks, "hour")
        .sortWithinPartitions("hour")
        .mapInArrow(_writer(schema, folder_uri), "path string, bytes bigint")
        .collect()
    )
    return sorted((row.path, row.bytes) for row in written)


def read_by_hour(
    spark: SparkSession, schema: pa.Schema, files: Sequence[tuple[str, int]]
) -> DataFrame:
    """Rows of files given as path and size in bytes; the columns are those of ``schema``."""
    from pyspark.sql.pandas.types import from_arrow_schema

    spark_schema = from_arrow_schema(schema)
    if not files:
        return spark.createDataFrame([], spark_schema)
    paths = [path for path, _ in files]
    total = sum(size for _, size in files)
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


def _reader(
    schema: pa.Schema,
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def read(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import pyarrow.parquet as pq

        for batch in batches:
            for uri in batch.column("path").to_pylist():
                store, path = _store_of(uri)
                with store.open_input_file(path) as content:
                    # Small, so read whole: threads and buffers would cost more than they save.
                    rows = pq.ParquetFile(content, pre_buffer=False).read(
                        columns=schema.names, use_threads=False
                    )
                    yield from rows.select(schema.names).cast(schema).to_batches()

    return read


def _writer(
    schema: pa.Schema, folder_uri: str
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def write(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import pyarrow.parquet as pq

        store, folder = _store_of(folder_uri)
        paths: list[str] = []
        writer: pq.ParquetWriter | None = None
        current = None
        for hour, part in _runs_of_one_hour(batches, schema):
            if hour != current or writer is None:
                if writer is not None:
                    writer.close()
                name = hour.strftime("%Y-%m-%dT%H")
                store.create_dir(f"{folder}/{name}", recursive=True)
                paths.append(f"{name}/{uuid.uuid4().hex}.parquet")
                writer = pq.ParquetWriter(
                    f"{folder}/{paths[-1]}", schema, filesystem=store, compression="zstd"
                )
                current = hour
            writer.write_table(part, row_group_size=_ROWS_PER_GROUP)
        if writer is not None:
            writer.close()
        sizes = [store.get_file_info(f"{folder}/{path}").size for path in paths]
        yield pa.record_batch(
            {
                "path": pa.array([f"{folder_uri}/{path}" for path in paths], pa.string()),
                "bytes": pa.array(sizes, pa.int64()),
            }
        )

    return write


def _runs_of_one_hour(
    batches: Iterator[pa.RecordBatch], schema: pa.Schema
) -> Iterator[tuple[pa.Scalar, pa.Table]]:
    """Cut batches that are sorted by hour where the hour changes."""
    for batch in batches:
        if not batch.num_rows:
            continue
        rows = pa.Table.from_batches([batch]).select(schema.names).cast(schema)
        hours = rows.column("hour").combine_chunks()
        changes = pc.not_equal(hours.slice(1), hours.slice(0, len(hours) - 1))
        starts = [0, *(i + 1 for i in pc.indices_nonzero(changes).to_pylist()), len(hours)]
        for first, stop in itertools.pairwise(starts):
            yield hours[first].as_py(), rows.slice(first, stop - first)
