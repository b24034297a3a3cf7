"""Reads a frozen data set folder into flat arrays; the format is described at `read_dataset`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, PlainSerializer, PlainValidator, ValidationError

from pipeline.errors import HourglassError
from pipeline.hours import Hour

MANIFEST_NAME = "manifest.json"
FORMAT = 1
_CHUNK_BYTES = 1 << 20


def _hour(value: object) -> Hour:
    try:
        return value if isinstance(value, Hour) else Hour.parse(str(value))
    except HourglassError as error:
        raise ValueError(str(error)) from error


HourText = Annotated[Hour, PlainValidator(_hour), PlainSerializer(str)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class StepCounts(_Part):
    """How much was left after one step of the filter."""

    step: str
    events: int
    items: int
    users: int
    sessions: int


class DwellBins(_Part):
    """Moments of the dwell times and the bins made of them (ASARS eq. 8)."""

    n: int
    mean_s: float
    m2_s2: float
    width_s: float
    bins: int


class Manifest(_Part):
    """What a data set was made from, and how much is in it."""

    format: int
    dataset_id: str
    as_of: HourText
    window_start: HourText
    history_start: HourText
    n_items: int
    n_users: int
    n_events: int
    n_targets: int
    event_types: tuple[str, ...]
    steps: tuple[StepCounts, ...] = ()
    dwell: DwellBins
    popularity_window_h: int
    max_session_hours: int
    gap_s: int
    snapshots: dict[str, Any] = {}
    config_digest: str
    code_version: str
    files: dict[str, str]
    base_dataset_id: str | None = None
    left_out_events: int | None = None


@dataclass(frozen=True)
class Histories:
    """Every user's events in time order, end to end: U users, N events.

    Events ``offsets[u]`` to ``offsets[u + 1]`` are user u's; the first ``n_context[u]`` of them
    are context, never targets.
    """

    user_ids: NDArray[np.object_]  # (U,)
    offsets: NDArray[np.int64]  # (U + 1,)
    n_context: NDArray[np.int32]  # (U,)
    item: NDArray[np.int32]  # (N,) 1-based
    time_us: NDArray[np.int64]  # (N,)
    session_start: NDArray[np.bool_]  # (N,)
    dwell_s: NDArray[np.float32]  # (N,) NaN = none
    dwell_bin: NDArray[np.int16]  # (N,) 0 = unknown
    event_type: NDArray[np.int16]  # (N,)
    value: NDArray[np.float32]  # (N,) NaN = none

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Events of each user, (U,)."""
        return np.diff(self.offsets)

    @property
    def user_of_event(self) -> NDArray[np.int64]:
        """Row of the user of each event, (N,)."""
        return np.repeat(np.arange(len(self.user_ids), dtype=np.int64), self.lengths)

    @property
    def is_target(self) -> NDArray[np.bool_]:
        """Whether an event may be learned from or tested on, (N,)."""
        within = np.arange(len(self.item)) - np.repeat(self.offsets[:-1], self.lengths)
        targets: NDArray[np.bool_] = within >= np.repeat(self.n_context, self.lengths)
        return targets


@dataclass(frozen=True)
class Popularity:
    """Events of each item in each of the last hours before as_of; absent means none."""

    item: NDArray[np.int32]  # (P,) 1-based
    hour_index: NDArray[np.int64]  # (P,) Hour.index
    events: NDArray[np.int64]  # (P,)


@dataclass(frozen=True)
class DataSet:
    """A data set folder in memory: V items."""

    folder: Path
    manifest: Manifest
    histories: Histories
    item_ids: NDArray[np.object_]  # (V,) item_ids[j] is the id of item j + 1
    item_events: NDArray[np.int64]  # (V,) support in the window
    popularity: Popularity


@dataclass(frozen=True)
class Requests:
    """Questions "what comes next for this user?"; answers use ``length`` events and ``now_us``."""

    user: NDArray[np.int64]  # (n,) row in Histories
    length: NDArray[np.int64]  # (n,)
    now_us: NDArray[np.int64]  # (n,)

    def __len__(self) -> int:
        return len(self.user)

    def take(self, rows: NDArray[np.int64] | slice) -> Requests:
        """The requests of those rows, in their order."""
        return Requests(self.user[rows], self.length[rows], self.now_us[rows])


def read_dataset(folder: Path) -> DataSet:
    """Read `part-*.parquet`, `vocabulary.parquet`, `popularity.parquet` and `manifest.json`.

    Every file that the manifest lists is checked against its SHA-256 first.

    Raises:
        HourglassError: the folder or a file is missing or damaged, the manifest is not of this
            format, there is no user, or the columns contradict one another.
    """
    manifest = _read_manifest(folder)
    _verify_files(folder, manifest.files)
    parts = sorted(name for name in manifest.files if name.startswith("part-"))
    vocabulary = _table(folder, "vocabulary.parquet", ("item", "item_id", "events"))
    items = _column(vocabulary, "item", np.int64)
    if not np.array_equal(items, np.arange(1, len(items) + 1)):
        raise HourglassError(
            f"{folder}/vocabulary.parquet: items are not numbered 1 to {len(items)} in row order: "
            "build the data set again"
        )
    popularity = _table(folder, "popularity.parquet", ("item", "hour_index", "events"))
    histories = _join(_read_part(folder, name) for name in parts)
    _verify_histories(folder, histories, len(items))
    return DataSet(
        folder=folder,
        manifest=manifest,
        histories=histories,
        item_ids=_column(vocabulary, "item_id", np.object_),
        item_events=_column(vocabulary, "events", np.int64),
        popularity=Popularity(
            item=_column(popularity, "item", np.int32),
            hour_index=_column(popularity, "hour_index", np.int64),
            events=_column(popularity, "events", np.int64),
        ),
    )


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal, read a piece at a time."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_CHUNK_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def _read_manifest(folder: Path) -> Manifest:
    path = folder / MANIFEST_NAME
    if not folder.is_dir():
        raise HourglassError(f"{folder}: no such data set folder: build it with hourglass dataset")
    if not path.is_file():
        raise HourglassError(f"{path}: no manifest: build the data set again")
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise HourglassError(
            f"{path}: {where}: {first['msg']}: build the data set again"
        ) from error
    if manifest.format != FORMAT:
        raise HourglassError(
            f"{path}: format {manifest.format} is not {FORMAT}: build the data set again"
        )
    return manifest


def _verify_files(folder: Path, files: dict[str, str]) -> None:
    for name in ("vocabulary.parquet", "popularity.parquet"):
        if name not in files:
            raise HourglassError(
                f"{folder}/{MANIFEST_NAME}: does not list {name}: build the data set again"
            )
    for name, expected in files.items():
        path = folder / name
        if not path.is_file():
            raise HourglassError(f"{path}: the file is missing: build the data set again")
        if sha256_of(path) != expected:
            raise HourglassError(
                f"{path}: the content does not match the manifest's SHA-256 {expected[:12]}: "
                "build the data set again"
            )


def _table(folder: Path, name: str, columns: Sequence[str]) -> pa.Table:
    try:
        table = pq.read_table(folder / name)
    except (pa.ArrowException, OSError) as error:
        raise HourglassError(
            f"{folder / name}: not a readable Parquet file: build the data set again"
        ) from error
    missing = [column for column in columns if column not in table.column_names]
    if missing:
        raise HourglassError(
            f"{folder / name}: has no column {missing[0]!r}: build the data set again"
        )
    return table


def _column(table: pa.Table, column: str, kind: type[Any]) -> NDArray[Any]:
    values: NDArray[Any] = table[column].to_numpy().astype(kind, copy=False)
    return values


_LISTS: dict[str, type[Any]] = {
    "item": np.int32,
    "time_us": np.int64,
    "session_start": np.bool_,
    "dwell_s": np.float32,
    "dwell_bin": np.int16,
    "event_type": np.int16,
    "value": np.float32,
}
_NULLABLE = frozenset({"dwell_s", "value"})


def _read_part(folder: Path, name: str) -> Histories:
    table = _table(folder, name, ("user_id", "n_context", *_LISTS)).combine_chunks()
    flat: dict[str, NDArray[Any]] = {}
    lengths: NDArray[np.int64] = np.empty(0, np.int64)
    for column, kind in _LISTS.items():
        chunked = table[column]
        array = chunked.chunk(0) if chunked.num_chunks else pa.array([], chunked.type)
        own_lengths = array.value_lengths().to_numpy(zero_copy_only=False).astype(np.int64)
        if column == "item":
            lengths = own_lengths
        elif not np.array_equal(own_lengths, lengths):
            row = int(np.flatnonzero(own_lengths != lengths)[0])
            user = table["user_id"][row].as_py()
            raise HourglassError(
                f"{folder / name}: user {user!r} has {lengths[row]} entries in item but "
                f"{own_lengths[row]} in {column}: build the data set again"
            )
        values = array.flatten()
        if values.null_count and column not in _NULLABLE:
            raise HourglassError(
                f"{folder / name}: {column} holds {values.null_count} nulls: "
                "build the data set again"
            )
        flat[column] = values.to_numpy(zero_copy_only=False).astype(kind, copy=False)
    return Histories(
        user_ids=_column(table, "user_id", np.object_),
        offsets=np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]),
        n_context=_column(table, "n_context", np.int32),
        **flat,
    )


def _join(parts: Iterable[Histories]) -> Histories:
    read = list(parts)
    starts = np.cumsum([0, *(part.offsets[-1] for part in read)])
    offsets = [part.offsets[1:] + start for part, start in zip(read, starts, strict=False)]

    def column(name: str, kind: type[Any]) -> NDArray[Any]:
        empty = np.empty(0, kind)
        return np.concatenate([getattr(part, name) for part in read]) if read else empty

    return Histories(
        user_ids=column("user_ids", np.object_),
        offsets=np.concatenate([np.zeros(1, np.int64), *offsets]).astype(np.int64),
        n_context=column("n_context", np.int32),
        **{name: column(name, kind) for name, kind in _LISTS.items()},
    )


def _verify_histories(folder: Path, histories: Histories, n_items: int) -> None:
    if not len(histories.user_ids):
        raise HourglassError(
            f"{folder}: the data set is empty (0 users): lower its support thresholds or "
            "lengthen its window"
        )
    item, offsets = histories.item, histories.offsets
    if len(item) and not (item.min() >= 1 and item.max() <= n_items):
        raise HourglassError(
            f"{folder}: items run from {item.min()} to {item.max()} but the vocabulary holds "
            f"1 to {n_items}: build the data set again"
        )
    backwards = np.flatnonzero(np.diff(histories.time_us) < 0) + 1
    backwards = backwards[~np.isin(backwards, offsets)]
    if len(backwards):
        user = histories.user_ids[np.searchsorted(offsets, backwards[0], side="right") - 1]
        raise HourglassError(
            f"{folder}: the events of user {user!r} are not in time order: build the data set again"
        )
    wrong = np.flatnonzero((histories.n_context < 0) | (histories.n_context > histories.lengths))
    if len(wrong):
        raise HourglassError(
            f"{folder}: user {histories.user_ids[wrong[0]]!r} has n_context = "
            f"{histories.n_context[wrong[0]]} of {histories.lengths[wrong[0]]} events: "
            "build the data set again"
        )
