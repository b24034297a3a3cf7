"""Raw files of public logs, plain or gzipped, as flat events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from pandas.api.types import union_categoricals

from pipeline.array_types import Floats, Ints
from pipeline.errors import HourglassError
from pipeline.hours import HOUR_S, US_PER_S, Hour
from pipeline.sources.known_logs import WIKIPEDIA_EPOCH
from training.protocols.events import Coded, Log, log_of

# What a column may be; the last two need not be there.
ROLES = ("user", "item", "time", "type", "value")
_TEXT_ROLES = ("user", "item", "type")


@dataclass(frozen=True)
class Format:
    """How the lines of a file read.

    ``files``: globs of whole paths.  ``columns``: name or place, 0 first, of each role; a log that
    names sessions and no users has its sessions as users.  ``header``: whether the first line names
    the columns; what follows a colon in a name is its type.  ``time``: seconds since ``epoch``, or
    ISO 8601 in UTC.  ``apart``: each file numbers its users anew.  ``item_lines``: a line of an
    item and a colon stands above the events on it, which have no column of it.
    """

    files: tuple[str, ...]
    columns: Mapping[str, str | int]
    separator: str = ","
    header: bool = True
    time: Literal["seconds", "iso"] = "seconds"
    epoch: str = "1970-01-01T00"
    apart: bool = False
    item_lines: bool = False


_RATING = {"user": 0, "item": 1, "value": 2, "time": 3}

FORMATS: dict[str, Format] = {
    # RecSys Challenge 2015, as published: session, time, item, category.
    "yoochoose": Format(
        ("*/yoochoose-clicks.dat*",), {"user": 0, "time": 1, "item": 2}, header=False, time="iso"
    ),
    # The same, prepared: a file to learn from and one to test on, as of the session-rec framework.
    "yoochoose_prepared": Format(
        ("*_train_full.txt*", "*_test.txt*"),
        {"user": "SessionId", "item": "ItemId", "time": "Time"},
        separator="\t",
        apart=True,
    ),
    "movielens_csv": Format(
        ("*/ratings.csv*",),
        {"user": "userId", "item": "movieId", "value": "rating", "time": "timestamp"},
    ),
    # ``1::1193::5::978300760``: between two colons stands an empty column.
    "movielens_dat": Format(
        ("*/ratings.dat*",),
        {"user": 0, "item": 2, "value": 4, "time": 6},
        separator=":",
        header=False,
    ),
    "movielens_100k": Format(("*/u.data",), _RATING, separator="\t", header=False),
    "inter": Format(
        ("*.inter*",),
        {"user": "user_id", "item": "item_id", "value": "rating", "time": "timestamp"},
        separator="\t",
    ),
    # The Netflix prize: ``1:`` above ``1488844,3,2005-09-06``.
    "netflix": Format(
        ("*/combined_data_*.txt*",),
        {"user": 0, "value": 1, "time": 2},
        header=False,
        time="iso",
        item_lines=True,
    ),
    "amazon": Format(("*/ratings_*.csv*",), _RATING, header=False),
    # The release of 2018 has the item first, and files named by the category alone.
    "amazon_2018": Format(
        ("*/Electronics.csv*", "*/CDs_and_Vinyl.csv*", "*/Movies_and_TV.csv*"),
        {"item": 0, "user": 1, "value": 2, "time": 3},
        header=False,
    ),
    # Taobao's UserBehavior, which Tianchi gives out.
    "taobao": Format(
        ("*/UserBehavior*.csv*",), {"user": 0, "item": 1, "type": 3, "time": 4}, header=False
    ),
    # Alibaba's mobile recommendation contest at Tianchi: times are full hours.
    "ali_mobile": Format(
        ("*/tianchi_mobile_recommend_train_user.csv*",),
        {"user": "user_id", "item": "item_id", "type": "behavior_type", "time": "time"},
        time="iso",
    ),
    "reddit": Format(("*/reddit*.csv*",), {"user": "username", "item": "subreddit", "time": "utc"}),
    # Page edits as published with JODIE; its names differ from copy to copy.
    "wikipedia": Format(
        ("*/wikipedia*.csv*",), {"user": 0, "item": 1, "time": 2}, epoch=WIKIPEDIA_EPOCH
    ),
    "deskdrop": Format(
        ("*/users_interactions*.csv*",),
        {"user": "personId", "item": "contentId", "type": "eventType", "time": "timestamp"},
    ),
}


def files_of(raw: Path, patterns: Sequence[str]) -> list[Path]:
    """Files at or below ``raw`` whose whole path matches one of the globs, in order."""
    raw = raw.resolve()
    paths = [raw] if raw.is_file() else sorted(path for path in raw.rglob("*") if path.is_file())
    return [path for path in paths if any(fnmatch(str(path), pattern) for pattern in patterns)]


def read_log(
    files: Sequence[Path],
    form: Format,
    gap_s: int | None = HOUR_S,
    event_types: Sequence[str] = (),
) -> Log:
    """The events of files of one format.

    Args:
        files: at least one.
        form: how they read.
        gap_s: a silence this long begins a session; None: a user's history is one session.
        event_types: only events of these types; none: all.

    Raises:
        HourglassError: naming the file that cannot be read, lacks a column or a value, or has no
            event.
    """
    frames = [_frame(path, form) for path in files]
    if form.apart and len(frames) > 1:
        for path, frame in zip(files, frames, strict=True):
            users = [
                f"{path.name.partition('.')[0]}-{user}" for user in frame["user"].cat.categories
            ]
            frame["user"] = frame["user"].cat.rename_categories(users)
    coded = {
        role: _coded([frame[role] for frame in frames]) for role in _TEXT_ROLES if role in frames[0]
    }
    measured = {
        role: np.concatenate([frame[role].to_numpy() for frame in frames])
        for role in ("time", "value")
        if role in form.columns
    }
    log = log_of(
        coded["user"],
        coded["item"],
        measured["time"],
        coded.get("type", "view"),
        measured["value"].astype(np.float32) if "value" in measured else None,
        gap_s,
    )
    if event_types:
        wanted = [row for row, name in enumerate(log.event_types) if name in event_types]
        log = log.take(np.isin(log.event_type, wanted))
    return log


def _coded(columns: list[Any]) -> Coded:
    """Labels of one file after the other, numbered in the order in which they first occur."""
    labels: Any = union_categoricals(columns)
    code, rows = pd.factorize(labels.codes)
    return Coded(code.astype(np.int64), np.array(labels.categories, object)[rows])


def _frame(path: Path, form: Format) -> Any:  # noqa: ANN401 - a frame of pandas
    """The columns of one file by their roles; times in microseconds."""
    by_name = {role: column for role, column in form.columns.items() if isinstance(column, str)}
    names: dict[Any, str] = {column: role for role, column in form.columns.items()}
    options: dict[str, Any] = {"sep": form.separator, "keep_default_na": False}
    try:
        if by_name:
            header = list(pd.read_csv(path, nrows=0, **options).columns)
            plain = [str(name).split(":")[0] for name in header]
            for column in by_name.values():
                if column not in plain:
                    raise HourglassError(
                        f"{path}: no column {column!r}: its columns are {', '.join(plain)}"
                    )
            names = {header[plain.index(column)]: role for role, column in by_name.items()}
            options["header"] = 0
        else:
            options |= {"header": None, "skiprows": int(form.header)}
            if form.item_lines:  # the first line is shorter than the others
                options["names"] = range(max(names) + 1)
        kinds = {
            column: "category" if role in _TEXT_ROLES else str for column, role in names.items()
        }
        frame: Any = pd.read_csv(path, usecols=list(names), dtype=kinds, **options)
    except (ValueError, OSError) as error:
        raise HourglassError(f"{path}: cannot be read: {' '.join(str(error).split())}") from error
    frame = frame.rename(columns=names)
    if form.item_lines:
        frame = _with_items_above(path, frame)
    if frame.empty:
        raise HourglassError(f"{path}: there is no event in it")
    for role in _TEXT_ROLES:
        if role in frame:
            frame[role] = frame[role].cat.rename_categories(str)
            if "" in frame[role].cat.categories:
                row = int((frame[role] == "").to_numpy().argmax())
                raise HourglassError(f"{path}: event {row + 1:,} has no {role}")
    frame["time"] = _times_us(path, frame["time"], form)
    if "value" in frame:
        frame["value"] = numbers(path, frame["value"], "value")
    return frame


def _with_items_above(path: Path, frame: Any) -> Any:  # noqa: ANN401 - frames of pandas
    """Events with the item of the last line before them that ends in a colon."""
    labels = pd.Series(frame["user"].cat.categories.astype(str))
    is_item = labels.str.endswith(":").to_numpy()
    names_item = is_item[frame["user"].cat.codes]
    if len(frame) and not names_item[0]:
        raise HourglassError(f"{path}: the first line is no item and a colon")
    item = frame["user"].where(names_item).ffill()
    events = frame[~names_item].assign(item=item[~names_item].cat.remove_unused_categories())
    events["item"] = events["item"].cat.rename_categories(lambda label: str(label)[:-1])
    events["user"] = events["user"].cat.remove_unused_categories()
    return events.reset_index(drop=True)


def _times_us(path: Path, column: Any, form: Format) -> Ints:  # noqa: ANN401 - a column of pandas
    if form.time == "iso":
        try:
            times = pd.to_datetime(column, utc=True, format="ISO8601")
        except ValueError as error:
            raise HourglassError(
                f"{path}: a time is not written in ISO 8601: {column.iloc[0]!r} is the first"
            ) from error
        whole: Ints = times.astype("datetime64[us, UTC]").astype("int64").to_numpy()
        return whole
    seconds = numbers(path, column, "time in seconds")
    return np.rint((seconds + Hour.parse(form.epoch).index * HOUR_S) * US_PER_S).astype(np.int64)


def numbers(path: Path, column: Any, role: str) -> Floats:  # noqa: ANN401 - a column of pandas
    """The numbers (N,) that a column of a file's events holds as text.

    Raises:
        HourglassError: naming the first event with something else, and what it should be.
    """
    values: Floats = pd.to_numeric(column, errors="coerce").to_numpy(np.float64)
    if not np.isfinite(values).all():
        row = int((~np.isfinite(values)).argmax())
        raise HourglassError(f"{path}: event {row + 1:,}: {column.iloc[row]!r} is no {role}")
    return values
