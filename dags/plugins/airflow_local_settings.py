"""What makes Airflow's embedded SQLite hold: Airflow takes its engines from here.

Airflow finds this file by its name, in the folder of plugins.  PostgreSQL is left as it is.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

__all__ = ["create_async_metadata_engine", "create_metadata_engine"]

# A backfill of some hundred hours writes for half a minute; SQLite's own patience is 5 s.
_PATIENCE_S = 120.0


def create_metadata_engine(
    sql_alchemy_conn: str, *, engine_args: dict[str, Any], connect_args: dict[str, Any]
) -> Engine:
    """The engine of all processes that reach the database."""
    if not sql_alchemy_conn.startswith("sqlite"):
        return create_engine(sql_alchemy_conn, connect_args=connect_args, **engine_args)
    patient = {"timeout": _PATIENCE_S, **connect_args}
    engine = create_engine(sql_alchemy_conn, connect_args=patient, **engine_args)
    event.listen(engine, "savepoint", write_from_the_start)
    return engine


def create_async_metadata_engine(
    sql_alchemy_conn_async: str,
    *,
    connect_args: dict[str, Any],
    engine_args: dict[str, Any] | None = None,
) -> AsyncEngine:
    """The API server's other engine."""
    patience = {"timeout": _PATIENCE_S} if sql_alchemy_conn_async.startswith("sqlite") else {}
    return create_async_engine(
        sql_alchemy_conn_async, connect_args=patience | connect_args, **(engine_args or {})
    )


def write_from_the_start(connection: Connection, _name: str) -> None:
    """Wait for the right to write before a savepoint that would begin a transaction.

    Such a transaction reads first, and when it comes to write and anybody else has written
    meanwhile, SQLite refuses at once, however long it may wait: "database is locked", of which
    every backfill died beside a scheduler (apache/airflow#66726).
    """
    if not connection.connection.in_transaction:  # type: ignore[attr-defined]  # sqlite3's own
        connection.exec_driver_sql("BEGIN IMMEDIATE")
