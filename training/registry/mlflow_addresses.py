"""The addresses of files in MLflow's database, which are absolute, and the folders they name.

A store that was copied with its work folder still names the files of the first one: runs of the
copy would write there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from pipeline.errors import HourglassError
from pipeline.lake.catalog import sqlite_file
from pipeline.text.wording import counted
from training.registry.mlflow_tables import readable_tables

if TYPE_CHECKING:
    from sqlalchemy import Connection

# Where MLflow keeps addresses of files, whatever its version; what a store lacks is passed over.
_ADDRESSES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("logged_models", "artifact_location"),
    ("trace_tags", "value"),
)
_SERVER = ("http://", "https://")


def is_server(uri: str) -> bool:
    """Whether MLflow is asked over the network, and keeps its addresses to itself."""
    return uri.startswith(_SERVER)


def check_addresses(uri: str, name: str, models: Path, artifacts: Path) -> None:
    """Make sure that the files of a model's runs lie where the settings say.

    Args:
        uri: of MLflow's store; only a SQLite file that is there is looked at.
        name: of the registered model and of its experiment.
        models: folder of the artefacts.
        artifacts: folder of the files of runs.

    Raises:
        HourglassError: they lie elsewhere: the store was copied, moved or restored.
    """
    database = sqlite_file(uri)
    if database is None or not database.is_file():
        return
    elsewhere = _named_elsewhere(uri, name, models, artifacts)
    if elsewhere is not None:
        raise HourglassError(
            f"MLflow's store at {uri} was moved, copied or linked: its experiment {name} names "
            f"the files in {elsewhere}, not those in {artifacts.absolute()}; nothing was written: "
            "run `hourglass adopt` to make it a store of its own, or let the settings name the "
            "first one"
        )


def former_folders(uri: str, name: str, models: Path, artifacts: Path) -> list[Path]:
    """The work folders that the store names instead of the present one."""
    if is_server(uri) or ((database := sqlite_file(uri)) is not None and not database.is_file()):
        return []
    with _connected(uri) as connection:
        locations = [path for path in (_experiment(connection, name),) if path is not None]
        sources = _sources(connection, name)
    formers = [
        folder.parent
        for folder, own in (
            *((location, artifacts) for location in locations),
            *((source.parent, models) for source in sources),
        )
        if folder.name == own.name and not _same(folder, own)
    ]
    return sorted(set(formers))


def check_files(uri: str, former: Path, work: Path) -> None:
    """Refuse where files that the store names are in the former folder but not in this one.

    Raises:
        HourglassError: naming the first.
    """
    with _connected(uri) as connection:
        missing = [
            here
            for address in _all_addresses(connection)
            if (path := _path(address)) is not None and path.is_relative_to(former)
            for here in (work / path.relative_to(former),)
            if path.exists() and not here.exists()
        ]
    if missing:
        raise HourglassError(
            f"MLflow's store at {uri} names what is missing here of {former} "
            f"({counted(len(missing), 'path')}), the first is {missing[0]}; nothing was changed: "
            "copy or restore the whole work folder again"
        )


def readdress(uri: str, formers: Sequence[Path], work: Path) -> int:
    """Let all addresses inside former work folders name this one; in one transaction.

    Returns:
        How many were changed.
    """
    changed = 0
    with _connected(uri, writing=True) as connection:
        for table, column in _present_columns(connection):
            for former in formers:
                for old, new in ((former.as_uri(), work.as_uri()), (str(former), str(work))):
                    changed += _replace_prefix(connection, table, column, f"{old}/", f"{new}/")
    return changed


def _replace_prefix(connection: Connection, table: str, column: str, old: str, new: str) -> int:
    from sqlalchemy import text

    # Names of tables and columns are those above; only values come from outside.
    statement = text(
        f"UPDATE {table} SET {column} = :new || SUBSTR({column}, :length + 1) "  # noqa: S608
        f"WHERE SUBSTR({column}, 1, :length) = :old"
    )
    values = {"new": new, "old": old, "length": len(old)}
    return int(connection.execute(statement, values).rowcount)


def _named_elsewhere(uri: str, name: str, models: Path, artifacts: Path) -> Path | None:
    """The folder that an experiment names instead of the one of the settings, if it does."""
    tables = readable_tables(uri)
    if tables is not None:
        location = _path(tables.artifact_location(name))
        if location is None or _same(location, artifacts):
            return None
    with _connected(uri) as connection:
        location = _experiment(connection, name)
        if location is None or _same(location, artifacts):
            return None
        sources = _sources(connection, name)
    # An experiment that somebody made elsewhere on purpose has models that lie where they should.
    own = [source for source in sources if _inside(source, models) or _inside(source, artifacts)]
    return None if sources and len(own) == len(sources) else location


def _experiment(connection: Connection, name: str) -> Path | None:
    from sqlalchemy import text

    chosen = text("SELECT artifact_location FROM experiments WHERE name = :name")
    if not _has(connection, "experiments"):
        return None
    rows = connection.execute(chosen, {"name": name})
    return next((path for row in rows if (path := _path(row[0])) is not None), None)


def _sources(connection: Connection, name: str) -> list[Path]:
    from sqlalchemy import text

    chosen = text("SELECT source FROM model_versions WHERE name = :name")
    if not _has(connection, "model_versions"):
        return []
    paths = (_path(row[0]) for row in connection.execute(chosen, {"name": name}))
    return [path for path in paths if path is not None]


def _all_addresses(connection: Connection) -> Iterator[str | None]:
    from sqlalchemy import text

    for table, column in _present_columns(connection):
        for row in connection.execute(text(f"SELECT {column} FROM {table}")):  # noqa: S608
            yield row[0]


def _present_columns(connection: Connection) -> list[tuple[str, str]]:
    from sqlalchemy import inspect

    inspector = inspect(connection)
    return [
        (table, column)
        for table, column in _ADDRESSES
        if inspector.has_table(table)
        and column in {each["name"] for each in inspector.get_columns(table)}
    ]


def _has(connection: Connection, table: str) -> bool:
    from sqlalchemy import inspect

    return bool(inspect(connection).has_table(table))


@contextmanager
def _connected(uri: str, writing: bool = False) -> Iterator[Connection]:
    """A connection; what is written through it is written as a whole."""
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    engine = create_engine(uri, poolclass=NullPool)
    with engine.begin() if writing else engine.connect() as connection:
        yield connection


def _path(address: str | None) -> Path | None:
    """The path of an address of this machine; None for others and for relative ones."""
    if address is None:
        return None
    if address.startswith("file:"):
        address = unquote(urlsplit(address).path)
    return Path(address) if address.startswith("/") else None


def _same(first: Path, second: Path) -> bool:
    return os.path.realpath(first) == os.path.realpath(second)


def _inside(path: Path, folder: Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))
