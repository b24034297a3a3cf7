"""What holds for every system: no peeking, no dependence on company, equal after loading."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_models import small
from synthetic import AS_OF_S, write_dataset

from pipeline.errors import HourglassError, UsageError
from training.data.reader import DataSet, Requests, read_dataset
from training.models import MODEL_NAMES, build
from training.models.parts.base import Model

N_ITEMS = 12


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    rng = np.random.default_rng(3)
    users = {}
    for user in range(30):
        times = AS_OF_S - 90_000 + np.cumsum(rng.exponential(2500, size=rng.integers(2, 15)))
        items = rng.integers(0, N_ITEMS, size=len(times))
        users[f"u{user:02d}"] = [
            (f"i{item:02d}", float(time), ("view", "like")[item % 2], float(rng.integers(1, 6)))
            for item, time in zip(items, times, strict=True)
        ]
    vocabulary = [f"i{item:02d}" for item in range(N_ITEMS)]
    return read_dataset(
        write_dataset(tmp_path_factory.mktemp("common") / "d", users, vocabulary=vocabulary)
    )


@pytest.fixture(scope="module", params=MODEL_NAMES)
def fitted(request: pytest.FixtureRequest, data: DataSet) -> Model:
    system = build(request.param, small(request.param))
    metrics = system.fit(data, 1, lambda progress: None)
    assert all(math.isfinite(value) for value in metrics.values())
    return system


def requests_of(data: DataSet, n: int = 40, seed: int = 0) -> Requests:
    rng = np.random.default_rng(seed)
    user = rng.integers(0, len(data.histories.user_ids), size=n)
    length = rng.integers(0, data.histories.lengths[user] + 1)
    last = data.histories.time_us[data.histories.offsets[user] + np.maximum(length - 1, 0)]
    return Requests(user, length, last + rng.integers(0, 9_000_000_000, size=n))


def test_scores_have_their_shape_and_type(fitted: Model, data: DataSet) -> None:
    scores = fitted.score(data.histories, requests_of(data))
    assert scores.shape == (40, N_ITEMS)
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()


def test_later_events_change_nothing(fitted: Model, data: DataSet) -> None:
    """Whatever happens at or after a request, its scores stay the same to the last bit."""
    requests = requests_of(data)
    histories = data.histories
    before = fitted.score(histories, requests)
    rng = np.random.default_rng(9)
    for row in range(len(requests)):
        first = histories.offsets[requests.user[row]] + requests.length[row]
        later = slice(first, histories.offsets[requests.user[row] + 1])
        n = later.stop - later.start
        columns = {
            name: getattr(histories, name).copy()
            for name in ("item", "time_us", "session_start", "dwell_s", "dwell_bin")
        }
        columns["item"][later] = rng.integers(1, N_ITEMS + 1, size=n)
        columns["time_us"][later] += rng.integers(0, 10**10, size=n)
        columns["session_start"][later] = rng.random(n) < 0.5
        columns["dwell_s"][later] = 7.0
        columns["dwell_bin"][later] = 5
        # What the last known event did next is not known yet either.
        columns["dwell_s"][first - 1 : first] = 7.0
        columns["dwell_bin"][first - 1 : first] = 5
        after = fitted.score(replace(histories, **columns), requests)
        assert np.array_equal(after[row], before[row])


def test_scores_do_not_depend_on_the_company(fitted: Model, data: DataSet) -> None:
    requests = requests_of(data)
    together = fitted.score(data.histories, requests)
    order = np.random.default_rng(1).permutation(len(requests))
    shuffled = fitted.score(data.histories, requests.take(order))
    alone = [
        fitted.score(data.histories, requests.take(np.array([row]))) for row in range(len(requests))
    ]
    assert np.allclose(shuffled, together[order], rtol=1e-5, atol=1e-5)
    assert np.allclose(np.concatenate(alone), together, rtol=1e-5, atol=1e-5)


def test_a_loaded_system_scores_the_same(fitted: Model, data: DataSet) -> None:
    requests = requests_of(data)
    other = build(fitted.name, small(fitted.name))
    other.load(fitted.tensors())
    assert np.array_equal(
        other.score(data.histories, requests), fitted.score(data.histories, requests)
    )


def test_fitting_again_gives_the_same_tensors(fitted: Model, data: DataSet) -> None:
    again = build(fitted.name, small(fitted.name))
    again.fit(data, 1, lambda progress: None)
    tensors = fitted.tensors()
    assert again.tensors().keys() == tensors.keys()
    for name, tensor in again.tensors().items():
        assert np.array_equal(tensor, tensors[name]), name


def test_no_requests(fitted: Model, data: DataSet) -> None:
    assert fitted.score(data.histories, requests_of(data, n=0)).shape == (0, N_ITEMS)


def test_a_missing_tensor(fitted: Model) -> None:
    with pytest.raises(HourglassError, match=r"has no tensor .*train it again"):
        build(fitted.name, small(fitted.name)).load({})


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_nothing_to_learn_from(name: str, tmp_path: Path) -> None:
    users = {"u": [("a", AS_OF_S - 50), ("b", AS_OF_S - 10)]}
    data = read_dataset(write_dataset(tmp_path / "d", users, window_start="2016-03-14T13"))
    with pytest.raises(HourglassError, match=f"{name}: d holds no events to learn from"):
        build(name, {}).fit(data, 0, lambda progress: None)


def test_unknown_names_and_wrong_values() -> None:
    with pytest.raises(UsageError, match="unknown system 'gru': choose one of random, pop"):
        build("gru", {})
    with pytest.raises(UsageError, match="pop: unknown parameter 'k': it has none"):
        build("pop", {"k": 3})
    with pytest.raises(UsageError, match="recent_pop: unknown parameter 'k': it has half_life"):
        build("recent_pop", {"k": 3})
    with pytest.raises(UsageError, match="recent_pop: parameter k_h = '24' is not of type int"):
        build("recent_pop", {"k_h": "24"})
    with pytest.raises(UsageError, match="parameter k_h = -1 must be 0 or more"):
        build("recent_pop", {"k_h": -1})
    with pytest.raises(UsageError, match=r"parameter dropout = 1\.0 must be 0 or more and below"):
        build("hrnn", {"dropout": 1.0})
    with pytest.raises(UsageError, match="epochs = True is not of type int"):
        build("hrnn", {"epochs": True})
    assert build("hrnn", {"learning_rate": 1}).parameters.learning_rate == 1
