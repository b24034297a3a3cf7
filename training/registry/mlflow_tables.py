"""What MLflow's own database says of a registered model, read without MLflow.

To be imported and to open its store takes MLflow two seconds of CPU, and most commands of an hour
only ask what is live.  Where the store is a SQLite file with exactly the tables that the installed
MLflow makes, they are read here; all else is asked of MLflow: servers, other databases, files of
older and newer versions, workspaces.  What is written is written by MLflow alone.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline.lake.catalog import sqlite_file
from pipeline.lake.sqlite_files import connected

# Of the tables, as the migrations of MLflow 3.17 leave them.
_REVISION = "dc11669786a5"
_WORKSPACE = "default"
_DELETED = "Deleted_Internal"  # the stage of a version that was removed


@dataclass(frozen=True)
class Version:
    """A version of a registered model."""

    version: str
    run_id: str | None
    source: str | None
    tags: Mapping[str, str]


@dataclass(frozen=True)
class MlflowTables:
    """The tables of one SQLite file; each question is asked of the file as it is now."""

    database: Path

    def tags_of_model(self, name: str) -> dict[str, str] | None:
        """Tags of a registered model; None where there is no such model."""
        with closing(connected(self.database)) as connection:
            if not _is_registered(connection, name):
                return None
            rows = connection.execute(
                "SELECT key, value FROM registered_model_tags WHERE workspace = ? AND name = ?",
                (_WORKSPACE, name),
            )
            return dict(rows.fetchall())

    def aliased(self, name: str, alias: str) -> Version | None:
        """The version that an alias points to; None where there is none."""
        chosen = (
            "version = (SELECT version FROM registered_model_aliases "
            "WHERE workspace = :workspace AND name = :name AND alias = :alias)"
        )
        return next(iter(self._versions(name, chosen, alias=alias)), None)

    def version(self, name: str, version: str) -> Version | None:
        """A version by its number; None where there is none."""
        return next(iter(self._versions(name, "version = :version", version=int(version))), None)

    def tagged(self, name: str, key: str, value: str) -> list[Version]:
        """The versions with a tag, first to last."""
        chosen = (
            "version IN (SELECT version FROM model_version_tags "
            "WHERE workspace = :workspace AND name = :name AND key = :key AND value = :value)"
        )
        return self._versions(name, chosen, key=key, value=value)

    def run_tags(self, run_id: str) -> dict[str, str] | None:
        """Tags of a run; None where there is no such run."""
        with closing(connected(self.database)) as connection:
            runs = connection.execute("SELECT 1 FROM runs WHERE run_uuid = ?", (run_id,))
            if runs.fetchone() is None:
                return None
            rows = connection.execute("SELECT key, value FROM tags WHERE run_uuid = ?", (run_id,))
            return dict(rows.fetchall())

    def latest_run(self, experiment: str, key: str, value: str) -> tuple[str, str] | None:
        """Id and status of an experiment's last run with a tag; None where there is none."""
        with closing(connected(self.database)) as connection:
            row = connection.execute(
                "SELECT runs.run_uuid, runs.status FROM runs "
                "JOIN experiments USING (experiment_id) JOIN tags USING (run_uuid) "
                "WHERE experiments.workspace = ? AND experiments.name = ? "
                "AND runs.lifecycle_stage = 'active' "
                "AND tags.key = ? AND tags.value = ? "
                "ORDER BY runs.start_time DESC, runs.run_uuid LIMIT 1",
                (_WORKSPACE, experiment, key, value),
            ).fetchone()
            return None if row is None else (str(row[0]), str(row[1]))

    def points(self, run_id: str, names: Iterable[str]) -> dict[str, list[tuple[int, float]]]:
        """Steps and values of curves of a run, by their names."""
        with closing(connected(self.database)) as connection:
            return {
                name: connection.execute(
                    "SELECT step, value FROM metrics WHERE run_uuid = ? AND key = ? AND NOT is_nan",
                    (run_id, name),
                ).fetchall()
                for name in names
            }

    def artifact_location(self, experiment: str) -> str | None:
        """The address of an experiment's files; None where there is no such experiment."""
        with closing(connected(self.database)) as connection:
            row = connection.execute(
                "SELECT artifact_location FROM experiments WHERE workspace = ? AND name = ?",
                (_WORKSPACE, experiment),
            ).fetchone()
            return None if row is None else row[0]

    def _versions(self, name: str, chosen: str, **values: str | int) -> list[Version]:
        words = values | {"workspace": _WORKSPACE, "name": name, "deleted": _DELETED}
        with closing(connected(self.database)) as connection:
            rows = connection.execute(
                # The condition is one of those above; only values come from outside.
                "SELECT version, run_id, source FROM model_versions WHERE workspace = :workspace "  # noqa: S608
                f"AND name = :name AND current_stage <> :deleted AND {chosen} ORDER BY version",
                words,
            ).fetchall()
            return [
                Version(str(version), run_id, source, dict(_tags(connection, name, version)))
                for version, run_id, source in rows
            ]


def readable_tables(uri: str) -> MlflowTables | None:
    """The tables behind an address of MLflow's store; None where MLflow itself is to be asked."""
    database = sqlite_file(uri)
    if database is None or not database.is_file() or "MLFLOW_ENABLE_WORKSPACES" in os.environ:
        return None
    with suppress(sqlite3.Error), closing(connected(database)) as connection:
        revisions = connection.execute("SELECT version_num FROM alembic_version").fetchall()
        if revisions == [(_REVISION,)] and not _has_workspaces(connection):
            return MlflowTables(database)
    return None


def _has_workspaces(connection: sqlite3.Connection) -> bool:
    """Whether models lie in another workspace than the default one, which MLflow refuses."""
    rows = connection.execute(
        "SELECT 1 FROM registered_models WHERE workspace <> ? LIMIT 1", (_WORKSPACE,)
    )
    return rows.fetchone() is not None


def _is_registered(connection: sqlite3.Connection, name: str) -> bool:
    rows = connection.execute(
        "SELECT 1 FROM registered_models WHERE workspace = ? AND name = ?", (_WORKSPACE, name)
    )
    return rows.fetchone() is not None


def _tags(connection: sqlite3.Connection, name: str, version: int) -> Iterator[tuple[str, str]]:
    return connection.execute(
        "SELECT key, value FROM model_version_tags WHERE workspace = ? AND name = ? "
        "AND version = ?",
        (_WORKSPACE, name, version),
    )
