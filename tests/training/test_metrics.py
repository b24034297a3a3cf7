from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UsageError
from training.metrics.metrics import (
    item_support_slices,
    mean_metric,
    session_length_slices,
    session_place_slices,
    target_values,
)

RANKS = st.lists(st.integers(1, 40), min_size=1, max_size=30)


def slow_metric(metric: str, rank: int, k: int) -> float:
    """Read a list of k items from the top, the only relevant one lying at ``rank``."""
    shown = [place == rank for place in range(1, k + 1)]
    if metric == "recall":
        return float(sum(shown))
    if metric == "mrr":
        return next((1 / place for place, hit in enumerate(shown, 1) if hit), 0.0)
    gain = sum(hit / math.log2(place + 1) for place, hit in enumerate(shown, 1))
    ideal = 1 / math.log2(2)
    return gain / ideal


@given(RANKS, st.integers(1, 30), st.sampled_from(["recall", "mrr", "ndcg"]))
def test_metrics_equal_reading_the_list(ranks: list[int], k: int, metric: str) -> None:
    values = target_values(metric, np.array(ranks, dtype=np.int32), k)
    np.testing.assert_allclose(values, [slow_metric(metric, rank, k) for rank in ranks])


def test_metrics_of_four_targets() -> None:
    rank = np.array([1, 2, 20, 21], dtype=np.int32)
    assert mean_metric("recall", rank, 20) == 3 / 4
    assert mean_metric("mrr", rank, 20) == pytest.approx((1 + 1 / 2 + 1 / 20) / 4)
    expected = (1 + 1 / math.log2(3) + 1 / math.log2(21)) / 4
    assert mean_metric("ndcg", rank, 20) == pytest.approx(expected)


def test_no_targets_have_no_mean() -> None:
    assert math.isnan(mean_metric("mrr", np.array([], dtype=np.int32), 20))


@pytest.mark.parametrize(
    ("metric", "rank", "k", "message"),
    [
        ("auc", 1, 20, "metric 'auc' is unknown"),
        ("mrr", 0, 20, "rank 0 is not a rank"),
        ("mrr", 1, 0, "k = 0"),
    ],
)
def test_wrong_questions_are_refused(metric: str, rank: int, k: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        target_values(metric, np.array([rank], dtype=np.int32), k)


@given(st.lists(st.integers(1, 60), min_size=1))
def test_session_lengths_fall_into_exactly_one_slice(lengths: list[int]) -> None:
    masks = session_length_slices(np.array(lengths))
    assert (np.sum(list(masks.values()), axis=0) == 1).all()


def test_session_length_slices_at_their_edges() -> None:
    masks = session_length_slices(np.array([1, 2, 5, 6, 25, 26, 400]))
    assert {name: np.flatnonzero(mask).tolist() for name, mask in masks.items()} == {
        "1": [0],
        "2-5": [1, 2],
        "6-25": [3, 4],
        "26+": [5, 6],
    }


def test_places_in_the_session() -> None:
    masks = session_place_slices(np.array([True, False, False]))
    assert masks["first"].tolist() == [True, False, False]
    assert masks["within"].tolist() == [False, True, True]


def test_head_is_the_fifth_of_the_items_with_most_events() -> None:
    events = np.array([5, 90, 5, 5, 80, 5, 5, 5, 5, 5])
    masks = item_support_slices(np.array([1, 2, 5, 10], dtype=np.int32), events)
    assert masks["head"].tolist() == [False, True, True, False]
    assert masks["tail"].tolist() == [True, False, False, True]


def test_head_keeps_its_size_among_equals() -> None:
    masks = item_support_slices(np.arange(1, 11, dtype=np.int32), np.full(10, 7))
    assert masks["head"].sum() == 2
