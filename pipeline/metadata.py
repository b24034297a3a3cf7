"""Metadata: optional files about items and users -> the ``items`` and ``users`` tables."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.errors import UsageError
from pipeline.lake import Lake
from pipeline.schemas import ITEMS, USERS, TableSpec
from pipeline.settings import Settings
from pipeline.sources.metadata import read_items, read_users

_DIGEST = "hourglass.source_sha256"


def load_metadata(lake: Lake, settings: Settings) -> dict[str, int]:
    """Replace the tables whose file is named in the settings and has changed; rows by table.

    Raises:
        UsageError: a named file is missing.
        HourglassError: a line of it is not what it should be; the table stays as it was.
    """
    source = settings.source
    given = ((ITEMS, source.items_path, read_items), (USERS, source.users_path, read_users))
    return {
        spec.name: _load(lake, spec, path, read, source.encoding)
        for spec, path, read in given
        if path is not None
    }


def _load(
    lake: Lake,
    spec: TableSpec,
    path: Path,
    read: Callable[[Path, str], Iterator[dict[str, Any]]],
    encoding: str,
) -> int:
    if not path.is_file():
        raise UsageError(f"{path}: no such file: see source.{spec.name}_path")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if lake.properties(spec).get(_DIGEST) == digest:
        return 0
    rows = pa.Table.from_pylist(list(read(path, encoding)), schema=spec.schema)
    lake.overwrite(spec, "true", rows, {_DIGEST: digest})
    return int(rows.num_rows)
