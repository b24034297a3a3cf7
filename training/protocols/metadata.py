"""What public files say of items, and of users, as the features of data sets.

R items or users that something is known of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.array_types import Bools, Floats, Objects
from pipeline.errors import HourglassError
from training.data.reader import DataSet, Features
from training.protocols.datasets import places_of

_LINES_A_PIECE = 1_000_000
_YEAR = r"(\d{4})\)?\s*$"  # at the end of a title, or alone


@dataclass(frozen=True)
class MetadataTable:
    """Metadata of R items or users."""

    ids: Objects  # (R,)
    tokens: Sequence[Sequence[str]]  # of each row
    numbers: Mapping[str, Floats] = field(default_factory=dict)  # (R,) each


@dataclass(frozen=True)
class ItemFormat:
    """How lines that say what items are read: of films, or of events that name a category.

    ``files``: globs of whole paths.  ``columns``: names where there is no header.  ``genres``: the
    column of the tokens, and what stands between them.  ``year``: the column that ends in a year.
    An item is what its first line says.
    """

    files: tuple[str, ...]
    id: str
    genres: tuple[str, str]
    year: str | None = None
    separator: str = ","
    columns: tuple[str, ...] = ()
    encoding: str = "utf-8"


ITEM_FORMATS: dict[str, ItemFormat] = {
    "movielens_csv": ItemFormat(("*/movies.csv*",), "movieId", ("genres", "|"), "title"),
    "movielens_dat": ItemFormat(
        ("*/movies.dat*",),
        "id",
        ("genres", "|"),
        "title",
        separator="::",
        columns=("id", "title", "genres"),
        encoding="latin-1",
    ),
    "item": ItemFormat(("*.item*",), "item_id", ("class", " "), "release_year", separator="\t"),
    "taobao": ItemFormat(
        ("*/UserBehavior*.csv*",),
        "item",
        ("category", " "),
        columns=("user", "item", "category", "type", "time"),
    ),
    "ali_mobile": ItemFormat(
        ("*/tianchi_mobile_recommend_train_user.csv*",), "item_id", ("item_category", " ")
    ),
    "yoochoose": ItemFormat(
        ("*/yoochoose-clicks.dat*",),
        "item",
        ("category", " "),
        columns=("session", "time", "item", "category"),
    ),
}


def read_items(files: Sequence[Path], form: ItemFormat) -> MetadataTable:
    """What items are, as tokens; a year is a number too.

    Raises:
        HourglassError: naming the file that cannot be read or lacks a column.
    """
    frames = [_frame(path, form) for path in files]
    rows = pd.concat(frames, ignore_index=True).drop_duplicates(form.id)
    column, between = form.genres
    tokens = [sorted({*filter(None, genres.split(between))}) for genres in rows[column]]
    ids = rows[form.id].to_numpy(object)
    if form.year is None:
        return MetadataTable(ids, tokens)
    years = pd.to_numeric(rows[form.year].str.extract(_YEAR)[0]).to_numpy(np.float64)
    tokens = [
        sorted({*genres, *_year_token(year)}) for genres, year in zip(tokens, years, strict=True)
    ]
    return MetadataTable(ids, tokens, {"year": years})


def _year_token(year: float) -> list[str]:
    return [] if np.isnan(year) else [f"year {year:.0f}"]


def _frame(path: Path, form: ItemFormat) -> Any:  # noqa: ANN401 - a frame of pandas
    """The first line of each item; a log of many events is read piece by piece."""
    options: dict[str, Any] = {"names": list(form.columns), "header": None} if form.columns else {}
    try:
        pieces = pd.read_csv(
            path,
            sep=form.separator,
            dtype=str,
            keep_default_na=False,
            encoding=form.encoding,
            engine="python" if len(form.separator) > 1 else "c",
            chunksize=_LINES_A_PIECE,
            **options,
        )
        with pieces:
            firsts = [_first_lines(path, piece, form) for piece in pieces]
    except (ValueError, OSError) as error:
        raise HourglassError(f"{path}: cannot be read: {' '.join(str(error).split())}") from error
    return pd.concat(firsts, ignore_index=True)


def _first_lines(path: Path, lines: Any, form: ItemFormat) -> Any:  # noqa: ANN401 - frames
    lines = lines.rename(columns=lambda name: str(name).split(":")[0])
    wanted = [form.id, form.genres[0], *([form.year] if form.year else [])]
    for column in wanted:
        if column not in lines:
            raise HourglassError(
                f"{path}: no column {column!r}: its columns are {', '.join(lines.columns)}"
            )
    return lines[wanted].drop_duplicates(form.id)


def with_metadata(
    data: DataSet, items: MetadataTable | None, users: MetadataTable | None = None
) -> DataSet:
    """A data set with what is known of its items and users."""
    if items is not None:
        features = features_of(items, data.item_ids, data.item_events > 0)
        data = replace(data, item_features=features)
    if users is not None:
        everybody = np.ones(len(data.histories.user_ids), np.bool_)
        features = features_of(users, data.histories.user_ids, everybody)
        histories = replace(data.histories, user_features=features)
        data = replace(data, histories=histories, user_features=features)
    return data


def features_of(table: MetadataTable, ids: Objects, learned: Bools) -> Features:
    """Features of ids (R,) in their order; numbers are standardised by the rows ``learned`` (R,).

    Nothing is told of ids that the table lacks; a number that is missing becomes 0.
    """
    row = places_of(ids, table.ids)
    names = sorted({token for tokens in table.tokens for token in tokens})
    number = {name: code for code, name in enumerate(names)}
    tokens = [[number[token] for token in table.tokens[i]] if i >= 0 else [] for i in row]
    columns = []
    for values in table.numbers.values():
        column = np.where(row >= 0, values[row], np.nan)
        scale = column[learned & np.isfinite(column)]
        spread = scale.std() if len(scale) and scale.std() > 0 else 1.0
        columns.append(np.nan_to_num((column - (scale.mean() if len(scale) else 0.0)) / spread))
    return Features(
        offsets=np.cumsum([0, *map(len, tokens)]).astype(np.int64),
        token=np.array([token for of_row in tokens for token in of_row], np.int32),
        token_names=np.array(names, object),
        numbers=(np.stack(columns, axis=1) if columns else np.zeros((len(ids), 0))).astype(
            np.float32
        ),
        number_names=np.array(list(table.numbers), object),
    )
