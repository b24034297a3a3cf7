"""The manifest of a data set folder: what it was made from, and what every file must be."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, PlainSerializer, PlainValidator, ValidationError

from pipeline.errors import HourglassError
from pipeline.hours import Hour

MANIFEST_NAME = "manifest.json"
LINEAGE_NAME = "lineage.json"
FORMAT = 2
_READABLE = (1, FORMAT)  # what format 1 lacks (context, features) is empty by default


def _hour(value: object) -> Hour:
    try:
        return value if isinstance(value, Hour) else Hour.parse(str(value))
    except HourglassError as error:
        raise ValueError(str(error)) from error


HourText = Annotated[Hour, PlainValidator(_hour), PlainSerializer(str)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True)


class StepCounts(_Strict):
    """How much was left after one step of the filter."""

    step: str
    events: int
    items: int
    users: int
    sessions: int


class DwellBins(_Strict):
    """Moments of the dwell times and the bins made of them (ASARS eq. 8)."""

    n: int
    mean_s: float
    m2_s2: float
    width_s: float
    bins: int


class ContextField(_Strict):
    """A context field of events: code 1 is the first value, 0 a value that is unknown."""

    name: str
    values: tuple[str, ...]


class NumberScale(_Strict):
    """How a number of the metadata was standardised, and of how many rows that was learned."""

    name: str
    n: int
    mean: float
    std: float


class Manifest(_Strict):
    """What a data set was made from, and how much is in it.

    What another version wrote besides is carried along.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

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
    n_window_events: int | None = None
    left_out_events: int | None = None
    context_fields: tuple[ContextField, ...] = ()
    n_cold_items: int = 0
    item_numbers: tuple[NumberScale, ...] = ()
    user_numbers: tuple[NumberScale, ...] = ()
    unknown_events: int | None = None  # left out, because they came after as_of

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the shards, in the order of their users."""
        return tuple(sorted(name for name in self.files if name.startswith("part-")))

    @property
    def window_h(self) -> int:
        """How many hours its window has."""
        return self.as_of.index - self.window_start.index

    @property
    def facts(self) -> dict[str, Any]:
        """All that was given, as plain values."""
        return self.model_dump(mode="json", exclude_unset=True)

    @property
    def text(self) -> str:
        """What `manifest.json` holds."""
        return json.dumps(self.facts, indent=1, sort_keys=True) + "\n"


def read_state(folder: Path) -> dict[str, int | None]:
    """Snapshot ids of the tables that a data set was made from; empty where none are recorded."""
    path = folder / LINEAGE_NAME
    state: dict[str, int | None] = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    return state


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a data set folder.

    Raises:
        HourglassError: the folder or the manifest is missing, or it is not of a known format.
    """
    path = folder / MANIFEST_NAME
    if not folder.is_dir():
        raise HourglassError(f"{folder}: no such data set folder: build it with hourglass dataset")
    if not path.is_file():
        raise HourglassError(f"{path}: no manifest: build the data set again")
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(key_part) for key_part in first["loc"]) or "the whole file"
        raise HourglassError(
            f"{path}: {where}: {first['msg']}: build the data set again"
        ) from error
    if manifest.format not in _READABLE:
        raise HourglassError(
            f"{path}: format {manifest.format} is not {FORMAT}: build the data set again"
        )
    for name in ("vocabulary.parquet", "popularity.parquet"):
        if name not in manifest.files:
            raise HourglassError(f"{path}: does not list {name}: build the data set again")
    return manifest


def verify_files(folder: Path, manifest: Manifest, names: Iterable[str]) -> None:
    """Hold files to the SHA-256 that the manifest says.

    Raises:
        HourglassError: a file is missing or has another content.
    """
    for name in names:
        path, expected = folder / name, manifest.files[name]
        if not path.is_file():
            raise HourglassError(f"{path}: the file is missing: build the data set again")
        if sha256_of(path) != expected:
            raise HourglassError(
                f"{path}: the content does not match the manifest's SHA-256 {expected[:12]}: "
                "build the data set again"
            )


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal, read a piece at a time."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
