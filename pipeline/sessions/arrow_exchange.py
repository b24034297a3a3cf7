"""Tables that travel between Spark tasks whole, as one binary value each.

Row by row, moving a column through the JVM costs more than all that is computed with it.  Wrapped
in Arrow's own format a few thousand rows are one value to Spark, which partitions, spills and
retries them as it does any other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import pyarrow as pa

from pipeline.errors import HourglassError

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

#: What a task hands on: to which task of the next stage, by which task, what it is, the table.
SHUFFLE_BLOCK = pa.schema(
    [
        pa.field("target", pa.int32(), nullable=False),
        pa.field("origin", pa.int32(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("table", pa.binary(), nullable=False),
    ]
)
ShuffleBlock = tuple[int, int, str, pa.Table]
#: The tables of one task by kind, each kind in the order of the tasks that made them.
Received = dict[str, list[pa.Table]]
_ARROW_BYTES = "spark.sql.execution.arrow.maxBytesPerBatch"
_BYTES_PER_BATCH = str(32 << 20)


def first_stage(
    spark: SparkSession, tasks: int, work: Callable[[int], Iterable[ShuffleBlock]]
) -> DataFrame:
    """Run ``work`` for each task number, which is all that it is given."""

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for task in batch.column(0).to_pylist():
                yield from map(_serialised, work(task))

    spark.conf.set(_ARROW_BYTES, _BYTES_PER_BATCH)
    return spark.range(0, tasks, 1, tasks).mapInArrow(run, _spark_schema())


def next_stage(
    blocks: DataFrame, tasks: int, work: Callable[[int, Received], Iterable[ShuffleBlock]]
) -> DataFrame:
    """Deliver parcels to their tasks and run ``work`` on what each of them has received."""

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        received: list[ShuffleBlock] = []
        target = None
        for batch in batches:
            for index in range(batch.num_rows):
                former, target = target, batch["target"][index].as_py()
                if former not in (None, target):
                    raise HourglassError(
                        f"Spark sent the parcels of tasks {former} and {target} to one: this "
                        "version parts rows otherwise than Hourglass asks it to"
                    )
                origin, kind = batch["origin"][index].as_py(), batch["kind"][index].as_py()
                table = _deserialised(batch["table"][index].as_buffer())
                received.append((target, origin, kind, table))
        if target is not None:
            yield from map(_serialised, work(target, by_kind(received)))

    return blocks.repartitionById(tasks, "target").mapInArrow(run, _spark_schema())


def by_kind(parcels: Iterable[ShuffleBlock]) -> Received:
    """What one task has received, in whatever order."""
    received: Received = defaultdict(list)
    for _, _, kind, table in sorted(parcels, key=lambda parcel: parcel[1]):
        received[kind].append(table)
    return received


def collect_tables(blocks: DataFrame, kind: str) -> list[pa.Table]:
    """The tables of a kind that the last stage handed out; few and small ones."""
    rows = blocks.where(blocks["kind"] == kind).select("table").collect()
    return [_deserialised(pa.py_buffer(row["table"])) for row in rows]


def _spark_schema() -> str:
    return "target int, origin int, kind string, table binary"


def _serialised(block: ShuffleBlock) -> pa.RecordBatch:
    target, origin, kind, table = block
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table.combine_chunks())
    body = pa.array([sink.getvalue().to_pybytes()], pa.binary())
    return pa.record_batch(
        [pa.array([target], pa.int32()), pa.array([origin], pa.int32()), pa.array([kind]), body],
        schema=SHUFFLE_BLOCK,
    )


def _deserialised(body: pa.Buffer) -> pa.Table:
    return pa.ipc.open_stream(body).read_all()
