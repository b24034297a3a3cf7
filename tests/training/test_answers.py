"""Figures of lists and chances, each against a slow and obvious count."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import AS_OF_S, write_dataset

from pipeline.errors import HourglassError
from training.data.reader import Histories, Requests, read_dataset
from training.metrics import answers
from training.metrics.answers import Questions, answers_of, thresholds

N, V = 9, 12
SEEDS = st.integers(0, 10_000)


class Table:
    """Scores that were written down: row r for the request of user r."""

    def __init__(self, scores: np.ndarray) -> None:
        self.scores = scores

    def score(self, histories: Histories, requests: Requests) -> np.ndarray:
        return self.scores[requests.user].copy()


@pytest.fixture(scope="module")
def histories(tmp_path_factory: pytest.TempPathFactory) -> Histories:
    """Nine users with one event each, on the items 1 to 9 of 12."""
    users = {f"u{row}": [(f"i{row:02}", AS_OF_S - 60.0)] for row in range(N)}
    vocabulary = [f"i{item:02}" for item in range(V)]
    folder = tmp_path_factory.mktemp("data") / "data"
    return read_dataset(write_dataset(folder, users, vocabulary=vocabulary)).histories


def questions_of(rng: np.random.Generator) -> Questions:
    sets = [rng.choice(V, rng.integers(1, 6), replace=False) + 1 for _ in range(N)]
    return Questions(
        requests=Requests(np.arange(N), np.ones(N, np.int64), np.full(N, AS_OF_S * 1_000_000)),
        item=np.array([items[0] for items in sets], np.int32),
        row=np.repeat(np.arange(N), [len(items) for items in sets]),
        later=np.concatenate(sets).astype(np.int32),
        masks_last=False,
    )


def shows(scores: np.ndarray, item: int, k: int) -> bool:
    """Whether a list of k shows an item: fewer than k others score as high."""
    return sum(score >= scores[item - 1] for score in scores) <= k


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, ties=st.booleans(), max_floats=st.sampled_from([V, 3 * V, 1 << 24]))
def test_lists_and_sets_are_those_written_out(
    histories: Histories, seed: int, ties: bool, max_floats: int
) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(4 if ties else 10_000, size=(N, V)).astype(np.float32)
    asked = questions_of(rng)
    ks = (1, 3, V, V + 5)
    replies = answers_of(
        Table(scores), histories, asked, V, ks, has_chances=True, max_floats=max_floats
    )
    for k in ks:
        hits = [
            shows(scores[row], item, k) for row, item in zip(asked.row, asked.later, strict=True)
        ]
        assert replies.hits[k].tolist() == hits
        recalls, precisions = [], []
        for row in range(N):
            of_row = [hit for hit, at in zip(hits, asked.row, strict=True) if at == row]
            recalls.append(sum(of_row) / len(of_row))
            precisions.append(sum(of_row) / k)
        assert answers.set_recall(replies.hits[k], asked.row) == pytest.approx(np.mean(recalls))
        precision = answers.set_precision(replies.hits[k], asked.row, k)
        assert precision == pytest.approx(np.mean(precisions))
        shown = [sum(shows(scores[row], item + 1, k) for row in range(N)) for item in range(V)]
        assert replies.shown[k].tolist() == shown
        assert answers.coverage(replies.shown[k]) == sum(count > 0 for count in shown) / V
    ranks = [
        sum(other >= scores[row, asked.item[row] - 1] for other in scores[row]) for row in range(N)
    ]
    assert replies.rank.tolist() == ranks
    assert replies.log_chance is not None
    surprise = 0.0
    for row in range(N):
        chances = [math.exp(score - scores[row].max()) for score in scores[row].astype(float)]
        surprise -= math.log(max(1e-300, chances[asked.item[row] - 1] / sum(chances))) / N
    if not ties:
        return  # scores of thousands are no logits: the plain sum runs out of digits
    assert answers.perplexity(replies.log_chance) == pytest.approx(math.exp(surprise))


def test_the_item_just_met_is_no_answer(histories: Histories) -> None:
    asked = replace(questions_of(np.random.default_rng(0)), masks_last=True)
    scores = np.tile(np.arange(V, 0, -1, dtype=np.float32), (N, 1))
    replies = answers_of(Table(scores), histories, asked, V, [1], has_chances=False)
    # User 0 met item 1, the best of all: it is shown item 2, everybody else item 1.
    assert replies.shown[1].tolist() == [N - 1, 1] + [0] * (V - 2)
    assert replies.log_chance is None


def test_scores_that_are_no_numbers_are_refused(histories: Histories) -> None:
    scores = np.full((N, V), np.nan, np.float32)
    with pytest.raises(HourglassError, match="not finite"):
        answers_of(
            Table(scores), histories, questions_of(np.random.default_rng(0)), V, [],
            has_chances=False,
        )  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=30).filter(any))
def test_gini_is_half_the_mean_difference_by_the_mean(counts: list[int]) -> None:
    differences = np.mean([abs(a - b) for a in counts for b in counts])
    wanted = differences / 2 / np.mean(counts)
    assert answers.gini(np.array(counts)) == pytest.approx(wanted)


def test_even_chances_are_as_surprising_as_there_are_items() -> None:
    chances = answers.log_chances(np.zeros((5, 7), np.float32), np.arange(1, 6, dtype=np.int32))
    assert answers.perplexity(chances) == pytest.approx(7)
    assert answers.gini(np.full(4, 3)) == pytest.approx(0)
    assert answers.gini(np.array([0, 0, 0, 9])) == pytest.approx(0.75)


def test_where_nothing_was_asked_there_is_no_figure(tmp_path: Path) -> None:
    none, no_row = np.zeros(0, np.bool_), np.zeros(0, np.int64)
    for value in (
        answers.set_recall(none, no_row),
        answers.set_precision(none, no_row, 3),
        answers.perplexity(np.zeros(0)),
        answers.coverage(no_row),
        answers.gini(np.zeros(3, np.int64)),
    ):
        assert math.isnan(value)


@settings(max_examples=60, deadline=None)
@given(
    seed=SEEDS,
    rows=st.integers(0, 3),
    items=st.sampled_from([1, 5, 255, 256, 257, 640, 1023, 1600]),
    values=st.sampled_from([1, 3, 10_000]),
    share_unknown=st.sampled_from([0.0, 0.5, 0.99]),
)
def test_a_threshold_is_the_score_after_the_last_of_a_list(
    seed: int, rows: int, items: int, values: int, share_unknown: float
) -> None:
    """Whether rows are long enough to be looked at in blocks or not."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(values, size=(rows, items)).astype(np.float32)
    scores[rng.random(scores.shape) < share_unknown] = -np.inf
    ks = (2, 0, 1, 300, items)
    least = thresholds(scores, ks)
    for k in ks:
        expected = [
            sorted(row.tolist(), reverse=True)[k] if k < items else -np.inf for row in scores
        ]
        assert least[k].tolist() == expected
