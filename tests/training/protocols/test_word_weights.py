"""Words that count differently, and items that are nothing but their words, in a trained model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from search_logs import Query, write_search_log

from pipeline.errors import HourglassError, UsageError
from training.data.arrays import select_users
from training.data.reader import Requests
from training.models import build
from training.models.hrnn_meta import HrnnMeta
from training.nn.input_encoding import renamed
from training.protocols.search.raw_log import SEARCH_LOGS, files_of_search_log, read_search_log
from training.protocols.search.task import SearchTask, parted, search_task
from training.protocols.split_rules import FlaggedQueries
from training.trainer.interface import FitOptions, ParentWeights

LEARN: dict[str, Any] = {
    "width": 8, "epochs": 2, "validation_share": 0.0, "trend": False, "device": "cpu",
}  # fmt: skip


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> SearchTask:
    """Products and queries that say some words twice or three times."""
    rng = np.random.default_rng(0)

    def text() -> str:
        return ",".join(str(word) for word in rng.integers(6, size=5))

    products = [(f"p{at:02d}", text()) for at in range(30)]
    queries = [
        Query(f"q{at:03d}", text(), [f"p{product:02d}" for product in rng.integers(30, size=2)])
        for at in range(80)
    ]
    folder = write_search_log(tmp_path_factory.mktemp("words"), queries, products)
    search = read_search_log(files_of_search_log(folder, SEARCH_LOGS["diginetica"]))
    split = FlaggedQueries(kind="flagged_queries", share=0.4)
    return search_task(search, *parted(search, search.clicks, split), None, 0)


def fitted(task: SearchTask, options: FitOptions | None = None, **parameters: Any) -> HrnnMeta:
    model = build("hrnn_meta", {**LEARN, **parameters})
    assert isinstance(model, HrnnMeta)
    model.fit_with(task.train, 0, lambda _: None, options or FitOptions())
    return model


def firsts(task: SearchTask) -> Requests:
    histories = task.test.histories
    n = len(histories.user_ids)
    times = histories.time_us[histories.offsets[:-1]]
    return Requests(np.arange(n), np.zeros(n, np.int64), times)


@pytest.mark.parametrize("negatives", [0, 10])
def test_weights_of_words_are_kept_with_a_model_and_by_its_successor(
    task: SearchTask, negatives: int
) -> None:
    histories, requests = task.test.histories, firsts(task)
    model = fitted(task, negatives=negatives)
    scores = model.score(histories, requests)
    tensors = model.tensors()
    assert task.train.item_features is not None
    assert tensors["items.token_weight"].tolist() == task.train.item_features.weight.tolist()  # type: ignore[union-attr]
    again = build("hrnn_meta", {**LEARN, "negatives": negatives})
    again.load(tensors)
    np.testing.assert_array_equal(again.score(histories, requests), scores)
    again.load({**tensors, "items.token_weight": tensors["items.token_weight"] * 2})
    assert np.abs(again.score(histories, requests) - scores).max() > 0.01
    parent = ParentWeights("parent", tensors, task.train.item_ids)
    successor = fitted(task, FitOptions(parent=parent), negatives=negatives, learning_rate=1e-9)
    np.testing.assert_allclose(successor.score(histories, requests), scores, atol=1e-4)


def test_queries_are_scored_alike_alone_and_among_others(task: SearchTask) -> None:
    model, requests = fitted(task), firsts(task)
    scores = model.score(task.test.histories, requests)
    rows = np.array([5, 2, 9])
    some, own = select_users(task.test.histories, requests.take(rows))
    np.testing.assert_allclose(model.score(some, own), scores[rows], atol=1e-6)


def test_words_of_another_data_set_keep_their_weights(task: SearchTask) -> None:
    features = task.test.user_features
    assert features is not None
    assert features.weight is not None
    tokens = ("4", "unheard of", "1")
    told = renamed(features, tokens, ())
    assert told.weight is not None
    for row in range(len(features.offsets) - 1):
        before, after = (
            {
                each.token_names[each.token[at]]: each.weight[at]  # type: ignore[index]
                for at in range(each.offsets[row], each.offsets[row + 1])
            }
            for each in (features, told)
        )
        assert after == {word: weight for word, weight in before.items() if word in tokens}


def test_items_without_vectors_are_their_metadata_alone(task: SearchTask) -> None:
    histories, requests = task.test.histories, firsts(task)
    model = fitted(task, item_vectors=False)
    tensors, scores = model.tensors(), model.score(histories, requests)
    # Not even what a step is told of an item, or how it is scored where it was learned from.
    moved = {**tensors, "items.vector.weight": tensors["items.vector.weight"] + 5.0}
    moved["items.vector.weight"][0] = tensors["items.vector.weight"][0]  # where a list begins
    again = build("hrnn_meta", {**LEARN, "item_vectors": False})
    again.load(moved)
    np.testing.assert_array_equal(again.score(histories, requests), scores)
    # Where they count, they do move the scores.
    free = fitted(task, item_vectors=True)
    tensors = free.tensors()
    again.load({**tensors, "items.vector.weight": tensors["items.vector.weight"] + 5.0})
    assert not np.allclose(again.score(histories, requests), free.score(histories, requests))
    # Nothing was learned about them either.
    start = fitted(task, item_vectors=False, learning_rate=1e-12).tensors()
    learned = model.tensors()
    np.testing.assert_allclose(
        learned["items.vector.weight"][1:], start["items.vector.weight"][1:], atol=1e-6
    )
    assert not np.allclose(
        learned["items.encoder.token.weight"], start["items.encoder.token.weight"]
    )


def test_items_without_vectors_need_metadata(task: SearchTask) -> None:
    with pytest.raises(UsageError, match="set item_features to true"):
        build("hrnn_meta", {"item_vectors": False, "item_features": False})
    model = build("hrnn_meta", {**LEARN, "item_vectors": False})
    with pytest.raises(HourglassError, match="nothing is known of the items: add their metadata"):
        model.fit(task.test, 0, lambda _: None)
