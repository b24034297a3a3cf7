"""Search logs in the files of CIKM Cup 2016, track 2."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Query:
    """A line of ``train-queries.csv``, and its lines of ``train-clicks.csv``."""

    id: str
    words: str  # with commas
    clicks: Sequence[str]
    day: str = "2016-05-09"
    begins_ms: int = 1000
    is_test: str = "FALSE"


def write_search_log(
    folder: Path, queries: Sequence[Query], products: Sequence[tuple[str, str]]
) -> Path:
    """The three files of a log; ``products``: an id and its words with commas."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        "queryId;sessionId;userId;timeframe;duration;eventdate;searchstring.tokens;categoryId;"
        "items;is.test"
    ]
    clicks = ["queryId;timeframe;itemId"]
    for query in queries:
        lines.append(
            f"{query.id};{query.id};NA;{query.begins_ms};314;{query.day};{query.words};0;"
            f"{','.join(query.clicks)};{query.is_test}"
        )
        clicks += [
            f"{query.id};{query.begins_ms + 500 * (nth + 1)};{product}"
            for nth, product in enumerate(query.clicks)
        ]
    names = [f"{product};10;{words}" for product, words in products]
    for file, content in (
        ("train-queries.csv", lines),
        ("train-clicks.csv", clicks),
        ("products.csv", ["itemId;pricelog2;product.name.tokens", *names]),
    ):
        (folder / file).write_text("\n".join(content) + "\n")
    return folder


def shop(
    folder: Path, seed: int, n_products: int, n_queries: int, n_words: int, is_test: str = "FALSE"
) -> Path:
    """A shop in which words decide: a query names two of the three words of some product.

    It leads to one or two products that have both words, and of these to the much shown ones more
    often.
    """
    rng = np.random.default_rng(seed)
    words = [rng.choice(n_words, 3, replace=False) for _ in range(n_products)]
    shown = rng.permutation(1 / (1 + np.arange(n_products)))
    queries = []
    for number in range(n_queries):
        wanted = rng.choice(words[rng.integers(n_products)], 2, replace=False)
        matching = np.array([at for at, own in enumerate(words) if {*wanted} <= {*own}])
        chance = shown[matching] / shown[matching].sum()
        n_clicks = min(len(matching), int(rng.integers(1, 3)))
        clicked = rng.choice(matching, n_clicks, replace=False, p=chance)
        queries.append(
            Query(
                f"q{number}",
                ",".join(map(str, wanted)),
                [f"p{product}" for product in clicked],
                day=f"2016-05-{1 + 27 * number // n_queries:02d}",
                begins_ms=1000 * number,
                is_test=is_test if number % 3 == 0 else "FALSE",
            )
        )
    products = [(f"p{at}", ",".join(map(str, own))) for at, own in enumerate(words)]
    return write_search_log(folder, queries, products)
