"""The files of a search log: queries with their words, clicks, and products with theirs.

Q queries, P products, N clicks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.array_types import Bools, Ints, Objects
from pipeline.errors import HourglassError, UsageError
from training.protocols.events import Coded, Log, log_of
from training.protocols.raw_files import files_of, numbers

Words = Sequence[Sequence[str]]
"""Of each row its words, each as often as it stands there."""

_NONE = ("", "NA")
_US_PER_MS = 1000
_FLAGS = {"TRUE": True, "FALSE": False}


@dataclass(frozen=True)
class SearchFiles:
    """Globs of the whole paths of a log's three files."""

    queries: str
    clicks: str
    products: str

    @property
    def patterns(self) -> tuple[str, str, str]:
        """All three."""
        return self.queries, self.clicks, self.products


SEARCH_LOGS = {
    # CIKM Cup 2016, track 2: the search log of DIGINETICA.
    "diginetica": SearchFiles("*/train-queries.csv*", "*/train-clicks.csv*", "*/products.csv*"),
}


@dataclass(frozen=True)
class SearchLog:
    """Queries that have words, the clicks on what they showed, and all products.

    ``clicks``: a user is a query, also one without a click; an item is a product.
    """

    clicks: Log
    query_words: Words  # (Q,) as the rows of clicks.user_ids
    begins_us: Ints  # (Q,)
    is_flagged: Bools  # (Q,) whether the log calls it a test query
    product_ids: Objects  # (P,)
    product_words: Words  # (P,)


def files_of_search_log(raw: Path, names: SearchFiles) -> Sequence[Path]:
    """Queries, clicks and products at or below a folder, in this order; none without queries.

    Raises:
        UsageError: there are several logs, or one of the files is not beside the queries.
    """
    queries = files_of(raw, [names.queries])
    if not queries:
        return []
    if len(queries) > 1:
        raise UsageError(
            f"{raw}: there are {len(queries)} search logs, the first two are {queries[0]} and "
            f"{queries[1]}: give the folder of one with --raw"
        )
    folder = queries[0].parent
    files = [queries[0]]
    for pattern in (names.clicks, names.products):
        beside = [path for path in sorted(folder.iterdir()) if fnmatch(str(path), pattern)]
        if not beside:
            raise UsageError(
                f"{folder}: no file {pattern} is there: put it beside {queries[0].name}"
            )
        files.append(beside[0])
    return files


def read_search_log(files: Sequence[Path]) -> SearchLog:
    """Read the files of `files_of_search_log`.

    Queries without words, which ask for a category, are left out, and clicks on their lists with
    them.  A query is at its day and so many milliseconds into it, a click likewise.

    Raises:
        HourglassError: naming the file that cannot be read, lacks a column or a value.
    """
    of_queries, of_clicks, of_products = files
    queries = _columns(
        of_queries, ["queryId", "timeframe", "eventdate", "searchstring.tokens", "is.test"]
    )
    queries = queries[~queries["searchstring.tokens"].isin(_NONE)].drop_duplicates("queryId")
    if queries.empty:
        raise HourglassError(f"{of_queries}: no query in it has words")
    clicks = _columns(of_clicks, ["queryId", "timeframe", "itemId"])
    query = pd.Index(queries["queryId"]).get_indexer(pd.Index(clicks["queryId"]))
    clicks, query = clicks[query >= 0], query[query >= 0].astype(np.int64)
    day_us = _days_us(of_queries, queries["eventdate"])
    products = _columns(of_products, ["itemId", "product.name.tokens"]).drop_duplicates("itemId")
    ids = queries["queryId"].to_numpy(object)
    return SearchLog(
        clicks=log_of(
            Coded(query, ids),
            Coded.of(clicks["itemId"].to_numpy(object)),
            day_us[query] + _moments_us(of_clicks, clicks["timeframe"]),
            "click",
            gap_s=None,
        ),
        query_words=[_words(text) for text in queries["searchstring.tokens"]],
        begins_us=day_us + _moments_us(of_queries, queries["timeframe"]),
        is_flagged=_flags(of_queries, queries["is.test"]),
        product_ids=products["itemId"].to_numpy(object),
        product_words=[_words(text) for text in products["product.name.tokens"]],
    )


def _columns(path: Path, names: Sequence[str]) -> Any:  # noqa: ANN401 - a frame of pandas
    """Columns of a file as text."""
    options: dict[str, Any] = {"sep": ";", "dtype": str, "keep_default_na": False}
    try:
        header = list(pd.read_csv(path, nrows=0, **options).columns)
        for name in names:
            if name not in header:
                raise HourglassError(
                    f"{path}: no column {name!r}: its columns are {', '.join(header)}"
                )
        # The lists that were shown are most of the file.
        frame = pd.read_csv(path, usecols=list(names), **options)
    except (ValueError, OSError) as error:
        raise HourglassError(f"{path}: cannot be read: {' '.join(str(error).split())}") from error
    return frame


def _words(text: str) -> list[str]:
    return [] if text in _NONE else [word for word in text.split(",") if word]


def _days_us(path: Path, column: Any) -> Ints:  # noqa: ANN401 - a column of pandas
    try:
        days = pd.to_datetime(column, utc=True, format="ISO8601")
    except ValueError as error:
        raise HourglassError(
            f"{path}: an eventdate is not written in ISO 8601: {column.iloc[0]!r} is the first"
        ) from error
    whole: Ints = days.astype("datetime64[us, UTC]").astype("int64").to_numpy()
    return whole


def _moments_us(path: Path, column: Any) -> Ints:  # noqa: ANN401 - a column of pandas
    return np.rint(numbers(path, column, "timeframe") * _US_PER_MS).astype(np.int64)


def _flags(path: Path, column: Any) -> Bools:  # noqa: ANN401 - a column of pandas
    flags = column.str.upper().map(_FLAGS)
    if flags.isna().any():
        wrong = column[flags.isna()].iloc[0]
        raise HourglassError(f"{path}: is.test is {wrong!r}: it must be TRUE or FALSE")
    whole: Bools = flags.to_numpy(np.bool_)
    return whole
