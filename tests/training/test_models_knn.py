"""Item-KNN, V-SkNN and STAN against loops over their definitions."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

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
from training.models.parts.neighbours.sparse_rows import in_order, largest_of_each_row
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
        {
            "within": "session",
            "reach": 200,
            "exponent": 1.0,
            "shrinkage": 0.0,
            "last_items": 1,
        },
        {"within": "session", "reach": 2, "directed": True},
    ],
)
def test_item_knn_is_the_definition(data: DataSet, parameters: dict[str, object]) -> None:
    system = fit("item_knn", data, **parameters)
    p = system.parameters
    together, events = Counter(), Counter((data.histories.item - 1).tolist())
    for start, stop in zip(data.histories.offsets[:-1], data.histories.offsets[1:], strict=True):
        items = (data.histories.item[start:stop] - 1).tolist()
        session = np.cumsum(data.histories.session_start[start:stop]).tolist()
        for i, earlier in enumerate(items):
            for j, later in enumerate(items[i + 1 : i + 1 + p.reach], start=i + 1):
                if p.within == "session" and session[i] != session[j]:
                    break
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


def test_sessions_divide_what_histories_join(data: DataSet) -> None:
    starts = data.histories.session_start
    assert 0.2 < starts.mean() < 0.8
    joined, divided = (
        fit("item_knn", data, within=within)._similar.nnz for within in ("history", "session")
    )
    assert divided < joined


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


def weight_of(p: Any, before_last: int, n_events: int) -> float:
    """Of an item of the current session."""
    decay = getattr(p, "position_decay", 0)
    return math.exp(-before_last / decay) if decay else (n_events - before_last) / n_events


def item_weight(p: Any, idf: float) -> float:
    if hasattr(p, "idf"):
        return idf if p.idf else 1.0
    return float(1 + p.idf_weight * idf)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("vsknn", {}),
        ("vsknn", {"neighbours": 3}),
        ("vsknn", {"half_life_h": 0.0, "idf": False}),
        ("vsknn", {"half_life_h": 5.0, "last_events": 2, "repeats": True}),
        ("vsknn", {"sessions_per_item": 4}),
        ("vsknn", {"last_shared": True}),
        ("stan", {}),
        ("stan", {"neighbours": 3, "position_decay": 3.0, "place_decay": 0.7}),
        ("stan", {"place_decay": 0.0, "half_life_h": 0.0}),
        ("stan", {"position_decay": 0.0, "last_events": 3, "repeats": True}),
        ("stan", {"sessions_per_item": 4, "idf_weight": 5.0, "last_shared": True}),
    ],
)
def test_session_neighbours_are_the_definition(
    data: DataSet, name: str, parameters: dict[str, object]
) -> None:
    system = fit(name, data, **parameters)
    p, is_stan = system.parameters, name == "stan"
    h = data.histories
    sessions, current, number = defaultdict(list), {}, -1
    for user, (start, stop) in enumerate(zip(h.offsets[:-1], h.offsets[1:], strict=True)):
        for event in range(start, stop):
            number += event == start or bool(h.session_start[event])
            sessions[number].append(event)
            current[user, event - start + 1] = list(sessions[number])
    past = []
    for events in sessions.values():
        # The latest place wins.
        places = {int(h.item[event]) - 1: at for at, event in enumerate(events, start=1)}
        if len(places) > 1:
            past.append((int(h.time_us[events[-1]]), places))
    with_item = {j: [s for s in range(len(past)) if j in past[s][1]] for j in range(N_ITEMS)}
    latest = {
        j: set(sorted(with_item[j], key=lambda s: past[s][0])[-p.sessions_per_item :])
        for j in range(N_ITEMS)
    }
    requests = requests_of(data)
    scores = system.score(h, requests)
    compared = 0
    for row in range(len(requests)):
        now = current.get((int(requests.user[row]), int(requests.length[row])), [])
        now = now[-p.last_events :]
        before_last = {int(h.item[event]) - 1: len(now) - at for at, event in enumerate(now, 1)}
        similar = []
        for number, (end_us, places) in enumerate(past):
            shared = [j for j in before_last if j in places]
            searched = [j for j in shared if number in latest[j]]
            age_h = (requests.now_us[row] - end_us) / 3.6e9
            if searched and age_h > 0:
                weight = sum(weight_of(p, before_last[j], len(now)) for j in searched)
                weight *= 2 ** (-age_h / p.half_life_h) if p.half_life_h else 1.0
                weight /= math.sqrt(len(places)) if is_stan else 1.0
                anchor = max(places[j] for j in shared)
                fewest = min(before_last[j] for j in shared)
                similar.append((weight, places, anchor, fewest))
        similar.sort(key=lambda neighbour: -neighbour[0])
        if len(similar) > p.neighbours and math.isclose(
            similar[p.neighbours - 1][0], similar[p.neighbours][0], rel_tol=1e-5
        ):
            continue  # which of equal sessions is the last neighbour is not defined
        expected = np.zeros(N_ITEMS)
        for weight, places, anchor, fewest in similar[: p.neighbours]:
            for j, place in places.items():
                nearby = max(0.0, 1 - 0.1 * fewest) if p.last_shared else 1.0
                if is_stan and p.place_decay:
                    nearby *= math.exp(-abs(place - anchor) / p.place_decay)
                idf = math.log(len(past) / len(with_item[j]))
                expected[j] += weight * nearby * item_weight(p, idf)
        if now and not p.repeats:
            expected[int(h.item[now[-1]]) - 1] = 0
        expected = expected / (expected.max() or 1) + back_off(data)
        assert np.allclose(scores[row], expected, rtol=1e-4, atol=1e-6)
        compared += 1
    assert compared > len(requests) / 3


def test_stan_knows_what_followed_and_sessions_as_sets_do_not(tmp_path: Path) -> None:
    """In past sessions b comes right after a, and c long after it, as often."""
    fill = [f"f{n}" for n in range(8)]
    users = {}
    for user in range(6):
        begun_s = AS_OF_S - 90_000 + 100 * user
        items = ["a", "b", *fill, "c"]
        users[f"u{user}"] = [(item, begun_s + 60.0 * at) for at, item in enumerate(items)]
    users["v"] = [("a", AS_OF_S - 60.0)]
    made = write_dataset(tmp_path / "d", users, vocabulary=["a", "b", "c", *fill])
    data = read_dataset(made)
    v = data.histories.user_ids.tolist().index("v")
    request = Requests(np.array([v]), np.array([1]), np.array([AS_OF_S * 1_000_000]))
    _, b, c = fit("stan", data).score(data.histories, request)[0][:3]
    assert b > 5 * c > 0
    _, b, c = fit("vsknn", data, idf=False).score(data.histories, request)[0][:3]
    assert b == pytest.approx(c, rel=1e-4)


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


@pytest.mark.parametrize("name", ["vsknn", "stan"])
def test_neighbours_that_were_not_fitted_say_so(data: DataSet, name: str) -> None:
    with pytest.raises(HourglassError, match=f"{name} has not been trained"):
        build(name, {}).score(data.histories, requests_of(data))


@pytest.mark.parametrize("name", ["vsknn", "stan"])
def test_neighbours_that_are_loaded_score_as_those_that_were_saved(
    data: DataSet, name: str
) -> None:
    fitted, loaded = fit(name, data), build(name, {})
    loaded.load(fitted.tensors())
    requests = requests_of(data)
    scores = loaded.score(data.histories, requests)
    assert np.array_equal(scores, fitted.score(data.histories, requests))


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
    for name in ("item_knn", "vsknn", "stan"):
        scores = fit(name, data).score(data.histories, request)[0]
        assert np.allclose(scores, back_off(data), rtol=1e-5)
