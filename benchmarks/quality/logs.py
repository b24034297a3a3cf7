"""Raw files of public logs as flat events, without Spark.

N events, R items or users that something is known of.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import HourglassError
from pipeline.hours import Hour
from pipeline.sources.known_logs import WIKIPEDIA_EPOCH

US_PER_S = 1_000_000
GAP_US = 3600 * US_PER_S


@dataclass(frozen=True)
class Log:
    """Events by user, each user's in time order."""

    user: NDArray[np.object_]  # (N,) ids as text
    item: NDArray[np.object_]  # (N,)
    time_us: NDArray[np.int64]  # (N,)
    event_type: NDArray[np.object_]  # (N,)
    value: NDArray[np.float32]  # (N,) NaN = none
    session: NDArray[np.int64]  # (N,) ascends within a user; sessions are apart

    def __len__(self) -> int:
        return len(self.user)

    def take(self, rows: NDArray[np.bool_]) -> Log:
        """Some of the events, in their order."""
        return Log(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})


@dataclass(frozen=True)
class Known:
    """Metadata of R items or users."""

    ids: NDArray[np.object_]  # (R,)
    tokens: list[list[str]]  # of each row
    numbers: dict[str, NDArray[np.float64]]  # (R,) each


@dataclass(frozen=True)
class FilmLog:
    """Ratings of films, and what is known of films and people."""

    log: Log
    items: Known
    users: Known


def log_of(
    user: NDArray[Any],
    item: NDArray[Any],
    time_us: NDArray[np.int64],
    event_type: NDArray[Any] | str = "view",
    value: NDArray[np.float32] | None = None,
    given: bool = False,
) -> Log:
    """Sort events and part their sessions: after an hour of silence, or where users are sessions.

    Args:
        user: (N,).
        item: (N,).
        time_us: (N,).
        event_type: (N,), or one for all.
        value: (N,).
        given: each user is one session, whatever its silences.
    """
    import pandas as pd

    code, ids = pd.factorize(user)
    # Events of the same microsecond keep the order of the file.
    order = np.lexsort((time_us, code))
    code, time_us = code[order], time_us[order]
    first = np.diff(code, prepend=-1) != 0
    silent = np.diff(time_us, prepend=time_us[:1]) >= GAP_US
    kinds = np.broadcast_to(np.asarray(event_type, object), user.shape)[order]
    values = np.full(len(user), np.nan, np.float32) if value is None else value[order]
    return Log(
        user=_text(ids)[code],
        item=_text(item)[order],
        time_us=time_us,
        event_type=kinds,
        value=values.astype(np.float32),
        session=np.cumsum(first if given else first | silent) - 1,
    )


def joined(first: Log, second: Log) -> Log:
    """Two logs without common users as one."""
    return Log(
        user=np.concatenate([first.user, second.user]),
        item=np.concatenate([first.item, second.item]),
        time_us=np.concatenate([first.time_us, second.time_us]),
        event_type=np.concatenate([first.event_type, second.event_type]),
        value=np.concatenate([first.value, second.value]),
        session=np.concatenate([first.session, second.session + len(first)]),
    )


def deskdrop(raw: Path) -> Log:
    """Reading on a company's article site; sessions by an hour of silence."""
    frame = _table(raw / "deskdrop", "users_interactions*.csv*", ",")
    return log_of(
        frame["personId"].to_numpy(),
        frame["contentId"].to_numpy(),
        frame["timestamp"].to_numpy(np.int64) * US_PER_S,
        frame["eventType"].to_numpy(object),
    )


def wikipedia(raw: Path) -> Log:
    """Page edits, counted from the start that `pipeline.sources.known_logs` takes."""
    frame = _table(raw / "wikipedia", "wikipedia*.csv*", ",", usecols=["u", "i", "ts"])
    seconds = frame["ts"].to_numpy(np.float64) + Hour.parse(WIKIPEDIA_EPOCH).index * 3600.0
    return log_of(frame["u"].to_numpy(), frame["i"].to_numpy(), _us(seconds))


def movielens(raw: Path) -> Log:
    """Film ratings: the value is the rating."""
    frame = _typed(raw / "movielens-100k", "*.inter")
    return log_of(
        frame["user_id"].to_numpy(),
        frame["item_id"].to_numpy(),
        frame["timestamp"].to_numpy(np.int64) * US_PER_S,
        "rating",
        frame["rating"].to_numpy(np.float32),
    )


def yoochoose(raw: Path) -> tuple[Log, Log]:
    """Shop clicks, the train file and the test file; the files name the sessions.

    Sessions are numbered anew in each file, so those of the test file get ids of their own.
    """

    def part(pattern: str, prefix: str) -> Log:
        frame = _table(raw / "yoochoose", pattern, "\t")
        session = prefix + frame["SessionId"].astype(str)
        return log_of(
            session.to_numpy(),
            frame["ItemId"].to_numpy(),
            _us(frame["Time"].to_numpy(np.float64)),
            given=True,
        )

    return part("*_train_full.txt", "train-"), part("*_test.txt", "test-")


def films(raw: Path) -> Known:
    """What is known of the films: genres, and the year of release as a token and as a number."""
    frame = _typed(raw / "movielens-100k", "*.item")
    years = _numbers(frame["release_year"])
    genres = frame["class"].fillna("").astype(str)
    tokens = [
        sorted({*of_film.split(), *([] if np.isnan(year) else [f"year {year:.0f}"])})
        for of_film, year in zip(genres, years, strict=True)
    ]
    return Known(frame["item_id"].astype(str).to_numpy(object), tokens, {"year": years})


def people(raw: Path) -> Known:
    """What is known of the people who rated: sex, occupation and age."""
    frame = _typed(raw / "movielens-100k", "*.user")
    tokens = [list(row) for row in zip(frame["gender"], frame["occupation"], strict=True)]
    return Known(
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


def _text(ids: NDArray[Any]) -> NDArray[np.object_]:
    return np.array([str(one) for one in ids], object)


def _us(seconds: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.rint(seconds * US_PER_S).astype(np.int64)


def _numbers(column: Any) -> NDArray[np.float64]:  # noqa: ANN401 - a column of pandas
    import pandas as pd

    numbers: NDArray[np.float64] = pd.to_numeric(column, errors="coerce").to_numpy(np.float64)
    return numbers


def _typed(folder: Path, pattern: str) -> Any:  # noqa: ANN401 - a frame of pandas
    """A table whose header names types: ``rating:float``."""
    frame = _table(folder, pattern, "\t")
    return frame.rename(columns=lambda name: name.split(":")[0])


def _table(folder: Path, pattern: str, separator: str, **options: Any) -> Any:  # noqa: ANN401
    import pandas as pd

    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise HourglassError(
            f"{folder}: {len(found)} files are named {pattern}: give the folder of the raw logs "
            "with --raw"
        )
    opener = gzip.open if found[0].suffix == ".gz" else Path.open
    with opener(found[0], "rb") as file:
        return pd.read_csv(file, sep=separator, **options)
