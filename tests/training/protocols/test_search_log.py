"""Search logs: their files, the parts of their queries, bags of words, lists and their figures."""

from __future__ import annotations

import csv
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from search_logs import Query, shop, write_search_log

from pipeline.array_types import Floats32
from pipeline.errors import HourglassError, UsageError
from training.data.reader import Features, Histories, Requests
from training.protocols.search.raw_log import (
    SEARCH_LOGS,
    SearchLog,
    files_of_search_log,
    read_search_log,
)
from training.protocols.search.task import (
    SearchTask,
    flagged_queries,
    ndcg,
    parted,
    search_task,
    total_variation,
)
from training.protocols.search.words import bags, most_frequent
from training.protocols.split_rules import FlaggedQueries

DIGINETICA = SEARCH_LOGS["diginetica"]
PRODUCTS = [("10", "1,2,2"), ("11", "3"), ("12", "")]
QUERIES = [
    Query("1", "1,7", ["10", "11"], begins_ms=60_000),
    Query("2", "", ["11"]),  # asks for a category
    Query("3", "2", ["99"], day="2016-05-08", is_test="TRUE"),
    Query("4", "3,3", []),
]


def read(folder: Path) -> SearchLog:
    return read_search_log(files_of_search_log(folder, DIGINETICA))


def split_of(share: float = 0.3, cold_share: float | None = None) -> FlaggedQueries:
    return FlaggedQueries(kind="flagged_queries", share=share, cold_share=cold_share)


def test_queries_clicks_and_products_are_read(tmp_path: Path) -> None:
    search = read(write_search_log(tmp_path, QUERIES, PRODUCTS))
    clicks = search.clicks
    assert clicks.user_ids.tolist() == ["1", "3", "4"]
    assert search.query_words == [["1", "7"], ["2"], ["3", "3"]]
    assert search.is_flagged.tolist() == [False, True, False]
    assert search.product_ids.tolist() == ["10", "11", "12"]
    assert search.product_words == [["1", "2", "2"], ["3"], []]
    day_us = 1_462_752_000_000_000  # 2016-05-09
    events = zip(
        clicks.user_ids[clicks.user], clicks.item_ids[clicks.item], clicks.time_us, strict=True
    )
    assert sorted(events) == [
        ("1", "10", day_us + 60_500_000),
        ("1", "11", day_us + 61_000_000),
        ("3", "99", day_us - 86_400_000_000 + 1_500_000),
    ]
    assert search.begins_us[0] == day_us + 60_000_000


BAD = {
    "no column": ("train-clicks.csv", "queryId;itemId\n1;10\n", r"clicks\.csv: no column 'timefr"),
    "no number": (
        "train-clicks.csv",
        "queryId;timeframe;itemId\n1;soon;10\n",
        r"clicks\.csv: event 1: 'soon' is no timeframe",
    ),
    "no day": (
        "train-queries.csv",
        "queryId;timeframe;eventdate;searchstring.tokens;is.test\n1;1;May;3;FALSE\n",
        "eventdate is not written in ISO 8601: 'May'",
    ),
    "no flag": (
        "train-queries.csv",
        "queryId;timeframe;eventdate;searchstring.tokens;is.test\n1;1;2016-05-09;3;maybe\n",
        "is.test is 'maybe': it must be TRUE or FALSE",
    ),
    "no words": (
        "train-queries.csv",
        "queryId;timeframe;eventdate;searchstring.tokens;is.test\n1;1;2016-05-09;NA;FALSE\n",
        "no query in it has words",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    file, text, sentence = BAD[name]
    write_search_log(tmp_path, QUERIES, PRODUCTS)
    (tmp_path / file).write_text(text)
    with pytest.raises(HourglassError, match=sentence):
        read(tmp_path)


def test_the_three_files_lie_side_by_side_and_once(tmp_path: Path) -> None:
    write_search_log(tmp_path / "a", QUERIES, PRODUCTS)
    assert files_of_search_log(tmp_path / "elsewhere", DIGINETICA) == []
    names = [path.name for path in files_of_search_log(tmp_path, DIGINETICA)]
    assert names == ["train-queries.csv", "train-clicks.csv", "products.csv"]
    (tmp_path / "a" / "products.csv").unlink()
    with pytest.raises(UsageError, match=r"products\.csv\* is there: put it beside train-queries"):
        files_of_search_log(tmp_path, DIGINETICA)
    write_search_log(tmp_path / "b", QUERIES, PRODUCTS)
    with pytest.raises(UsageError, match="there are 2 search logs"):
        files_of_search_log(tmp_path, DIGINETICA)


def test_flagged_queries_are_tested_or_the_latest_where_their_clicks_are_hidden(
    tmp_path: Path,
) -> None:
    days = ["05", "03", "04", "03", "01", "02", "05", "01", "06", "07"]
    queries = [
        Query(f"q{at}", "1", ["10"] if at < 8 else [], day=f"2016-05-{day}")
        for at, day in enumerate(days)
    ]
    queries[9] = Query("q9", "1", [], day="2016-05-07", is_test="TRUE")
    hidden = read(write_search_log(tmp_path / "hidden", queries, PRODUCTS))
    # Eight queries have clicks: the latest 3 are of days 05, 05 and 04.
    rows = flagged_queries(hidden, hidden.clicks, 0.4)
    assert hidden.clicks.user_ids[rows].tolist() == ["q0", "q2", "q6"]
    queries[9] = Query("q9", "1", ["11"], day="2016-05-01", is_test="TRUE")
    told = read(write_search_log(tmp_path / "told", queries, PRODUCTS))
    rows = flagged_queries(told, told.clicks, 0.4)
    assert told.clicks.user_ids[rows].tolist() == ["q9"]


def test_cold_products_are_in_no_learned_query_and_tested_queries_want_them_alone(
    tmp_path: Path,
) -> None:
    search = read(shop(tmp_path, 0, 40, 200, 8))
    learned, asked_for = parted(search, search.clicks, split_of(cold_share=0.5))
    warm, cold = ({*log.item_ids[log.item]} for log in (learned, asked_for))
    assert warm
    assert cold
    assert not warm & cold
    assert not {*learned.user} & {*asked_for.user}
    task = search_task(search, learned, asked_for, None, 0)
    events = dict(zip(task.train.item_ids, task.train.item_events, strict=True))
    assert len(events) == 40  # every list is of all products
    assert all(events[product] == 0 for product in cold)
    assert all(events[product] > 0 for product in warm)


def test_the_most_frequent_words_count_by_the_root_of_their_number() -> None:
    texts = [["b", "a", "b"], ["c", "a"], ["d"], ["b", "b"]]
    assert most_frequent(texts, 3) == {"a", "b", "c"}  # of c and d the first by name
    assert most_frequent(texts, None) == {"a", "b", "c", "d"}
    table = bags(np.array(["x", "y", "z", "w"], object), texts, {"a", "b"})
    assert table.tokens == [["a", "b"], ["a"], [], ["b"]]
    assert table.weights == [[1.0, math.sqrt(2)], [1.0], [], [math.sqrt(2)]]


class Fixed:
    """A model whose scores depend on the query's id and words, with many ties."""

    def __init__(self, n_items: int) -> None:
        self.n_items = n_items

    def score(self, histories: Histories, requests: Requests) -> Floats32:
        assert not requests.length.any()  # no click of a query is told
        seeds = [int(str(query)[1:]) for query in histories.user_ids[requests.user]]
        scores = [np.random.default_rng(seed).integers(4, size=self.n_items) for seed in seeds]
        return np.array(scores, np.float32)


def lines_of(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file, delimiter=";"))


def slow_ndcg(scores: Floats32, relevant: set[int]) -> float:
    """The whole list written out, what belongs on it last among equals."""
    order = sorted(range(len(scores)), key=lambda at: (-scores[at], at in relevant))
    gained = sum(1 / math.log2(2 + rank) for rank, at in enumerate(order) if at in relevant)
    return gained / sum(1 / math.log2(2 + rank) for rank in range(len(relevant)))


@pytest.fixture
def small(tmp_path: Path) -> tuple[Path, SearchTask]:
    folder = shop(tmp_path, 1, 25, 120, 9, is_test="TRUE")
    search = read(folder)
    learned, asked_for = parted(search, search.clicks, split_of())
    return folder, search_task(search, learned, asked_for, 7, 5)


@pytest.mark.parametrize("floats", [1 << 24, 60])
def test_lists_are_measured_as_a_slow_reference_does(
    small: tuple[Path, SearchTask], monkeypatch: pytest.MonkeyPatch, floats: int
) -> None:
    monkeypatch.setattr("training.protocols.search.task.MAX_FLOATS", floats)
    folder, task = small
    flagged = {
        q["queryId"] for q in lines_of(folder / "train-queries.csv") if q["is.test"] == "TRUE"
    }
    relevant: dict[str, set[str]] = {}
    for click in lines_of(folder / "train-clicks.csv"):
        if click["queryId"] in flagged:
            relevant.setdefault(click["queryId"], set()).add(click["itemId"])
    column = {product: at for at, product in enumerate(task.train.item_ids)}
    model, values = Fixed(len(column)), []
    for query, products in relevant.items():
        scores = np.random.default_rng(int(query[1:])).integers(4, size=len(column))
        values.append(slow_ndcg(scores, {column[product] for product in products}))
    assert len(values) == 40
    assert ndcg(model, task) == pytest.approx(np.mean(values), abs=1e-12)


def bag(features: Features, row: int) -> dict[str, float]:
    assert features.weight is not None
    span = slice(features.offsets[row], features.offsets[row + 1])
    names = features.token_names[features.token[span]]
    return dict(zip(names, features.weight[span].tolist(), strict=True))


def test_what_is_told_is_as_a_slow_reference_reads_it(small: tuple[Path, SearchTask]) -> None:
    folder, task = small
    queries = {q["queryId"]: q for q in lines_of(folder / "train-queries.csv")}
    products = {p["itemId"]: p["product.name.tokens"] for p in lines_of(folder / "products.csv")}
    clicks = lines_of(folder / "train-clicks.csv")
    learned = [c for c in clicks if queries[c["queryId"]]["is.test"] == "FALSE"]
    assert task.train.item_ids.tolist() == sorted(products)
    events = Counter(click["itemId"] for click in learned)
    assert task.train.item_events.tolist() == [events[p] for p in sorted(products)]
    texts = [*products.values()]
    texts += [queries[query]["searchstring.tokens"] for query in {c["queryId"] for c in learned}]
    counts = Counter(word for text in texts for word in text.split(","))
    vocabulary = sorted(counts, key=lambda word: (-counts[word], word))[:7]

    def expected(text: str) -> dict[str, float]:
        number = Counter(text.split(","))
        return {w: pytest.approx(number[w] ** 0.5) for w in vocabulary if number[w]}

    assert task.train.item_features is not None
    for row, product in enumerate(task.train.item_ids):
        assert bag(task.train.item_features, row) == expected(products[product])
    for data in (task.train, task.test):
        assert data.user_features is not None
        for row, query in enumerate(data.histories.user_ids):
            words = queries[query]["searchstring.tokens"]
            assert bag(data.user_features, row) == expected(words)


def test_total_variation_is_half_of_the_differences(small: tuple[Path, SearchTask]) -> None:
    assert total_variation(np.array([2.0, 0, 2]), np.array([0.0, 1, 1])) == 0.5
    folder, task = small
    queries = {q["queryId"]: q for q in lines_of(folder / "train-queries.csv")}
    products = {p["itemId"]: p["product.name.tokens"] for p in lines_of(folder / "products.csv")}
    names = set(task.train.item_features.token_names) if task.train.item_features else set()
    half = np.random.default_rng(5).permutation(len(task.test.histories.user_ids)) % 2 == 0
    in_half = dict(zip(task.test.histories.user_ids, half, strict=True))
    parts: dict[str, list[str]] = {"learned": [], "tested": [], "half": [], "other": []}
    for click in lines_of(folder / "train-clicks.csv"):
        query = click["queryId"]
        if queries[query]["is.test"] == "FALSE":
            parts["learned"].append(click["itemId"])
        else:
            parts["tested"].append(click["itemId"])
            parts["half" if in_half[query] else "other"].append(click["itemId"])

    def distance(first: list[str], second: list[str]) -> float:
        one_side, other = Counter(first), Counter(second)
        return 0.5 * sum(
            abs(one_side[key] / len(first) - other[key] / len(second))
            for key in {*one_side, *other}
        )

    def words_of(items: list[str]) -> list[str]:
        return [word for p in items for word in products[p].split(",") if word in names]

    expected = {
        "products, learned and asked": distance(parts["learned"], parts["tested"]),
        "products, halves of the asked": distance(parts["half"], parts["other"]),
        "words, learned and asked": distance(words_of(parts["learned"]), words_of(parts["tested"])),
        "words, halves of the asked": distance(words_of(parts["half"]), words_of(parts["other"])),
    }
    assert task.shift == pytest.approx(expected)
    assert task.sizes == {"ranked_items": 25, "words": 7}
