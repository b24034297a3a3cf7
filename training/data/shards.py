"""The shards of a data set as flat columns, one shard at a time; no loop over users or events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.array_types import Ints, Objects
from pipeline.dataset.manifest import Manifest
from pipeline.errors import HourglassError
from pipeline.text.wording import counted

Columns = dict[str, NDArray[Any]]

EVENT_COLUMNS: dict[str, type[Any]] = {
    "item": np.int32,
    "time_us": np.int64,
    "session_start": np.bool_,
    "dwell_s": np.float32,
    "dwell_bin": np.int16,
    "event_type": np.int16,
    "value": np.float32,
}


def kinds(manifest: Manifest) -> dict[str, tuple[tuple[int, ...], type[Any]]]:
    """Shape and type of each flat column of a data set: U users, N events, C context fields."""
    users, events = manifest.n_users, manifest.n_events
    return {
        "offsets": ((users + 1,), np.int64),
        "n_context": ((users,), np.int32),
        **{name: ((events,), kind) for name, kind in EVENT_COLUMNS.items()},
        "context": ((events, len(manifest.context_fields)), np.int32),
    }


def read_shards(folder: Path, manifest: Manifest) -> Iterator[Columns]:
    """The columns of :func:`kinds`, shard by shard; each is checked before it is handed out.

    Offsets count over all shards, and only those of the first begin with 0.

    Raises:
        HourglassError: a shard is no Parquet file, its lists contradict one another, or all of
            them together hold other numbers of users or events than the manifest says.
    """
    users = events = 0
    for name in manifest.parts:
        columns = _read_shard(folder, name, manifest)
        columns["offsets"] = columns["offsets"][1 if users else 0 :] + events
        users, events = users + len(columns["n_context"]), events + len(columns["item"])
        if users > manifest.n_users or events > manifest.n_events:
            break
        yield columns
    if (users, events) != (manifest.n_users, manifest.n_events):
        raise HourglassError(
            f"{folder}: the shards hold {counted(users, 'user')} and {counted(events, 'event')} "
            f"or more, the manifest says {manifest.n_users:,} and {manifest.n_events:,}: "
            "build the data set again"
        )


def read_user_ids(folder: Path, manifest: Manifest) -> Objects:
    """The users in the order of the shards, (U,)."""
    read = [table_column(read_table(folder, name, ("user_id",)), "user_id", np.object_)
            for name in manifest.parts]  # fmt: skip
    return np.concatenate(read) if read else np.empty(0, np.object_)


def read_table(folder: Path, name: str, columns: Sequence[str]) -> pa.Table:
    """The named columns of a Parquet file.

    Raises:
        HourglassError: it is none, or lacks a column.
    """
    try:
        with pq.ParquetFile(folder / name) as file:
            missing = [column for column in columns if column not in file.schema_arrow.names]
            if missing:
                raise HourglassError(
                    f"{folder / name}: has no column {missing[0]!r}: build the data set again"
                )
            return file.read(list(columns))
    except (pa.ArrowException, OSError) as error:
        raise HourglassError(
            f"{folder / name}: not a readable Parquet file: build the data set again"
        ) from error


def table_column(table: pa.Table, column: str, kind: type[Any]) -> NDArray[Any]:
    """A column without lists as an array."""
    values: NDArray[Any] = table[column].to_numpy().astype(kind, copy=False)
    return values


def list_lengths(table: pa.Table, column: str) -> Ints:
    """Entries of each row's list."""
    lengths: Ints = _joined(table, column).value_lengths().to_numpy(
        zero_copy_only=False
    ).astype(np.int64)  # fmt: skip
    return lengths


def list_values(where: Path, table: pa.Table, column: str, kind: type[Any]) -> NDArray[Any]:
    """The entries of all rows' lists, end to end; a null is NaN where ``kind`` is a float.

    Raises:
        HourglassError: a null where there is no place for one.
    """
    values = _joined(table, column).flatten()
    if values.null_count and not np.issubdtype(kind, np.floating):
        raise HourglassError(
            f"{where}: {column} holds {values.null_count} nulls: build the data set again"
        )
    flat: NDArray[Any] = values.to_numpy(zero_copy_only=False).astype(kind, copy=False)
    return flat


def _joined(table: pa.Table, column: str) -> pa.Array:
    chunked = table[column].combine_chunks()
    if isinstance(chunked, pa.ChunkedArray):
        return chunked.chunk(0) if chunked.num_chunks else pa.array([], chunked.type)
    return chunked


def _read_shard(folder: Path, name: str, manifest: Manifest) -> Columns:
    fields = [f"context_{number}" for number in range(len(manifest.context_fields))]
    table = read_table(folder, name, ("user_id", "n_context", *EVENT_COLUMNS, *fields))
    lengths = list_lengths(table, "item")
    flat: Columns = {}
    for column in (*EVENT_COLUMNS, *fields):
        own_lengths = list_lengths(table, column)
        if not np.array_equal(own_lengths, lengths):
            row = int(np.flatnonzero(own_lengths != lengths)[0])
            user = table["user_id"][row].as_py()
            raise HourglassError(
                f"{folder / name}: user {user!r} has {lengths[row]} entries in item but "
                f"{own_lengths[row]} in {column}: build the data set again"
            )
        flat[column] = list_values(
            folder / name, table, column, EVENT_COLUMNS.get(column, np.int32)
        )
    context = np.empty((len(flat["item"]), len(fields)), np.int32)
    for number, field in enumerate(fields):
        context[:, number] = flat.pop(field)
    n_context = table_column(table, "n_context", np.int32)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    columns = {"offsets": offsets, "n_context": n_context, **flat, "context": context}
    _verify(folder / name, manifest, table["user_id"], columns)
    return columns


def _verify(where: Path, manifest: Manifest, users: pa.ChunkedArray, columns: Columns) -> None:
    item, offsets, n_context = columns["item"], columns["offsets"], columns["n_context"]
    if len(item) and not (item.min() >= 1 and item.max() <= manifest.n_items):
        raise HourglassError(
            f"{where}: items run from {item.min()} to {item.max()} but the vocabulary holds "
            f"1 to {manifest.n_items}: build the data set again"
        )
    for number, field in enumerate(manifest.context_fields):
        codes = columns["context"][:, number]
        if len(codes) and not (codes.min() >= 0 and codes.max() <= len(field.values)):
            raise HourglassError(
                f"{where}: codes of the context field {field.name!r} run from {codes.min()} to "
                f"{codes.max()} but it has {counted(len(field.values), 'value')}: "
                "build the data set again"
            )
    backwards = np.flatnonzero(np.diff(columns["time_us"]) < 0) + 1
    backwards = backwards[~np.isin(backwards, offsets)]
    if len(backwards):
        user = users[int(np.searchsorted(offsets, backwards[0], side="right")) - 1].as_py()
        raise HourglassError(
            f"{where}: the events of user {user!r} are not in time order: build the data set again"
        )
    lengths = np.diff(offsets)
    wrong = np.flatnonzero((n_context < 0) | (n_context > lengths))
    if len(wrong):
        row = int(wrong[0])
        raise HourglassError(
            f"{where}: user {users[row].as_py()!r} has n_context = {n_context[row]} of "
            f"{counted(int(lengths[row]), 'event')}: build the data set again"
        )
