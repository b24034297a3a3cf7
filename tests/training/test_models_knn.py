"""Item-KNN and V-SkNN against loops over their definitions."""

from __future__ import annotations

import math
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from synthetic import AS_OF_S, write_dataset

from pipeline.errors import HourglassError
from training.data.reader import DataSet, Requests, read_dataset
from training.models import build
from training.models.item_knn import ItemKnn
from training.models.parts.base import Model
from training.models.parts.sparse_rows import in_order, largest_of_each_row
from training.models.vsknn import VSknn

N_ITEMS = 15
DAY_US = 24 * 3_600_000_000


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    rng = np.random.default_rng(8)
    users = {}
    for user in range(40):
        times = AS_OF_S - 400_000 + np.cumsum(rng.exponential(3000, size=rng.integers(1, 20)))
        items = np.minimum(rng.geometric(0.2, size=len(times)), N_ITEMS) - 1
        users[f"u{user:02d}"] = [
            (f"i{item:02d}", float(t)) for item, t in zip(items, times, strict=True)
        ]
    vocabulary = [f"i{item:02d}" for item in range(N_ITEMS)]
    folder = tmp_path_factory.mktemp("knn") / "d"
    return read_dataset(write_dataset(folder, users, vocabulary=vocabulary))


def requests_of(data: DataSet) -> Requests:
    rows = [
        (user, length)
        for user in range(0, len(data.histories.user_ids), 3)
        for length in range(data.histories.lengths[user] + 1)
    ]
    user, length = (np.array(column, np.int64) for column in zip(*rows, strict=True))
    late = np.random.default_rng(4).integers(0, 3 * DAY_US, size=len(rows))
    return Requests(user, length, AS_OF_S * 1_000_000 - DAY_US + late)


def known_items(data: DataSet, requests: Requests, row: int) -> list[int]:
    first = data.histories.offsets[requests.user[row]]
    return (data.histories.item[first : first + requests.length[row]] - 1).tolist()


def fit(name: str, data: DataSet, **parameters: object) -> Model:
    system = build(name, parameters)
    system.fit(data, 0, lambda progress: None)
    return system


def back_off(data: DataSet) -> NDArray[np.float64]:
    return 1e-6 * data.item_events / data.item_events.sum()


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"reach": 1, "last_items": 1, "exponent": 1.0, "shrinkage": 0.0},
        {"directed": True, "reach": 3, "repeats": True, "exponent": 0.0},
        {"last_items": 5, "fade": 0.9, "exponent": 0.25},
    ],
)
def test_item_knn_is_the_definition(data: DataSet, parameters: dict[str, object]) -> None:
    system = fit("item_knn", data, **parameters)
    p = system.parameters
    together, events = Counter(), Counter((data.histories.item - 1).tolist())
    for start, stop in zip(data.histories.offsets[:-1], data.histories.offsets[1:], strict=True):
        items = (data.histories.item[start:stop] - 1).tolist()
        for i, earlier in enumerate(items):
            for later in items[i + 1 : i + 1 + p.reach]:
                if later != earlier or p.repeats:
                    together[earlier, later] += 1
                    if not p.directed:
                        together[later, earlier] += 1
    requests = requests_of(data)
    scores = system.score(data.histories, requests)
    for row in range(len(requests)):
        expected = back_off(data)
        for age, item in enumerate(known_items(data, requests, row)[::-1][: p.last_items]):
            for other in range(N_ITEMS):
                if count := together[item, other]:
                    divisor = (events[item] * events[other]) ** p.exponent + p.shrinkage
                    expected[other] += p.fade**age * count / divisor
        assert np.allclose(scores[row], expected, rtol=1e-4, atol=1e-7)


def test_item_knn_keeps_only_the_most_similar(data: DataSet) -> None:
    few, all_of_them = fit("item_knn", data, neighbours=2), fit("item_knn", data)
    few, all_of_them = few._similar.toarray(), all_of_them._similar.toarray()
    for row, every in zip(few, all_of_them, strict=True):
        assert np.count_nonzero(row) == min(2, np.count_nonzero(every))
        assert sorted(row)[-2:] == sorted(every)[-2:]


@pytest.mark.parametrize(
    "parameters",
    [
        {"reach": 1, "exponent": 0.0, "shrinkage": 0.0, "last_items": 1},
        {"exponent": 0.0, "shrinkage": 0.0, "repeats": True},
        {},
    ],
)
def test_item_knn_breaks_ties_by_popularity(data: DataSet, parameters: dict[str, object]) -> None:
    """Beside a count of hundreds, a millionth is nothing in single precision."""
    system = fit("item_knn", data, **parameters)
    assert isinstance(system, ItemKnn)
    system._similar *= np.float32(1000)
    requests = requests_of(data)
    scores = system.score(data.histories, requests)
    system._back_off = np.zeros_like(system._back_off)
    similar = system.score(data.histories, requests)
    ties = 0
    for row in range(len(requests)):
        exact = similar[row].astype(np.float64) + back_off(data)
        assert np.array_equal(
            scores[row][:, None] > scores[row][None, :], exact[:, None] > exact[None, :]
        )
        known = similar[row][similar[row] > 0]
        ties += len(known) - len(np.unique(known))
        assert np.allclose(scores[row], exact, rtol=1e-5, atol=1e-9)
    assert ties > 50 or not parameters


@given(
    st.lists(st.tuples(st.integers(0, 2), st.floats(1e-9, 1e6), st.floats(0, 1e-6)), max_size=40)
)
def test_order_outlives_rounding(cells: list[tuple[int, float, float]]) -> None:
    row = np.array([cell[0] for cell in cells], np.int64)
    exact = np.array([cell[1] + cell[2] for cell in cells], np.float64)
    found = in_order(row, exact)
    assert found.dtype == np.float32
    assert np.allclose(found, exact, rtol=1e-5)
    for one in range(3):
        mine, true = found[row == one], exact[row == one]
        assert np.array_equal(mine[:, None] > mine[None, :], true[:, None] > true[None, :])


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), max_size=9), max_size=4),
    st.integers(1, 5),
)
def test_the_largest_of_each_row(rows: list[list[tuple[int, int]]], most: int) -> None:
    cells = [(row, *cell) for row, cells in enumerate(rows) for cell in cells]
    row, value, tie = (np.array([cell[at] for cell in cells], np.int64) for at in range(3))
    found = largest_of_each_row(row, value, tie, most)
    for one, cells_of_row in enumerate(rows):
        best = sorted((-value, tie) for value, tie in cells_of_row)[:most]
        mine = found[row[found] == one]
        assert sorted((-value[at], tie[at]) for at in mine) == best
    assert len(set(found.tolist())) == len(found)


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"neighbours": 3},
        {"half_life_h": 0.0, "idf": False},
        {"half_life_h": 5.0, "last_events": 2, "repeats": True},
        {"sessions_per_item": 4},
    ],
)
def test_vsknn_is_the_definition(data: DataSet, parameters: dict[str, object]) -> None:
    system = fit("vsknn", data, **parameters)
    p = system.parameters
    h = data.histories
    sessions, current, number = defaultdict(list), {}, -1
    for user, (start, stop) in enumerate(zip(h.offsets[:-1], h.offsets[1:], strict=True)):
        for event in range(start, stop):
            number += event == start or bool(h.session_start[event])
            sessions[number].append(event)
            current[user, event - start + 1] = list(sessions[number])
    past = []
    for events in sessions.values():
        items = {int(h.item[event]) - 1 for event in events}
        if len(items) > 1:
            past.append((int(h.time_us[events[-1]]), items))
    with_item = {j: [s for s in range(len(past)) if j in past[s][1]] for j in range(N_ITEMS)}
    latest = {
        j: set(sorted(with_item[j], key=lambda s: past[s][0])[-p.sessions_per_item :])
        for j in range(N_ITEMS)
    }
    requests = requests_of(data)
    scores = system.score(h, requests)
    for row in range(len(requests)):
        now = current.get((int(requests.user[row]), int(requests.length[row])), [])
        now = now[-p.last_events :]
        place = {int(h.item[event]) - 1: at for at, event in enumerate(now, start=1)}
        similar = []
        for number, (end_us, items) in enumerate(past):
            shared = [j for j in place if j in items and number in latest[j]]
            age_h = (requests.now_us[row] - end_us) / 3.6e9
            if shared and age_h > 0:
                decay = 2 ** (-age_h / p.half_life_h) if p.half_life_h else 1.0
                similar.append((decay * sum(place[j] / len(now) for j in shared), items))
        similar.sort(key=lambda pair: -pair[0])
        if len(similar) > p.neighbours and math.isclose(
            similar[p.neighbours - 1][0], similar[p.neighbours][0], rel_tol=1e-5
        ):
            continue  # which of equal sessions is the last neighbour is not defined
        expected = np.zeros(N_ITEMS)
        for weight, items in similar[: p.neighbours]:
            for j in items:
                expected[j] += weight * (math.log(len(past) / len(with_item[j])) if p.idf else 1)
        if now and not p.repeats:
            expected[int(h.item[now[-1]]) - 1] = 0
        expected = expected / (expected.max() or 1) + back_off(data)
        assert np.allclose(scores[row], expected, rtol=1e-4, atol=1e-6)


def test_vsknn_breaks_ties_by_popularity(data: DataSet) -> None:
    """Sessions without decay hold many items equally often."""
    told = {"half_life_h": 0.0, "idf": False, "last_events": 1}
    scores = fit("vsknn", data, **told).score(data.histories, requests_of(data))
    without = fit("vsknn", data, **told)
    assert isinstance(without, VSknn)
    without._back_off = np.zeros_like(without._back_off)
    held = without.score(data.histories, requests_of(data))
    ties = 0
    for row, mine in zip(scores, held, strict=True):
        exact = mine.astype(np.float64) + back_off(data)
        assert np.array_equal(row[:, None] > row[None, :], exact[:, None] > exact[None, :])
        ties += np.count_nonzero(mine) - len(np.unique(mine[mine > 0]))
    assert ties > 50


def test_vsknn_that_was_not_fitted_says_so(data: DataSet) -> None:
    with pytest.raises(HourglassError, match="vsknn has not been trained"):
        build("vsknn", {}).score(data.histories, requests_of(data))


def test_vsknn_at_a_session_start_uses_the_session_before(data: DataSet) -> None:
    system = fit("vsknn", data, half_life_h=0.0)
    user = int(np.argmax(data.histories.lengths))
    length = data.histories.lengths[user]
    end_us = data.histories.time_us[data.histories.offsets[user + 1] - 1]
    after = end_us + np.array([DAY_US, 9 * DAY_US])
    # All of the log is past in both, so without decay only the current session matters.
    scores = system.score(data.histories, Requests(np.full(2, user), np.full(2, length), after))
    assert scores[0].max() > 0.9
    assert np.array_equal(scores[0], scores[1])


def test_without_any_history_both_fall_back_on_pop(data: DataSet) -> None:
    request = Requests(np.array([0]), np.array([0]), np.array([AS_OF_S * 1_000_000]))
    for name in ("item_knn", "vsknn"):
        scores = fit(name, data).score(data.histories, request)[0]
        assert np.allclose(scores, back_off(data), rtol=1e-5)
