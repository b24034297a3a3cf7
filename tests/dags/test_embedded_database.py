"""Airflow's embedded SQLite: a transaction that reads before it writes is not refused."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session
from workplace import ROOT

READ, WRITE = text("SELECT count(*) FROM runs"), text("INSERT INTO runs VALUES (1)")


@pytest.fixture
def local_settings() -> ModuleType:
    path = ROOT / "dags" / "plugins" / "airflow_local_settings.py"
    spec = importlib.util.spec_from_file_location("local_settings", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def address(tmp_path: Path) -> str:
    address = f"sqlite:///{tmp_path / 'airflow.db'}"
    engine = create_engine(address)
    with engine.begin() as connection:
        # As Airflow sets it.
        connection.exec_driver_sql("PRAGMA journal_mode=WAL")
        connection.exec_driver_sql("CREATE TABLE runs (id INTEGER)")
    engine.dispose()
    return address


def read_then_write_beside(engine: Engine, address: str) -> None:
    """As a backfill makes a run: in a savepoint, while the scheduler would write too."""
    hasty = create_engine(address, connect_args={"timeout": 0})
    with Session(engine) as session, session.begin_nested():
        session.execute(READ)
        try:
            with hasty.begin() as scheduler:
                scheduler.execute(WRITE)
        except OperationalError:
            pass  # it would wait, were it patient
        session.execute(WRITE)
    hasty.dispose()
    engine.dispose()


def test_a_backfill_is_not_refused_for_what_others_wrote(
    local_settings: ModuleType, address: str
) -> None:
    engine = local_settings.create_metadata_engine(address, engine_args={}, connect_args={})
    read_then_write_beside(engine, address)


def test_it_was_refused_by_airflows_own_engine(address: str) -> None:
    """What the above is for; when SQLAlchemy begins transactions by itself it can go."""
    with pytest.raises(OperationalError, match="database is locked"):
        read_then_write_beside(create_engine(address), address)


def test_a_savepoint_within_a_transaction_is_one(local_settings: ModuleType, address: str) -> None:
    engine = local_settings.create_metadata_engine(address, engine_args={}, connect_args={})
    with Session(engine) as session:
        session.execute(WRITE)
        with session.begin_nested():
            session.execute(WRITE)
        session.rollback()
        assert session.scalar(READ) == 0
    engine.dispose()
