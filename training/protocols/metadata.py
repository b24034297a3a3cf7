"""What public files say of items, and of users, as the features of data sets.

R items or users that something is known of.
"""

from __future__ import annotations

import ast
import gzip
import json
import zlib
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
    # What each token of each row counts for; None: those of a row share 1 alike.
    weights: Sequence[Sequence[float]] | None = None


@dataclass(frozen=True)
class JsonItems:
    """How lines that are each an object, in JSON or as Python writes it, say what an item is.

    ``files``: globs of whole paths.  ``id``: key of the item's.  ``categories``: keys of which the
    first that is there holds a path, from the widest category to the narrowest, or several paths.
    An item is what its first line says: the narrowest category of the first path.
    """

    files: tuple[str, ...]
    id: str
    categories: tuple[str, ...]


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


ITEM_FORMATS: dict[str, ItemFormat | JsonItems] = {
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
    # As published in 2014 (``categories``, not in JSON) and in 2018 (``category``).
    "amazon": JsonItems(("*/meta_*.json*",), "asin", ("categories", "category")),
}


def read_items(files: Sequence[Path], form: ItemFormat | JsonItems) -> MetadataTable:
    """What items are, as tokens; a year is a number too.

    Raises:
        HourglassError: naming the file that cannot be read or lacks a column, or the line that is
            no item.
    """
    if isinstance(form, JsonItems):
        return _of_objects(files, form)
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


def _of_objects(files: Sequence[Path], form: JsonItems) -> MetadataTable:
    category: dict[str, list[str]] = {}
    for path in files:
        opened = gzip.open if path.suffix == ".gz" else open
        try:
            with opened(path, "rt", encoding="utf-8") as lines:
                for number, line in enumerate(lines, start=1):
                    if line.strip():
                        item, tokens = _described(path, number, line, form)
                        category.setdefault(item, tokens)
        except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
            raise HourglassError(f"{path}: cannot be read: {error}") from error
    return MetadataTable(np.array(list(category), object), list(category.values()))


def _described(path: Path, number: int, line: str, form: JsonItems) -> tuple[str, list[str]]:
    """An item's id, and its category where the line names one."""
    where = f"{path}: line {number:,}"
    try:
        facts = json.loads(line)
    except ValueError:
        try:
            facts = ast.literal_eval(line.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
            raise HourglassError(
                f"{where} is no object, neither in JSON nor as Python writes it: it begins with "
                f"{line[:40].strip()!r}"
            ) from error
    item = facts.get(form.id) if isinstance(facts, dict) else None
    if not isinstance(item, str) or not item:
        raise HourglassError(f"{where} names no {form.id}")
    key = next((key for key in form.categories if facts.get(key)), None)
    if key is None:
        return item, []
    first = facts[key]
    if isinstance(first, list) and isinstance(first[0], list):
        first = first[0]
    if not isinstance(first, list) or not all(isinstance(name, str) for name in first):
        raise HourglassError(f"{where}: {key} is {facts[key]!r}: it must be a list of names")
    return item, first[-1:]


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
    weight = None
    if table.weights is not None:
        weights = [table.weights[i] if i >= 0 else () for i in row]
        weight = np.array([value for of_row in weights for value in of_row], np.float32)
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
        weight=weight,
    )
