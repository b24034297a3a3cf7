"""Random, POP, Recent-POP and P-POP on logs that fit in the head."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from synthetic import AS_OF_S, write_dataset

from pipeline.errors import UsageError
from pipeline.hours import Hour
from training.data.reader import DataSet, Popularity, Requests, read_dataset
from training.models import build

HOUR_S = 3600
EVENTS = {
    "ann": [("old", AS_OF_S - 30 * HOUR_S)] * 4 + [("new", AS_OF_S - 5)] * 2,
    "bob": [("mid", AS_OF_S - 5 * HOUR_S)] * 3 + [("new", AS_OF_S - 2 * HOUR_S)],
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    folder = tmp_path_factory.mktemp("simple") / "d"
    return read_dataset(write_dataset(folder, EVENTS, vocabulary=["mid", "new", "old", "unseen"]))


def scores_of(
    name: str, data: DataSet, rows: list[tuple[int, int, int]], **parameters: object
) -> NDArray[np.float32]:
    """Scores of rows (user, length, seconds after as_of)."""
    system = build(name, parameters)
    system.fit(data, 0, lambda progress: None)
    user, length, late_s = (np.array(column, np.int64) for column in zip(*rows, strict=True))
    return system.score(data.histories, Requests(user, length, (AS_OF_S + late_s) * 1_000_000))


def test_pop_counts_the_window(data: DataSet) -> None:
    assert scores_of("pop", data, [(0, 6, 0), (1, 0, 9)]).tolist() == [[3, 3, 4, 0]] * 2


def test_recent_pop_counts_the_last_hours(data: DataSet) -> None:
    tie = np.array([0.15, 0.15, 0.2, 0])  # half of each item's share of the ten events
    day = scores_of("recent_pop", data, [(0, 6, 0)], k_h=24)
    assert np.allclose(day - tie, [3, 3, 0, 0])
    four_hours = scores_of("recent_pop", data, [(0, 6, 0)], k_h=4)
    assert np.allclose(four_hours - tie, [0, 3, 0, 0])


def test_recent_pop_looks_back_from_the_request(data: DataSet) -> None:
    tie = np.array([0.15, 0.15, 0.2, 0])
    rows = [(0, 6, 0), (0, 6, 40 * HOUR_S), (0, 6, -HOUR_S), (0, 6, -3 * HOUR_S)]
    found = scores_of("recent_pop", data, rows, k_h=4)
    # After as_of nothing newer is known; before it the request's own hour does not count yet.
    expected = [[0, 3, 0, 0], [0, 3, 0, 0], [3, 1, 0, 0], [3, 0, 0, 0]]
    assert np.allclose(found, expected + tie)


def test_recent_pop_never_counts_an_hour_at_as_of_or_later(tmp_path: Path) -> None:
    hours = [("a", "2016-03-14T12", 1), ("b", "2016-03-14T13", 50), ("b", "2016-03-14T15", 50)]
    users = {"u": [("a", AS_OF_S - 9), ("b", AS_OF_S - 9)]}
    data = read_dataset(write_dataset(tmp_path / "d", users, popularity=hours))
    found = scores_of("recent_pop", data, [(0, 2, 0), (0, 2, 5 * HOUR_S)])
    assert np.allclose(found, [[1.25, 0.25]] * 2)


def test_recent_pop_is_renewed_without_fitting(data: DataSet) -> None:
    system = build("recent_pop", {"k_h": 2})
    system.fit(data, 0, lambda progress: None)
    as_of = Hour.parse("2016-03-14T15")
    fresh = Popularity(
        np.array([4, 1], np.int32), np.array([as_of.index - 1, as_of.index - 3]), np.array([7, 9])
    )
    system.refresh(fresh, as_of)
    request = Requests(np.array([0]), np.array([6]), np.array([(AS_OF_S + 2 * HOUR_S) * 10**6]))
    assert np.allclose(system.score(data.histories, request), [[0.15, 0.15, 0.2, 7]])


def test_recent_pop_needs_the_hours_it_counts(data: DataSet) -> None:
    with pytest.raises(UsageError, match="k_h = 25 must be at most the data set's popularity"):
        scores_of("recent_pop", data, [(0, 1, 0)], k_h=25)


def test_p_pop_counts_the_users_own_known_events(data: DataSet) -> None:
    tie = np.array([0.15, 0.15, 0.2, 0])
    names = ["mid", "new", "old", "unseen"]
    users = list(EVENTS.values())
    rows = [(user, length, 0) for user in (0, 1) for length in range(len(users[user]) + 1)]
    for row, scores in zip(rows, scores_of("p_pop", data, rows), strict=True):
        own = Counter(item for item, _ in users[row[0]][: row[1]])
        assert np.allclose(scores, [own[name] for name in names] + tie)


def test_random_is_noise_that_repeats(data: DataSet) -> None:
    rows = [(user, length, late) for user in (0, 1) for length in (0, 3) for late in range(500)]
    scores = scores_of("random", data, rows)
    assert np.array_equal(scores, scores_of("random", data, rows))
    assert 0 <= scores.min() < 0.01
    assert 0.99 < scores.max() < 1
    assert len(np.unique(scores)) > 0.99 * scores.size
    # Each of the four items comes first about as often as any other: 500 +- 5 sigma of 19.
    assert np.abs(np.bincount(scores.argmax(axis=1), minlength=4) - 500).max() < 100
    assert np.abs(np.corrcoef(scores.T) - np.eye(4)).max() < 0.1


def test_random_depends_on_the_seed(data: DataSet) -> None:
    request = Requests(np.array([0]), np.array([1]), np.array([5]))
    systems = [build("random", {}) for _ in range(2)]
    for seed, system in enumerate(systems):
        system.fit(data, seed, lambda progress: None)
    first, second = (system.score(data.histories, request) for system in systems)
    assert not np.array_equal(first, second)
