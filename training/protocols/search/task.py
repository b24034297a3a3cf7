"""One list of all products for each tested query, and how far these queries are from the learned.

A query is a user whose features are its words, and whose events are clicks.  n tested queries, m
pairs of a tested query and a product that it led to, V products.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from pipeline.array_types import Bools, Floats, Ints, Objects
from pipeline.hours import DAY_H, HOUR_S, US_PER_HOUR, Hour
from training.data.reader import DataSet, Requests
from training.metrics.ranking import MAX_FLOATS, Scorer
from training.protocols.datasets import Catalogue, catalogue_of, question_set, training_set
from training.protocols.events import Log
from training.protocols.metadata import MetadataTable, with_metadata
from training.protocols.search.raw_log import SearchLog
from training.protocols.search.words import bags, most_frequent
from training.protocols.split_rules import FlaggedQueries

_GAP_S = DAY_H * HOUR_S  # between the clicks of a query nothing begins


@dataclass(frozen=True)
class SearchTask:
    """Lists to be made, and what belongs on them."""

    train: DataSet
    test: DataSet  # tested queries with the clicks that are asked for
    row: Ints  # (m,) query of each pair, ascending
    item: Ints  # (m,) column of its product
    shift: Mapping[str, float]  # total variation by name, see `shifts`
    sizes: Mapping[str, int]  # products that are ranked, words that describe them


def flagged_queries(search: SearchLog, clicks: Log, share: float) -> Bools:
    """Which rows of queries are tested, (Q,): those flagged that have a click, or the latest.

    Queries without a click do not count; queries of the same time are in the order of the file.
    """
    has_click = np.bincount(clicks.user, minlength=len(clicks.user_ids)) > 0
    flagged: Bools = search.is_flagged & has_click
    if flagged.any():
        return flagged
    rows = np.flatnonzero(has_click)
    rows = rows[np.argsort(search.begins_us[rows], kind="stable")]
    latest = np.zeros(len(has_click), np.bool_)
    latest[rows[len(rows) - round(share * len(rows)) :]] = True
    return latest


def parted(search: SearchLog, clicks: Log, split: FlaggedQueries) -> tuple[Log, Log]:
    """Clicks that are learned from, and clicks that are asked for."""
    is_tested = flagged_queries(search, clicks, split.share)[clicks.user]
    if split.cold_share is None:
        return clicks.take(~is_tested), clicks.take(is_tested)
    ids = _all_products(search, clicks)
    drawn = np.random.default_rng(split.seed).permutation(ids)
    cold = set(drawn[: round(split.cold_share * len(ids))])
    is_cold = np.array([product in cold for product in clicks.item_ids], np.bool_)[clicks.item]
    return clicks.take(~is_tested & ~is_cold), clicks.take(is_tested & is_cold)


def search_task(
    search: SearchLog, learned: Log, asked_for: Log, n_words: int | None, seed: int
) -> SearchTask:
    """What is learned, and what is asked; neither log is empty.

    Every product has a column, also one that nobody clicked.

    Args:
        search: all of the log.
        learned: clicks that are learned from.
        asked_for: clicks that belong on the lists.
        n_words: so many of the most frequent words are told; None: all.
        seed: of the halves of tested queries that `shifts` compares.
    """
    as_of = Hour(int(learned.time_us.max()) // US_PER_HOUR + 1)
    catalogue = _of_all_products(catalogue_of(learned, 1, _GAP_S), _all_products(search, learned))
    row_of = {query: row for row, query in enumerate(search.clicks.user_ids)}
    train = training_set(learned, catalogue, as_of)
    test, _ = question_set(asked_for, catalogue, as_of, np.ones(len(asked_for), np.bool_))
    learned_rows = [row_of[query] for query in train.histories.user_ids]
    vocabulary = most_frequent(
        [*search.product_words, *(search.query_words[row] for row in learned_rows)], n_words
    )
    products = bags(search.product_ids, search.product_words, vocabulary)
    train = with_metadata(train, products, _queries(search, train, row_of, vocabulary))
    test = with_metadata(test, None, _queries(search, test, row_of, vocabulary))
    histories = test.histories
    pairs = np.unique(np.stack([histories.user_of_event, histories.item - 1], axis=1), axis=0)
    return SearchTask(
        train,
        test,
        row=pairs[:, 0],
        item=pairs[:, 1],
        shift=shifts(train, test, seed),
        sizes={"ranked_items": len(catalogue.item_ids), "words": len(vocabulary)},
    )


def ndcg(model: Scorer, task: SearchTask) -> float:
    """Mean NDCG over tested queries, of one list of all products each.

    Gains are 0 and 1, there is no cut-off, and the DCG is divided by that of the best list.  A
    query is asked before its first click.  Ties count against the model: of products with equal
    scores those that belong on the list come last.
    """
    histories = task.test.histories
    n = len(histories.user_ids)
    first = histories.offsets[:-1]
    requests = Requests(
        user=np.arange(n),
        length=np.zeros(n, np.int64),
        now_us=histories.time_us[first],
        context=np.zeros((n, 0), np.int32),
    )
    starts = np.searchsorted(task.row, np.arange(n + 1))
    block = max(1, MAX_FLOATS // len(task.train.item_ids))
    total = 0.0
    for begin in range(0, n, block):
        rows = slice(begin, begin + block)
        scores = model.score(histories, requests.take(rows))
        for scored, row in zip(scores, range(n)[rows], strict=True):
            total += _ndcg_of(scored, task.item[starts[row] : starts[row + 1]])
    return total / n


def _ndcg_of(scores: Floats, relevant: Ints) -> float:
    """NDCG of the list of all V products by scores (V,), where some (k,) belong on it."""
    own = np.sort(scores[relevant])[::-1]
    # Of the k-th best of them: how many products are scored as high, less those of its own kind
    # that come after it.
    as_high = (scores[None, :] >= own[:, None]).sum(1)
    own_as_high = (own[None, :] >= own[:, None]).sum(1)
    order = np.arange(1, len(own) + 1)
    rank = as_high - own_as_high + order
    return float((1 / np.log2(1 + rank)).sum() / (1 / np.log2(1 + order)).sum())


def total_variation(first: Floats, second: Floats) -> float:
    """Half the sum of the absolute differences of two distributions, by their counts."""
    return float(np.abs(first / first.sum() - second / second.sum()).sum() / 2)


def shifts(train: DataSet, test: DataSet, seed: int) -> dict[str, float]:
    """Total variation between what is learned and what is asked, and, to compare, between two
    halves of the tested queries: of the clicked products, and of the words of their names.

    Words count each time that a product with them is clicked.
    """
    histories, n_items = test.histories, len(test.item_ids)
    half = np.random.default_rng(seed).permutation(len(histories.user_ids)) % 2 == 0
    in_half = half[histories.user_of_event]
    parts = {
        "learned": train.histories.item,
        "tested": histories.item,
        "half": histories.item[in_half],
        "other half": histories.item[~in_half],
    }
    by_item = {
        name: np.bincount(item - 1, minlength=n_items).astype(np.float64)
        for name, item in parts.items()
    }
    features = train.item_features
    assert features is not None  # noqa: S101 - `with_metadata` was told of products
    of_token = np.repeat(np.arange(n_items), np.diff(features.offsets))
    by_word = {
        name: np.bincount(
            features.token, weights=counts[of_token], minlength=len(features.token_names)
        ).astype(np.float64)
        for name, counts in by_item.items()
    }
    pairs = {
        "learned and asked": ("learned", "tested"),
        "halves of the asked": ("half", "other half"),
    }
    return {
        f"{of}, {name}": total_variation(counts[one_side], counts[other])
        for of, counts in (("products", by_item), ("words", by_word))
        for name, (one_side, other) in pairs.items()
        if counts[one_side].any() and counts[other].any()
    }


def _queries(
    search: SearchLog, data: DataSet, row_of: Mapping[str, int], vocabulary: frozenset[str]
) -> MetadataTable:
    ids = data.histories.user_ids
    return bags(ids, [search.query_words[row_of[query]] for query in ids], vocabulary)


def _all_products(search: SearchLog, clicks: Log) -> Objects:
    """Ids of all products, also of those that were clicked and are not described, ascending."""
    ids = {*search.product_ids, *clicks.item_ids}
    return np.array(sorted(ids), object)


def _of_all_products(catalogue: Catalogue, ids: Objects) -> Catalogue:
    events = dict(zip(catalogue.item_ids, catalogue.item_events, strict=True))
    return replace(
        catalogue,
        item_ids=ids,
        item_events=np.array([events.get(product, 0) for product in ids], np.int64),
    )
