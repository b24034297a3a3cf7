"""What every test may ask for: the real logs, and one Spark session for the whole run."""

from __future__ import annotations

import gc
import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from forked import import_in_server
from hypothesis import HealthCheck, settings
from sqlalchemy import Engine, event

from pipeline.spark.compute import Compute
from pipeline.spark.session import QUICK_JAVA

if TYPE_CHECKING:
    from pyspark.sql import SparkSession
    from xdist.remote import Producer
    from xdist.scheduler import Scheduling

# What derandomizes in CI stays; how long an example takes says something of the machine alone.
settings.register_profile(
    "project",
    parent=settings.default,
    deadline=None,
    max_examples=int(os.environ.get("HOURGLASS_TEST_EXAMPLES", "20")),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("project")

ROOT = Path(__file__).resolve().parents[1]
_OBJECTS_BEFORE_A_SEARCH = 50_000
# Also for the long commands: in a test they last seconds.
os.environ.setdefault("SPARK_SUBMIT_OPTS", " ".join((*QUICK_JAVA, "-XX:+UseSerialGC")))

# Spark compiles code for each query, and plans anew after each stage.  For a few rows that is two
# thirds of the work; the rows are the same, as tests with `as_commands_compute` show.
_FOR_FEW_ROWS = {
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.adaptive.enabled": "false",
}

import_in_server()


@event.listens_for(Engine, "connect")
def _hurry(connection: object, _: object) -> None:
    """What a test writes need not outlast a loss of power, and a kill loses nothing."""
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous = OFF")


def pytest_collection_finish() -> None:
    """What was imported stays: no search for garbage need look through it again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_OBJECTS_BEFORE_A_SEARCH)


def pytest_unconfigure() -> None:
    """As it ends, modules look for what they left behind."""
    gc.unfreeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling | None:
    """Tests that need Spark, or that have Airflow run DAGs, share one."""
    if config.option.dist != "loadfile":
        return None
    from scheduling import SharedStartScheduling

    return SharedStartScheduling(config, log)


@pytest.fixture(scope="session")
def datasets_dir() -> Path:
    """Folder of the real logs; the test is skipped where there are none."""
    folder = Path(os.environ.get("HOURGLASS_DATASETS", ROOT.parent / "shared" / "datasets"))
    if not folder.is_dir():
        pytest.skip(f"no real logs at {folder}: set HOURGLASS_DATASETS to their folder")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _copied_lakes() -> Iterator[None]:
    from new_lakes import copied_lakes

    with copied_lakes():
        yield


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """A Spark session in UTC, as the commands start it, small and quick for a few rows."""
    from pipeline.settings.settings import SparkSettings
    from pipeline.spark.session import start_spark

    chosen = SparkSettings(master="local[2]", driver_memory="2g", shuffle_partitions=2)
    session = start_spark(chosen, tmp_path_factory.mktemp("spark"))
    _set_for_few_rows(session)
    yield session
    session.stop()


@pytest.fixture(scope="session")
def compute(request: pytest.FixtureRequest) -> Compute:
    """Where the steps of a test are computed; its Spark starts with the first that needs it."""
    return Compute(lambda: request.getfixturevalue("spark"), from_mib=64)


@pytest.fixture(scope="session")
def on_spark(spark: SparkSession) -> Compute:
    """Where Spark computes every step, however small."""
    return Compute(lambda: spark, from_mib=0)


@pytest.fixture(scope="session")
def mlflow_tables() -> Iterator[None]:
    """MLflow makes the tables of its first new store, by a long row of migrations; others copy."""
    from mlflow.store.db import utils

    tables: list[bytes] = []
    migrate = utils._upgrade_db

    def copied(engine: Engine) -> None:
        engine.dispose()
        with closing(sqlite3.connect(str(engine.url.database))) as store:
            if tables:
                with closing(sqlite3.connect(":memory:")) as made:
                    made.deserialize(tables[0])
                    made.backup(store)
            else:
                migrate(engine)
                tables.append(store.serialize())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utils, "_upgrade_db", copied)
        # Each store asks for it, and it is found by reading all migrations.
        patch.setattr(
            utils, "_get_latest_schema_revision", cache(utils._get_latest_schema_revision)
        )
        yield


def _set_for_few_rows(session: SparkSession) -> None:
    for name, value in _FOR_FEW_ROWS.items():
        session.conf.set(name, value)


@pytest.fixture(autouse=True)
def _for_few_rows() -> None:
    """A command that joined the session before has set what it needs itself."""
    if "pyspark" in sys.modules:
        from pyspark.sql import SparkSession

        session = SparkSession.getActiveSession()
        if session is not None:
            _set_for_few_rows(session)


@pytest.fixture
def as_commands_compute(spark: SparkSession) -> None:
    """Code made for each query and plans that adapt, as the commands have them."""
    for name in _FOR_FEW_ROWS:
        spark.conf.unset(name)
