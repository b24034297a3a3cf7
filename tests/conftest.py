"""What every test may ask for: the real logs, and one Spark session for the whole run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from pipeline.lake.spark import QUICK_JAVA

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# What derandomizes in CI stays; how long an example takes says something of the machine alone.
settings.register_profile(
    "project", parent=settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("project")

ROOT = Path(__file__).resolve().parents[1]
# Also for the long commands: in a test they last seconds.
os.environ.setdefault("SPARK_SUBMIT_OPTS", " ".join((*QUICK_JAVA, "-XX:+UseSerialGC")))


@pytest.fixture(scope="session")
def datasets_dir() -> Path:
    """Folder of the real logs; the test is skipped where there are none."""
    folder = Path(os.environ.get("HOURGLASS_DATASETS", ROOT.parent / "shared" / "datasets"))
    if not folder.is_dir():
        pytest.skip(f"no real logs at {folder}: set HOURGLASS_DATASETS to their folder")
    return folder


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """A Spark session in UTC, as the commands start it, small."""
    from pipeline.lake.spark import start_spark
    from pipeline.settings.settings import SparkSettings

    chosen = SparkSettings(master="local[2]", driver_memory="2g", shuffle_partitions=2)
    session = start_spark(chosen, tmp_path_factory.mktemp("spark"))
    yield session
    session.stop()
