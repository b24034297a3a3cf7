"""A file of users: who is to get recommendations, and in which context they are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.array_types import Ints, Objects
from pipeline.errors import UsageError

USER_ID = "user_id"
_TABLES = (".csv", ".parquet", ".tsv")


@dataclass(frozen=True)
class RequestedUsers:
    """Each user once, in the order of the file; ``context`` holds a column for each field."""

    user_ids: Objects  # (u,)
    context: dict[str, Objects]  # field -> (u,) texts, None = unknown

    def __len__(self) -> int:
        return len(self.user_ids)


def read_users(path: Path) -> RequestedUsers:
    """Users of a text file, one id a line, or of CSV, TSV or Parquet with a column `user_id`.

    Of a user who comes twice the first row counts.  All other columns are context: they bear the
    names of the events' context fields.

    Raises:
        UsageError: the file is missing, unreadable or names no user, has no column `user_id`, or
            one of its ids is missing or no text or whole number.
    """
    try:
        rows = _read_table(path) if path.suffix.lower() in _TABLES else _read_lines(path)
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not a UTF-8 file: {error.reason} at {error.start}") from error
    except OSError as error:
        raise UsageError(f"{path}: cannot read the users: {error.strerror or error}") from error
    except pa.ArrowInvalid as error:
        reason = " ".join(str(error).split())[:200]
        raise UsageError(f"{path}: cannot read the users: {reason}") from error
    if USER_ID not in rows.column_names:
        columns = ", ".join(rows.column_names) or "none"
        raise UsageError(f"{path}: no column {USER_ID!r}: its columns are {columns}")
    if not rows.num_rows:
        raise UsageError(f"{path}: names no user")
    texts = {name: _texts(path, name, rows[name]) for name in rows.column_names}
    ids = texts.pop(USER_ID)
    nameless = pc.fill_null(pc.equal(ids, ""), True)
    if (row := pc.index(nameless, True).as_py()) >= 0:
        raise UsageError(f"{path}: row {row + 1} of {rows.num_rows:,} has no user_id")
    user_ids = ids.to_numpy(zero_copy_only=False).astype(object)
    first = _first_of_each(ids)
    context = {
        name: values.to_numpy(zero_copy_only=False).astype(object)[first]
        for name, values in texts.items()
    }
    return RequestedUsers(user_ids[first], context)


def _read_lines(path: Path) -> pa.Table:
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    return pa.table({USER_ID: pa.array([line for line in lines if line.strip()], pa.string())})


def _read_table(path: Path) -> pa.Table:
    if path.suffix.lower() == ".parquet":
        import pyarrow.parquet as pq

        return pq.read_table(path)
    import pandas as pd

    separator = "\t" if path.suffix.lower() == ".tsv" else ","
    try:
        # As text: an id of 007 is not 7, and a user called NA is no missing one.
        rows = pd.read_csv(
            path, sep=separator, dtype=str, keep_default_na=False, encoding="utf-8-sig"
        )
    except pd.errors.EmptyDataError:
        return pa.table({USER_ID: pa.array([], pa.string())})
    except pd.errors.ParserError as error:
        raise UsageError(f"{path}: cannot read the users: {error}") from error
    return pa.Table.from_pandas(rows, preserve_index=False)


def _texts(path: Path, name: str, column: pa.ChunkedArray) -> pa.Array:
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    readable = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    if not readable and not pa.types.is_integer(kind) and not pa.types.is_null(kind):
        raise UsageError(f"{path}: column {name!r} is of type {kind}: make it text")
    texts = column.cast(pa.string())
    whole = texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
    # Iceberg and Parquet know null, CSV only the empty text.
    return pc.if_else(pc.equal(whole, ""), None, whole)


def _first_of_each(ids: pa.Array) -> Ints:
    codes = ids.dictionary_encode().indices.to_numpy()
    _, first = np.unique(codes, return_index=True)
    return np.sort(first)
