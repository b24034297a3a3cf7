"""Writing a Spark frame as Parquet files that each hold one hour.

Spark's own partitioned writer opens, renames and commits a file in 10 ms or more, which on a year
of small hours is minutes; here every task streams its sorted rows through one Arrow writer after
another and names the files itself, so a failed or repeated task leaves only unnamed files behind.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_ROWS_PER_GROUP = 1 << 17


def stage_by_hour(frame: DataFrame, schema: pa.Schema, folder_uri: str) -> list[str]:
    """Write the rows below ``folder_uri`` and return the paths, one hour a file.

    The frame must hold the columns of ``schema``, ``hour`` among them and never null.  Object
    stores work as far as Arrow has a file system for the scheme of the URI.
    """
    session = frame.sparkSession
    tasks = int(session.conf.get("spark.sql.shuffle.partitions") or 1)
    written = (
        frame.select(*schema.names)
        .repartition(tasks, "hour")
        .sortWithinPartitions("hour")
        .mapInArrow(_writer(schema, folder_uri), "path string")
        .collect()
    )
    return sorted(row.path for row in written)


def _writer(
    schema: pa.Schema, folder_uri: str
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def write(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import pyarrow.fs as pa_fs
        import pyarrow.parquet as pq

        store, folder = pa_fs.FileSystem.from_uri(folder_uri)
        paths: list[str] = []
        writer: pq.ParquetWriter | None = None
        current = None
        for hour, part in _runs_of_one_hour(batches, schema):
            if hour != current or writer is None:
                if writer is not None:
                    writer.close()
                name = hour.strftime("%Y-%m-%dT%H")
                store.create_dir(f"{folder}/{name}", recursive=True)
                path = f"{folder}/{name}/{uuid.uuid4().hex}.parquet"
                writer = pq.ParquetWriter(path, schema, filesystem=store, compression="zstd")
                paths.append(f"{folder_uri}/{name}/{path.rpartition('/')[2]}")
                current = hour
            writer.write_table(part, row_group_size=_ROWS_PER_GROUP)
        if writer is not None:
            writer.close()
        yield pa.record_batch({"path": pa.array(paths, pa.string())})

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
