"""Raw files of public logs as flat events, and what is known of films and people.

R items or users that something is known of.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.errors import HourglassError
from pipeline.hours import HOUR_S, US_PER_S
from training.protocols.events import Coded, Log, joined, log_of
from training.protocols.metadata import ITEM_FORMATS, MetadataTable, read_items
from training.protocols.raw_files import FORMATS, files_of, read_log

__all__ = ["LOGS", "US_PER_S", "Coded", "FilmLog", "Log", "MetadataTable", "joined", "log_of"]


@dataclass(frozen=True)
class FilmLog:
    """Ratings of films, and what is known of films and people."""

    log: Log
    items: MetadataTable
    users: MetadataTable


def deskdrop(raw: Path) -> Log:
    """Reading on a company's article site; sessions by an hour of silence."""
    return _read(raw / "deskdrop", "deskdrop")


def wikipedia(raw: Path) -> Log:
    """Page edits, counted from the start that `pipeline.sources.known_logs` takes."""
    return _read(raw / "wikipedia", "wikipedia")


def movielens(raw: Path) -> Log:
    """Film ratings: the value is the rating."""
    return _read(raw / "movielens-100k", "inter")


def yoochoose(raw: Path) -> tuple[Log, Log]:
    """Shop clicks, the train file and the test file; the files name the sessions.

    Sessions are numbered anew in each file, so those of the test file get ids of their own.
    """
    folder = raw / "yoochoose"
    log = _read(folder, "yoochoose_prepared", gap_s=None, n_files=2)
    is_test = np.array(["_test-" in session for session in log.user_ids])[log.user]
    return log.take(~is_test), log.take(is_test)


def films(raw: Path) -> MetadataTable:
    """What is known of the films: genres, and the year of release as a token and as a number."""
    form = ITEM_FORMATS["item"]
    return read_items(files_of(raw / "movielens-100k", form.files), form)


def people(raw: Path) -> MetadataTable:
    """What is known of the people who rated: sex, occupation and age."""
    frame = _typed(raw / "movielens-100k", "*.user")
    tokens = [list(row) for row in zip(frame["gender"], frame["occupation"], strict=True)]
    return MetadataTable(
        frame["user_id"].astype(str).to_numpy(object), tokens, {"age": _numbers(frame["age"])}
    )


def film_log(raw: Path) -> FilmLog:
    """Everything of movielens-100k."""
    return FilmLog(movielens(raw), films(raw), people(raw))


LOGS: dict[str, Callable[[Path], Log]] = {
    "deskdrop": deskdrop,
    "wikipedia": wikipedia,
    "movielens-100k": movielens,
}


def _read(folder: Path, name: str, gap_s: int | None = HOUR_S, n_files: int = 1) -> Log:
    form = FORMATS[name]
    found = files_of(folder, form.files)
    if len(found) != n_files:
        raise HourglassError(
            f"{folder}: {len(found)} files are named {' or '.join(form.files)}: give the folder of "
            "the raw logs with --raw"
        )
    return read_log(found, form, gap_s)


def _numbers(column: Any) -> NDArray[np.float64]:  # noqa: ANN401 - a column of pandas
    numbers: NDArray[np.float64] = pd.to_numeric(column, errors="coerce").to_numpy(np.float64)
    return numbers


def _typed(folder: Path, pattern: str) -> Any:  # noqa: ANN401 - a frame of pandas
    """A table whose header names types: ``rating:float``."""
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise HourglassError(
            f"{folder}: {len(found)} files are named {pattern}: give the folder of the raw logs "
            "with --raw"
        )
    frame = pd.read_csv(found[0], sep="\t")
    return frame.rename(columns=lambda name: name.split(":")[0])
