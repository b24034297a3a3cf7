"""Most tests begin with a new lake: its empty tables are made once, and copied for the others.

A copy has places and ids of its own.  What exists is opened as always, and so is what other
processes make.
"""

from __future__ import annotations

import json
import re
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipeline.lake import catalog as catalog_module
from pipeline.lake.catalog import sqlite_file

if TYPE_CHECKING:
    from pyiceberg.catalog.sql import SqlCatalog

Open = Callable[[str, Path], "SqlCatalog"]
_UUID = re.compile(r'("table-uuid":")[^"]+')


@dataclass(frozen=True)
class Template:
    """A lake as it is when all its tables have just been made."""

    warehouse: str
    database: bytes
    metadata: dict[str, str]  # text by place below the warehouse

    @classmethod
    def of(cls, database: Path, warehouse: Path) -> Template:
        with closing(sqlite3.connect(database)) as connection:
            content = connection.serialize()
        files = warehouse.rglob("*.metadata.json")
        texts = {str(file.relative_to(warehouse)): file.read_text("utf-8") for file in files}
        return cls(str(warehouse.absolute()), content, texts)

    def copy_to(self, database: Path, warehouse: Path) -> None:
        """Write it as another lake; the database comes last, as it is what makes one."""
        place = str(warehouse.absolute())
        for name, text in self.metadata.items():
            moved = text.replace(_escaped(self.warehouse), _escaped(place))
            file = warehouse / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(_UUID.sub(rf"\g<1>{uuid.uuid4()}", moved), "utf-8")
        with closing(sqlite3.connect(":memory:")) as copy, copy:
            copy.deserialize(self.database)
            copy.execute(
                "UPDATE iceberg_tables SET metadata_location = replace(metadata_location, ?, ?)",
                (self.warehouse, place),
            )
            copy.commit()
            with closing(sqlite3.connect(database)) as made:
                copy.backup(made)


def _escaped(path: str) -> str:
    """As it stands within a text of JSON."""
    return json.dumps(path, ensure_ascii=False)[1:-1]


def _holds() -> tuple[object, ...]:
    """What decides what a new lake holds."""
    module = catalog_module
    return module.ALL_TABLES, module._TABLE_PROPERTIES, module._HOURLY_PROPERTIES


@contextmanager
def copied_lakes() -> Iterator[None]:
    """Let lakes that are new to this process be copies of the first that was made in it.

    A test that changes what a new lake holds has one made for it, which nobody copies.
    """
    made: list[Template] = []
    usual = _holds()
    open_lake: Open = catalog_module._complete_catalog

    def complete(uri: str, warehouse: Path) -> SqlCatalog:
        database = sqlite_file(uri)
        is_usual = all(now is before for now, before in zip(_holds(), usual, strict=True))
        if database is None or database.exists() or (warehouse / "events").exists() or not is_usual:
            return open_lake(uri, warehouse)
        if made:
            warehouse.mkdir(parents=True, exist_ok=True)
            made[0].copy_to(database, warehouse)
            return open_lake(uri, warehouse)
        catalog = open_lake(uri, warehouse)
        made.append(Template.of(database, warehouse))
        return catalog

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalog_module, "_complete_catalog", complete)
        yield
