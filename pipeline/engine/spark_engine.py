"""Spark as an engine: for what is large, and for clusters."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa

from pipeline.engine.engine import Batches, Engine, Frame, Parameter
from pipeline.lake.lake import Lake
from pipeline.lake.parquet_files import HourFile, literal_path, read_by_hour
from pipeline.lake.sql import query
from pipeline.lake.tables import TableSpec

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_TASKS_PER_CORE = 4


@dataclass(frozen=True)
class SparkFrame(Frame):
    """A data frame of Spark's, computed where it is used."""

    rows: DataFrame

    def where(self, flag: str) -> Frame:
        """See :class:`Frame`; so for all methods."""
        return SparkFrame(self.rows.where(self.rows[flag]))

    def where_not(self, flag: str) -> Frame:
        return SparkFrame(self.rows.where(~self.rows[flag]))

    def where_in(self, column: str, values: Collection[str]) -> Frame:
        return SparkFrame(self.rows.where(self.rows[column].isin(list(values))))

    def where_not_in(self, column: str, values: Collection[str]) -> Frame:
        return SparkFrame(self.rows.where(~self.rows[column].isin(list(values))))

    def select(self, *columns: str) -> Frame:
        return SparkFrame(self.rows.select(*columns))

    def union(self, other: Frame) -> Frame:
        return SparkFrame(self.rows.union(_rows_of(other)))

    def none(self) -> Frame:
        # A limit of nothing lets the optimiser leave out what it is joined to.
        return SparkFrame(self.rows.limit(0))

    def is_empty(self) -> bool:
        return self.rows.isEmpty()

    def collect(self) -> list[Any]:
        return self.rows.collect()

    @contextmanager
    def computed_once(self) -> Iterator[Frame]:
        self.rows.persist()
        try:
            yield self
        finally:
            self.rows.unpersist()


def _rows_of(frame: Frame) -> DataFrame:
    return cast("SparkFrame", frame).rows


@dataclass(frozen=True)
class SparkEngine(Engine):
    """Runs everything in a Spark session."""

    spark: SparkSession

    def texts(self, column: str, values: Collection[str]) -> Frame:
        """See :class:`Engine`; so for all methods."""
        rows = [(value,) for value in values]
        return SparkFrame(self.spark.createDataFrame(rows, f"{column} string"))

    def read_files(self, schema: pa.Schema, files: Sequence[HourFile]) -> Frame:
        return SparkFrame(read_by_hour(self.spark, schema, files))

    def shares_out(self, input_bytes: int) -> bool:  # noqa: ARG002 - a task costs next to nothing
        return True

    def made_from(
        self,
        inputs: pa.Table,
        make: Callable[[Batches], Batches],
        schema: pa.Schema,
        folder: Path,
        sizes: Sequence[int],  # noqa: ARG002 - there are more tasks than cores
    ) -> Frame:
        from pyspark.sql.pandas.types import from_arrow_schema

        slices = min(inputs.num_rows, _TASKS_PER_CORE * self.spark.sparkContext.defaultParallelism)
        rows = [tuple(row.values()) for row in inputs.to_pylist()]
        listed = self.spark.createDataFrame(rows, from_arrow_schema(inputs.schema))
        outputs = listed.repartition(slices).mapInArrow(make, from_arrow_schema(schema))
        outputs.write.parquet(str(folder))
        return SparkFrame(self.spark.read.parquet(literal_path(str(folder))))

    def query(self, name: str, views: Mapping[str, Frame], **parameters: Parameter) -> Frame:
        frames = {view: _rows_of(frame) for view, frame in views.items()}
        return SparkFrame(query(self.spark, name, frames, **parameters))

    def stage(self, lake: Lake, frame: Frame, spec: TableSpec) -> list[HourFile]:
        return lake.stage(_rows_of(frame), spec)
