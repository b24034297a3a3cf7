"""The best items of many requests: exact, ties by column, nothing that is barred."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from synthetic import AS_OF_S, Known, write_dataset

from pipeline.errors import HourglassError
from training.data.arrays import select_users
from training.data.reader import Histories, Requests, read_dataset
from training.models import build
from training.recommend.top_k import Exclusions, best_items, first_allowed, top_k

NO_EXCLUSIONS = Exclusions(*(np.empty(0, np.int64) for _ in range(3)))
QUICK = {"epochs": 1, "device": "cpu", "width": 8, "validation_share": 0.0}


def best_one_by_one(scores: NDArray[np.float32], k: int) -> list[list[int]]:
    """Slow reference: columns by falling score, equal ones by column."""
    return [sorted(range(len(row)), key=lambda j: (-row[j], j))[:k] for row in scores.tolist()]


@given(
    n_items=st.sampled_from([1, 7, 1023, 1024, 2048, 2049, 5000, 40_000]),
    k=st.sampled_from([1, 3, 20]),
    distinct=st.sampled_from([2, 30, 10_000]),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_top_k_is_what_sorting_everything_gives(
    n_items: int, k: int, distinct: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, distinct, (3, n_items)).astype(np.float32)
    scores[0, rng.random(n_items) < 0.7] = -np.inf
    columns, found = top_k(torch.from_numpy(scores), k)
    assert columns.tolist() == best_one_by_one(scores, k)
    assert found.tolist() == np.take_along_axis(scores, columns.numpy(), axis=1).tolist()


def test_first_allowed_skips_what_is_barred_to_each_row() -> None:
    row, column = np.array([0, 0, 2]), np.array([5, 3, 9])
    items, taken = first_allowed(np.array([3, 5, 1]), row, column, 3, 2, 10)
    assert items.tolist() == [[1, 0], [3, 5], [3, 5]]
    assert taken.tolist() == [[2, -1], [0, 1], [0, 1]]


@pytest.fixture(scope="module")
def histories(tmp_path_factory: pytest.TempPathFactory) -> Histories:
    rng = np.random.default_rng(3)
    users = {
        f"u{n:02d}": [
            (f"i{rng.integers(30):02d}", AS_OF_S - 9000 + 60 * n + 30 * step, "view", None,
             {"c": "xyz"[int(rng.integers(3))]})
            for step in range(int(rng.integers(1, 9)))
        ]
        for n in range(25)
    }  # fmt: skip
    folder = write_dataset(
        tmp_path_factory.mktemp("top") / "data",
        users,
        context=("c",),
        users_known={user: Known([f"t{user[-1]}"], {"age": float(user[1:])}) for user in users},
    )
    return read_dataset(folder).histories


def asked(histories: Histories, users: NDArray[np.int64]) -> Requests:
    now_us = np.full(len(users), AS_OF_S * 10**6)
    context = np.zeros((len(users), 1), np.int32)
    return Requests(users, histories.lengths[users], now_us, context)


def barred_at_random(n: int, n_items: int) -> Exclusions:
    rng = np.random.default_rng(5)
    row = np.sort(rng.integers(0, n, 60))
    return Exclusions(np.array([1, 4]), row, rng.integers(0, n_items, 60))


@pytest.fixture(params=["one part", "many parts"])
def small_parts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thirty items are a large catalogue, too, if its parts are small."""
    if request.param == "many parts":
        for name, size in {
            "_ROWS": 7, "_ROWS_AGAIN": 3, "_COLUMNS": 8, "_BLOCK": 2,
            "_USERS_AT_ONCE": 16, "_FLOATS_AT_ONCE": 40, "_PAIRS_AT_ONCE": 200,
        }.items():  # fmt: skip
            monkeypatch.setattr(f"training.recommend.top_k.{name}", size)
        monkeypatch.setattr("training.recommend.top_k._SORTED_WHOLE", 4)


@pytest.mark.parametrize(
    "name",
    [
        "pop",
        "recent_pop",
        "p_pop",
        "item_knn",
        "vsknn",
        "gru4rec",
        "hrnn",
        "hrnn_trend",
        "sessions",
    ],
)
@pytest.mark.usefixtures("small_parts")
def test_top_offers_what_scoring_everything_would(
    name: str,
    histories: Histories,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = read_dataset(next(tmp_path_factory.getbasetemp().glob("top*/data")))
    neural = name in ("gru4rec", "hrnn", "hrnn_trend", "sessions")
    if name == "sessions":
        # Weighed by hand: what is fitted on so little may say nothing of them.
        monkeypatch.setattr(
            "training.models.parts.mixture.score_features.DEFAULT_WEIGHTS",
            {"similar": 1.0, "log_q": 1.0},
        )
        monkeypatch.setattr(
            "training.models.parts.trend.DEFAULT_WEIGHTS", {"similar": 1.0, "log_q": 1.0}
        )
        system = build("hrnn_trend", {**QUICK, "similar_sessions": 3})
    else:
        system = build(name, QUICK if neural else {})
    system.fit(data, 0, lambda _progress: None)
    n_items = len(data.item_ids)
    requests = asked(histories, np.arange(24, -1, -1))
    barred = barred_at_random(len(requests), n_items)
    scores = system.score(histories, requests)
    scores[:, barred.columns] = -np.inf
    scores[barred.row, barred.column] = -np.inf
    found = np.full((len(requests), 6), -1)
    values = np.zeros((len(requests), 6), np.float32)
    for rows, columns, best in best_items(system, histories, requests, 6, barred, n_items):
        found[rows], values[rows] = columns, best
    # States may differ in the last bit by which requests share a batch, and so may near ties.
    np.testing.assert_allclose(
        values, -np.sort(-scores, axis=1)[:, :6], rtol=1e-4, atol=1e-5, err_msg=name
    )
    mine = np.take_along_axis(scores, found, axis=1)
    np.testing.assert_allclose(values, mine, rtol=1e-4, atol=1e-5)
    if not neural:
        assert found.tolist() == best_one_by_one(scores, 6)


def test_where_all_is_barred_nothing_is_offered(histories: Histories) -> None:
    class Flat:
        name = "flat"

        def score(self, histories: Histories, requests: Requests) -> NDArray[np.float32]:
            return np.zeros((len(requests), 3), np.float32)

    everything = Exclusions(np.arange(3), *NO_EXCLUSIONS[1:])
    ((rows, _, best),) = best_items(
        Flat(), histories, asked(histories, np.arange(2)), 5, everything, 3
    )  # type: ignore[arg-type]
    assert rows.tolist() == [0, 1]
    assert np.isneginf(best).all()
    assert best.shape == (2, 3)


def test_a_score_that_is_no_number_is_refused(histories: Histories) -> None:
    class Broken:
        name = "broken"

        def score(self, histories: Histories, requests: Requests) -> NDArray[np.float32]:
            return np.full((len(requests), 3), np.nan, np.float32)

    with pytest.raises(HourglassError, match="broken: a score is not a number"):
        list(best_items(Broken(), histories, asked(histories, np.arange(2)), 2, NO_EXCLUSIONS, 3))  # type: ignore[arg-type]


def test_a_part_of_the_users_is_scored_as_among_all(histories: Histories, tmp_path: Path) -> None:
    some = asked(histories, np.array([7, 3, 7, 20]))
    part, requests = select_users(histories, some)
    assert part.user_ids[requests.user].tolist() == histories.user_ids[some.user].tolist()
    for mine, theirs in zip(requests.user, some.user, strict=True):
        here = slice(part.offsets[mine], part.offsets[mine + 1])
        there = slice(histories.offsets[theirs], histories.offsets[theirs + 1])
        for name in ("item", "time_us", "session_start", "dwell_bin", "context"):
            assert np.array_equal(getattr(part, name)[here], getattr(histories, name)[there]), name
        features, whole = part.user_features, histories.user_features
        assert features is not None
        assert whole is not None
        assert features.numbers[mine].tolist() == whole.numbers[theirs].tolist()
        assert features.token[features.offsets[mine]] == whole.token[whole.offsets[theirs]]
