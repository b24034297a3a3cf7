"""What the commands of one process share."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from pipeline.settings.settings import Settings, SparkSettings
from pipeline.spark.compute import Compute
from pipeline.spark.session import spark_is_alive
from pipeline.workspace import CommandContext


def test_a_spark_that_others_use_is_joined_and_left_running(
    compute: Compute, tmp_path: Path
) -> None:
    settings = Settings(work=tmp_path, spark=SparkSettings(master="local[2]", shuffle_partitions=2))
    ctx = CommandContext(settings, datetime(2024, 4, 1, tzinfo=UTC))
    assert compute.spark.sparkContext is ctx.compute.spark.sparkContext
    ctx.close()
    assert spark_is_alive(compute.spark)


def test_a_new_lake_whose_files_lie_elsewhere_has_its_catalog_at_home(tmp_path: Path) -> None:
    settings = Settings(work=tmp_path / "work", warehouse=str(tmp_path / "elsewhere" / "files"))
    ctx = CommandContext(settings, datetime(2024, 4, 1, tzinfo=UTC))
    assert set(ctx.lake.snapshots().values()) == {None}
    assert (tmp_path / "work" / "lake" / "catalog.db").is_file()
