"""Reads a frozen data set folder into flat arrays; the format is described at `read_dataset`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.array_types import Bools, Floats32, Ints, Ints32, Objects
from pipeline.dataset.manifest import (
    MANIFEST_NAME,
    ContextField,
    HourText,
    Manifest,
    NumberScale,
    read_manifest,
    sha256_of,
    verify_files,
)
from pipeline.errors import HourglassError
from training.data.memory_map import flat_columns
from training.data.shards import (
    list_lengths,
    list_values,
    read_table,
    read_user_ids,
    table_column,
)

__all__ = [
    "MANIFEST_NAME",
    "ContextField",
    "DataSet",
    "Features",
    "Histories",
    "HourText",
    "Manifest",
    "Popularity",
    "Requests",
    "read_dataset",
    "sha256_of",
]


@dataclass(frozen=True)
class Histories:
    """Every user's events in time order, end to end: U users, N events, C context fields.

    Events ``offsets[u]`` to ``offsets[u + 1]`` are user u's; the first ``n_context[u]`` of them
    are context, never targets.
    """

    user_ids: Objects  # (U,)
    offsets: Ints  # (U + 1,)
    n_context: Ints32  # (U,)
    item: Ints32  # (N,) 1-based
    time_us: Ints  # (N,)
    session_start: Bools  # (N,)
    dwell_s: Floats32  # (N,) NaN = none
    dwell_bin: NDArray[np.int16]  # (N,) 0 = unknown
    event_type: NDArray[np.int16]  # (N,)
    value: Floats32  # (N,) NaN = none
    context: Ints32  # (N, C) code of each context field of the event; 0 = unknown
    # What the codes mean, and what is known of the users; a system scores histories whose data
    # set it was not trained on.
    event_types: tuple[str, ...] = ()
    context_fields: tuple[ContextField, ...] = ()
    user_features: Features | None = None  # row u is user u

    @property
    def lengths(self) -> Ints:
        """Events of each user, (U,)."""
        return np.diff(self.offsets)

    @property
    def user_of_event(self) -> Ints:
        """Row of the user of each event, (N,)."""
        return np.repeat(np.arange(len(self.user_ids), dtype=np.int64), self.lengths)

    @property
    def is_target(self) -> Bools:
        """Whether an event may be learned from or tested on, (N,)."""
        within = np.arange(len(self.item)) - np.repeat(self.offsets[:-1], self.lengths)
        targets: Bools = within >= np.repeat(self.n_context, self.lengths)
        return targets


@dataclass(frozen=True)
class Popularity:
    """Events of each item in each of the last hours before as_of; absent means none."""

    item: Ints32  # (P,) 1-based
    hour_index: Ints  # (P,) Hour.index
    events: Ints  # (P,)


@dataclass(frozen=True)
class Features:
    """What is known of R items or users: tokens as in a bag of words, and F numbers.

    Tokens ``token[offsets[r]]`` to ``token[offsets[r + 1] - 1]`` are those of row r.  ``weight``:
    what each of them counts for; None: those of a row share 1 alike.
    """

    offsets: Ints  # (R + 1,)
    token: Ints32  # (M,) 0-based place in token_names
    token_names: Objects  # (K,)
    numbers: Floats32  # (R, F) standardised by what was known at as_of; 0 = unknown
    number_names: Objects  # (F,)
    weight: Floats32 | None = None  # (M,)


@dataclass(frozen=True)
class DataSet:
    """A data set folder in memory: V items.  An item with no events in the window is cold."""

    folder: Path
    manifest: Manifest
    histories: Histories
    item_ids: Objects  # (V,) item_ids[j] is the id of item j + 1
    item_events: Ints  # (V,) support in the window
    popularity: Popularity
    item_features: Features | None = None  # row j is item j + 1
    user_features: Features | None = None  # row u is user u of the histories


@dataclass(frozen=True)
class Requests:
    """Questions "what comes next for this user?"; answers use ``length`` events and ``now_us``."""

    user: Ints  # (n,) row in Histories
    length: Ints  # (n,)
    now_us: Ints  # (n,)
    context: Ints32 | None = None  # (n, C) of the coming request; None = all unknown
    # (n,) whether it begins a session; None = as the silence before it says.  A log may name its
    # sessions, and what lies between may be an item that is not known.
    starts: Bools | None = None

    def __len__(self) -> int:
        return len(self.user)

    @classmethod
    def before(cls, histories: Histories, event: Ints) -> Requests:
        """At the times of the events in those places, with all that their users did before."""
        user = np.searchsorted(histories.offsets, event, side="right") - 1
        return cls(
            user=user,
            length=event - histories.offsets[user],
            now_us=np.asarray(histories.time_us)[event],
            context=np.asarray(histories.context)[event],
            starts=np.asarray(histories.session_start)[event],
        )

    def take(self, rows: Ints | slice) -> Requests:
        """The requests of those rows, in their order."""
        context = None if self.context is None else self.context[rows]
        starts = None if self.starts is None else self.starts[rows]
        return Requests(self.user[rows], self.length[rows], self.now_us[rows], context, starts)


def read_dataset(folder: Path) -> DataSet:
    """Read the files that `manifest.json` lists, each checked against its SHA-256.

    `part-*.parquet`: a row a user, lists of events; `vocabulary.parquet`, `popularity.parquet`;
    `{item,user}_features.parquet` and `{item,user}_tokens.parquet` where metadata is known.  The
    columns of events are mapped from flat files that the first reading makes:
    `training.data.memory_map`.

    Raises:
        HourglassError: the folder or a file is missing or damaged, the manifest is not of a known
            format, there is no user, or the columns contradict one another.
    """
    manifest = read_manifest(folder)
    verify_files(folder, manifest, manifest.files.keys() - set(manifest.parts))
    vocabulary = read_table(folder, "vocabulary.parquet", ("item", "item_id", "events"))
    items = table_column(vocabulary, "item", np.int64)
    if not np.array_equal(items, np.arange(1, manifest.n_items + 1)):
        raise HourglassError(
            f"{folder}/vocabulary.parquet: items are not numbered 1 to {manifest.n_items} in row "
            "order: build the data set again"
        )
    if not manifest.n_users:
        raise HourglassError(
            f"{folder}: the data set is empty (0 users): lower its support thresholds or "
            "lengthen its window"
        )
    popularity = read_table(folder, "popularity.parquet", ("item", "hour_index", "events"))
    columns = flat_columns(folder, manifest)
    user_features = _features(folder, manifest, "user", manifest.n_users, manifest.user_numbers)
    return DataSet(
        folder=folder,
        manifest=manifest,
        histories=Histories(
            user_ids=read_user_ids(folder, manifest),
            **columns,
            event_types=manifest.event_types,
            context_fields=manifest.context_fields,
            user_features=user_features,
        ),
        item_ids=table_column(vocabulary, "item_id", np.object_),
        item_events=table_column(vocabulary, "events", np.int64),
        popularity=Popularity(
            item=table_column(popularity, "item", np.int32),
            hour_index=table_column(popularity, "hour_index", np.int64),
            events=table_column(popularity, "events", np.int64),
        ),
        item_features=_features(folder, manifest, "item", manifest.n_items, manifest.item_numbers),
        user_features=user_features,
    )


def _features(
    folder: Path, manifest: Manifest, of: str, rows: int, scales: tuple[NumberScale, ...]
) -> Features | None:
    name = f"{of}_features.parquet"
    if name not in manifest.files:
        return None
    table = read_table(folder, name, ("tokens", "numbers"))
    names = read_table(folder, f"{of}_tokens.parquet", ("name",))
    numbers = list_values(folder / name, table, "numbers", np.float32)
    token: NDArray[Any] = list_values(folder / name, table, "tokens", np.int32)
    sound = table.num_rows == rows and (list_lengths(table, "numbers") == len(scales)).all()
    if not sound or (len(token) and not 0 <= token.min() <= token.max() < names.num_rows):
        raise HourglassError(
            f"{folder / name}: its rows, numbers or tokens are not those of the {rows} {of}s that "
            "the manifest tells of: build the data set again"
        )
    return Features(
        offsets=np.concatenate([np.zeros(1, np.int64), np.cumsum(list_lengths(table, "tokens"))]),
        token=token,
        token_names=table_column(names, "name", np.object_),
        numbers=np.nan_to_num(numbers).reshape(rows, len(scales)),
        number_names=np.array([scale.name for scale in scales], dtype=np.object_),
    )
