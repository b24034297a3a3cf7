"""What the commands of one process share."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.lake.spark import spark_is_alive
from pipeline.settings.settings import Settings, SparkSettings
from pipeline.workspace import Workspace

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def test_a_spark_that_others_use_is_joined_and_left_running(
    spark: SparkSession, tmp_path: Path
) -> None:
    settings = Settings(work=tmp_path, spark=SparkSettings(master="local[2]", shuffle_partitions=2))
    space = Workspace(settings, datetime(2024, 4, 1, tzinfo=UTC))
    assert space.spark.sparkContext is spark.sparkContext
    space.close()
    assert spark_is_alive(spark)
