"""Models that predict values: each against its equation, one request at a time, in plain loops.

And as a whole: those outside the sequence engine go on from a parent and from checkpoints too.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from synthetic import AS_OF_S, write_dataset

from pipeline.array_types import Ints32
from pipeline.errors import HourglassError, UsageError
from training.data.reader import DataSet, Histories, Requests, read_dataset
from training.models import build
from training.models.parts.base import GradientTrained, take_tensor
from training.models.parts.rating import RatingModel
from training.models.parts.values import ValueModel
from training.nn.tables.user_table import table_rows, user_hashes
from training.trainer.interface import FitOptions, ParentWeights
from training.trainer.progress import Meter

N_ITEMS = 8
WIDTH = 4
SMALL: dict[str, Any] = {"width": WIDTH, "epochs": 2, "device": "cpu"}
VALUED = ("i_autorec", "rrn", "time_svd")
RATED = ("fm_rating", "hrnn_rating", "pmf_rating")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    return ratings_of(tmp_path_factory.mktemp("ratings"), n_users=20)


@pytest.fixture(scope="module")
def later(data: DataSet, tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    """Some of the same users, and some that nobody has met."""
    return ratings_of(tmp_path_factory.mktemp("later"), n_users=26, seed=4)


def ratings_of(folder: Path, n_users: int, seed: int = 3) -> DataSet:
    """Users who rate some items, minutes to days apart; every seventh event has no value."""
    rng = np.random.default_rng(seed)
    users = {}
    for user in range(n_users):
        times = AS_OF_S - 900_000 + np.cumsum(rng.exponential(30_000, size=rng.integers(1, 15)))
        users[f"u{user:02d}"] = [
            (
                f"i{rng.integers(N_ITEMS)}",
                round(float(time)),
                "rate",
                None if step % 7 == 6 else float(rng.integers(1, 6)),
            )
            for step, time in enumerate(times)
        ]
    names = [f"i{item}" for item in range(N_ITEMS)]
    return read_dataset(write_dataset(folder / "d", users, vocabulary=names))


def fitted(name: str, data: DataSet, **parameters: Any) -> Any:
    users = {"user_width": WIDTH} if name in ("fm_rating", "pmf_rating") else {}
    model = build(name, {**SMALL, **users, **parameters})
    model.fit(data, 1, lambda progress: None)
    return model


def every_event(data: DataSet) -> tuple[Requests, Ints32]:
    event = np.arange(len(data.histories.item))
    return Requests.before(data.histories, event), data.histories.item


def known_before(h: Histories, requests: Requests, row: int, most: int = 10**9) -> list[int]:
    """Events with values among the latest that the user of a request had before it."""
    first = int(h.offsets[requests.user[row]])
    stop = first + int(requests.length[row])
    events = range(max(first, stop - most), stop)
    return [event for event in events if math.isfinite(h.value[event])]


def user_row(model: Any, h: Histories, user: int) -> int:
    learned = take_tensor(model.tensors(), "known_users")
    return int(table_rows(user_hashes(h.user_ids[[user]]), learned)[0])


def on_scale(model: Any, values: list[float]) -> NDArray[np.float64]:
    mean, deviation = take_tensor(model.tensors(), "scale")
    return np.array(values) * deviation + mean


@pytest.mark.parametrize("bins", [1, 30])
def test_time_svd_is_its_sum(data: DataSet, later: DataSet, bins: int) -> None:
    model, h = fitted("time_svd", data, bins=bins, epochs=4, learning_rate=0.1), later.histories
    w = model.tensors()
    mean, deviation = w["scale"]
    train = data.histories
    rated = np.isfinite(train.value)
    first_us, last_us = train.time_us[rated].min(), train.time_us[rated].max()
    requests, item = every_event(later)
    expected = []
    for row in range(len(requests)):
        b_u, a_u, p, drifts = 0.0, 0.0, np.zeros(WIDTH), np.zeros(WIDTH)
        name, now_us = h.user_ids[requests.user[row]], int(requests.now_us[row])
        at = user_row(model, h, requests.user[row])
        drift = 0.0
        if at:
            own = w["users.vector.weight"][at]
            b_u, a_u, p, drifts = own[0], own[1], own[2 : 2 + WIDTH], own[2 + WIDTH :]
            mine = train.user_ids[train.user_of_event] == name
            mean_us = first_us + np.mean(train.time_us[mine & rated] - first_us)
            days = (now_us - mean_us) / 86_400e6
            drift = np.sign(days) * abs(days) ** 0.4
        state = p + drift * drifts
        events = known_before(h, requests, row)
        for event in events:
            state = state + len(events) ** -0.5 * w["rated.weight"][h.item[event]]
        cut = int((now_us - first_us) / (last_us - first_us + 1) * bins)
        cut = min(max(cut, 0), bins - 1)
        expected.append(
            w["mean"]
            + w["bias.weight"][item[row], 0]
            + w["bias_of_bin.weight"][item[row] * bins + cut, 0]
            + b_u
            + a_u * drift
            + w["vector.weight"][item[row]] @ state
        )
    predicted = model.predict(h, requests, item)
    np.testing.assert_allclose(predicted, np.array(expected) * deviation + mean, atol=1e-4)


def test_i_autorec_is_its_two_layers(data: DataSet, later: DataSet) -> None:
    model, h = fitted("i_autorec", data), later.histories
    w = model.tensors()
    train = data.histories
    matrix = np.zeros((N_ITEMS, len(w["known_users"])))
    for event in np.flatnonzero(np.isfinite(train.value)):
        row = user_row(model, train, train.user_of_event[event])
        mean, deviation = w["scale"]
        matrix[train.item[event] - 1, row - 1] = (train.value[event] - mean) / deviation
    requests, item = every_event(later)
    expected = []
    for row in range(len(requests)):
        ratings = matrix[item[row] - 1]
        hidden = 1 / (1 + np.exp(-(w["encode.weight"] @ ratings + w["encode.bias"])))
        decoded = w["decode.weight"] @ hidden + w["decode.bias"]
        at = user_row(model, h, requests.user[row])
        expected.append(decoded[at - 1] if at else decoded.mean())
    predicted = model.predict(h, requests, item)
    np.testing.assert_allclose(predicted, on_scale(model, expected), atol=1e-4)


def lstm_state(w: dict[str, Any], name: str, inputs: list[NDArray[np.float64]]) -> Any:
    """The state after the last of the inputs; zeros without any."""

    def sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return 1 / (1 + np.exp(-x))

    hidden = len(w[f"{name}.bias_hh_l0"]) // 4
    state, cell = np.zeros(hidden), np.zeros(hidden)
    for each in inputs:
        gates = w[f"{name}.weight_ih_l0"] @ each + w[f"{name}.bias_ih_l0"]
        gates = gates + w[f"{name}.weight_hh_l0"] @ state + w[f"{name}.bias_hh_l0"]
        enters, forgets, new, leaves = np.split(gates, 4)
        cell = sigmoid(forgets) * cell + sigmoid(enters) * np.tanh(new)
        state = sigmoid(leaves) * np.tanh(cell)
    return state


@pytest.mark.parametrize("max_len", [1, 3, 20])
def test_rrn_is_two_lstms_of_what_came_before(data: DataSet, later: DataSet, max_len: int) -> None:
    model, h = fitted("rrn", data, max_len=max_len, hidden=3, learning_rate=0.05), later.histories
    w = model.tensors()
    mean, deviation = w["scale"]
    train = data.histories
    rated = np.flatnonzero(np.isfinite(train.value))
    users = w["users.vector.weight"] * (np.arange(len(w["known_users"]) + 1) > 0)[:, None]
    readers = w["read_users.vector.weight"]
    requests, item = every_event(later)

    def read(vector: Any, value: float, time_us: int, before_us: int) -> NDArray[np.float64]:
        hours = (time_us - before_us) / 3600e6
        return np.concatenate([vector, [(value - mean) / deviation, np.log1p(hours)]])

    def inputs(of: Histories, events: list[int], vectors: list[Any]) -> list[Any]:
        times = [int(of.time_us[event]) for event in events]
        return [
            read(vector, of.value[event], times[at], times[max(0, at - 1)])
            for at, (event, vector) in enumerate(zip(events, vectors, strict=True))
        ]

    expected = []
    for row in range(0, len(requests), 3):
        mine = known_before(h, requests, row, max_len)
        of_user = inputs(h, mine, [w["read_items.weight"][h.item[event]] for event in mine])
        before = (train.item[rated] == item[row]) & (train.time_us[rated] < requests.now_us[row])
        theirs = sorted(rated[before].tolist(), key=lambda event: train.time_us[event])[-max_len:]
        rows = [user_row(model, train, train.user_of_event[event]) for event in theirs]
        of_item = inputs(train, theirs, [readers[at] for at in rows])
        moving_u = w["user_map.weight"] @ lstm_state(w, "user_lstm", of_user) + w["user_map.bias"]
        moving_i = w["item_map.weight"] @ lstm_state(w, "item_lstm", of_item) + w["item_map.bias"]
        own, other = users[user_row(model, h, requests.user[row])], w["items.weight"][item[row]]
        expected.append(moving_u @ moving_i + own[1:] @ other[1:] + own[0] + other[0])
    predicted = model.predict(h, requests, item)[::3]
    np.testing.assert_allclose(predicted, on_scale(model, expected), atol=1e-4)


@pytest.mark.parametrize("name", ["pmf_rating", "fm_rating"])
def test_factors_are_multiplied(data: DataSet, later: DataSet, name: str) -> None:
    """PMF: leaning . p + b_j + strength p . q_j; FM: the same of p + v_last."""
    model, h = fitted(name, data, validation_share=0.0), later.histories
    w = model.tensors()
    scale = model.input_encoding().scale
    requests, item = every_event(later)
    expected = []
    for row in range(len(requests)):
        first, length = int(h.offsets[requests.user[row]]), int(requests.length[row])
        at = user_row(model, h, requests.user[row])
        own = w["users.vector.weight"][at] if at else np.zeros(WIDTH)
        if name == "fm_rating":
            last = h.item[first + length - 1] if length else 0
            state = own + w["items.entry.weight"][last]
        elif at:
            state = own
        else:
            met = w["items.vector.weight"][h.item[first : first + length]]
            state = w["cell.scale"] * (met.mean(0) if length else np.zeros(WIDTH))
        product = w["strength"] * w["items.vector.weight"][item[row]] @ state
        leaning = w["leaning.weight"][0] @ state + w["leaning.bias"][0]
        value = leaning + w["items.bias.weight"][item[row], 0] + product
        expected.append(value * scale.deviation + scale.mean)
    predicted = model.predict(h, requests, item)
    np.testing.assert_allclose(predicted, expected, atol=1e-4)


@pytest.mark.parametrize("name", [*VALUED, *RATED])
def test_scores_are_the_predictions_of_all_items(data: DataSet, later: DataSet, name: str) -> None:
    model = fitted(name, data)
    requests, _ = every_event(later)
    scores = model.score(later.histories, requests)
    for item in range(1, N_ITEMS + 1):
        items = np.full(len(requests), item, np.int32)
        predicted = model.predict(later.histories, requests, items)
        np.testing.assert_allclose(scores[:, item - 1], predicted, atol=1e-4)


@pytest.mark.parametrize("name", VALUED)
def test_later_ratings_of_the_training_part_are_not_read(data: DataSet, name: str) -> None:
    """The kept ratings of an item are read up to the request; values and types change nothing."""
    model = fitted(name, data)
    requests, item = every_event(data)
    before = model.predict(data.histories, requests, item)
    other = build(name, model.parameters.__dict__)
    tensors = model.tensors()
    if name == "rrn":
        limit_us = int(np.median(data.histories.time_us))
        late = tensors["time_us"] >= limit_us
        tensors = {**tensors, "value": np.where(late, np.float32(9), tensors["value"])}
        early = requests.now_us <= limit_us
    else:
        early = np.ones(len(requests), np.bool_)
    other.load(tensors)
    after = other.predict(data.histories, requests, item)  # type: ignore[attr-defined]
    assert np.array_equal(after[early], before[early])
    assert name != "rrn" or not np.array_equal(after, before)


@pytest.mark.parametrize("name", [*VALUED, *RATED])
def test_values_are_needed(name: str, tmp_path: Path) -> None:
    users = {"u": [("a", AS_OF_S - 50), ("b", AS_OF_S - 10)]}
    data = read_dataset(write_dataset(tmp_path / "d", users))
    with pytest.raises(HourglassError, match=f"{name}: no event has a value"):
        fitted(name, data)


@pytest.mark.parametrize("name", VALUED)
def test_tensors_of_another_shape(data: DataSet, name: str) -> None:
    tensors = fitted(name, data).tensors()
    with pytest.raises(HourglassError, match=r"tensor '.*' has shape .*: train it again"):
        build(name, {**SMALL, "width": WIDTH + 1}).load(tensors)


@pytest.mark.parametrize("name", VALUED)
def test_asking_before_fitting(data: DataSet, name: str) -> None:
    requests, item = every_event(data)
    model: Any = build(name, {})
    with pytest.raises(HourglassError, match=f"{name} has not been trained"):
        model.predict(data.histories, requests, item)


@pytest.mark.parametrize(
    ("name", "parameters", "sentence"),
    [
        ("time_svd", {"bins": 0}, "bins = 0 must be at least 1"),
        ("time_svd", {"user_dropout": 1.0}, "user_dropout"),
        ("rrn", {"max_len": 0}, "max_len = 0 must be at least 1"),
        ("rrn", {"user_dropout": -0.1}, "user_dropout"),
        ("i_autorec", {"learning_rate": 0.0}, "learning_rate"),
        ("i_autorec", {"weight_decay": -1.0}, "weight_decay"),
        ("i_autorec", {"device": "gpu"}, "device"),
        ("pmf_rating", {"width": 8, "user_width": 9}, "user_width"),
        ("fm_rating", {"width": 8, "user_width": 9}, "user_width"),
    ],
)
def test_parameters_out_of_range(name: str, parameters: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        build(name, parameters)


def test_what_is_around_the_networks() -> None:
    assert all(isinstance(build(name, {}), ValueModel) for name in VALUED)
    assert all(isinstance(build(name, {}), RatingModel) for name in RATED)


# Going on from a parent, and from where a fit was killed.

STILL = {"learning_rate": 1e-12, "weight_decay": 0.0}  # learns next to nothing
# By model: tensors with a row, or a column, for each user and each item.
OF_USERS = {
    "i_autorec": ("decode.weight", "decode.bias", "encode.weight"),
    "rrn": ("users.vector.weight", "read_users.vector.weight"),
    "time_svd": ("users.vector.weight", "mean_time_us"),
}
OF_ITEMS = {
    "i_autorec": (),
    "rrn": ("items.weight", "read_items.weight"),
    "time_svd": ("vector.weight", "rated.weight", "bias.weight"),
}


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    """Users more and users gone, and items in another order, one less and two more."""
    rng = np.random.default_rng(8)
    names = [*(f"i{item}" for item in range(N_ITEMS - 1, 0, -1)), "new0", "new1"]
    users = {
        f"u{user:02d}": [
            (names[rng.integers(len(names))], AS_OF_S - 50_000 + 300 * step, "rate", float(step))
            for step in range(1, 6)
        ]
        for user in (*range(5, 20), *range(40, 44))
    }
    folder = tmp_path_factory.mktemp("grown") / "d"
    return read_dataset(write_dataset(folder, users, vocabulary=names))


def parent_of(model: Any, data: DataSet) -> ParentWeights:
    assert isinstance(model, GradientTrained)
    return ParentWeights("before-1", model.tensors(), data.item_ids, model.optimiser_tensors())


def continued(
    name: str, data: DataSet, parent: ParentWeights, **parameters: Any
) -> tuple[Any, dict[str, float]]:
    model: Any = build(name, {**SMALL, **parameters})
    metrics = model.fit_with(data, 1, lambda progress: None, FitOptions(parent=parent))
    return model, metrics


@pytest.mark.parametrize("name", VALUED)
def test_a_continued_model_begins_as_its_parent(data: DataSet, later: DataSet, name: str) -> None:
    before = fitted(name, data, learning_rate=0.05)
    after, _ = continued(name, data, parent_of(before, data), **STILL)
    for tested in (data, later):
        requests, item = every_event(tested)
        expected = before.predict(tested.histories, requests, item)
        predicted = after.predict(tested.histories, requests, item)
        np.testing.assert_allclose(predicted, expected, atol=1e-5)
    anew = fitted(name, data, **STILL).predict(tested.histories, requests, item)
    assert np.abs(anew - expected).max() > 1e-3


@pytest.mark.parametrize("name", VALUED)
def test_users_and_items_are_known_again_by_id(data: DataSet, grown: DataSet, name: str) -> None:
    before = fitted(name, data, learning_rate=0.05)
    after, _ = continued(name, grown, parent_of(before, data), **STILL)
    theirs, ours, fresh = (
        model.tensors() for model in (before, after, fitted(name, grown, **STILL))
    )
    np.testing.assert_array_equal(ours["scale"], theirs["scale"])

    def same(tensor: str, row: int, of_parent: int | None) -> None:
        """A row is the parent's, or, where it had none, what a fresh fit begins with."""
        axis = 1 if tensor == "encode.weight" else 0
        expected = fresh if of_parent is None else theirs
        vector = expected[tensor].take(row if of_parent is None else of_parent, axis)
        np.testing.assert_allclose(ours[tensor].take(row, axis), vector, atol=1e-8)

    first = 0 if name == "i_autorec" else 1
    users = [theirs["known_users"].tolist(), ours["known_users"].tolist()]
    assert len(set(users[1]) & set(users[0])) == 15
    assert len(users[1]) == 19
    for tensor in OF_USERS[name]:
        for at, user in enumerate(users[1]):
            of_parent = users[0].index(user) + first if user in users[0] else None
            same(tensor, at + first, of_parent)
    items = [data.item_ids.tolist(), grown.item_ids.tolist()]
    for tensor in OF_ITEMS[name]:
        for at, item in enumerate(items[1]):
            same(tensor, at + 1, items[0].index(item) + 1 if item in items[0] else None)


@pytest.mark.parametrize("bins", [1, 7, 30])
def test_bins_begin_as_those_of_their_time(data: DataSet, grown: DataSet, bins: int) -> None:
    before = fitted("time_svd", data, bins=30, learning_rate=0.05)
    after, _ = continued("time_svd", grown, parent_of(before, data), bins=bins, **STILL)
    theirs, ours = before.tensors(), after.tensors()
    (first_us, last_us), (start_us, stop_us) = ours["time_range_us"], theirs["time_range_us"]
    assert first_us == grown.histories.time_us.min()
    for row, item in enumerate(grown.item_ids.tolist(), start=1):
        if item.startswith("new"):
            continue
        of_parent = data.item_ids.tolist().index(item) + 1
        for cut in range(bins):
            middle_us = first_us + (cut + 0.5) / bins * (last_us - first_us + 1)
            there = int((middle_us - start_us) / (stop_us - start_us + 1) * 30)
            expected = theirs["bias_of_bin.weight"][of_parent * 30 + min(max(there, 0), 29), 0]
            assert ours["bias_of_bin.weight"][row * bins + cut, 0] == pytest.approx(
                expected, abs=1e-8
            )


@pytest.mark.parametrize("name", VALUED)
def test_the_optimiser_goes_on_by_id(data: DataSet, grown: DataSet, name: str) -> None:
    before = fitted(name, data)
    parent = parent_of(before, data)
    model: Any = build(name, SMALL)
    rated = np.isfinite(grown.histories.value)
    _, state = model._built(grown, rated, rated, 1, parent)
    learned, known = before.tensors()["known_users"].tolist(), model._known_users.tolist()
    moment = f"{OF_USERS[name][0]}/exp_avg"
    first = 0 if name == "i_autorec" else 1
    for at, user in enumerate(known):
        expected = (
            before.optimiser_tensors()[moment][learned.index(user) + first]
            if user in learned
            else 0.0
        )
        assert (state[moment][at + first] == expected).all()
    assert all(count > 0 for key, count in state.items() if key.endswith("/step"))


@pytest.mark.parametrize("name", VALUED)
def test_a_short_step_on_is_short(data: DataSet, name: str) -> None:
    """Adam's steps are of the length of the rate."""
    before = fitted(name, data)
    parent = ParentWeights("before-1", before.tensors(), data.item_ids)
    weight = OF_USERS[name][0]

    def moved(rate: float) -> float:
        short = {"continue_h": 48, "continue_epochs": 3, "continue_rate": rate}
        after, metrics = continued(name, data, parent, **short)
        assert metrics["epochs"] == 3
        return float(np.abs(after.tensors()[weight] - before.tensors()[weight]).mean())

    assert 0 < moved(0.01) < 0.05 * moved(1.0)
    # A fit from scratch knows no such thing.
    slow = fitted(name, data, continue_h=48, continue_rate=0.01)
    np.testing.assert_array_equal(slow.tensors()[weight], before.tensors()[weight])


@pytest.mark.parametrize("name", VALUED)
def test_a_short_step_learns_of_the_latest_hours_and_remembers_all(
    tmp_path: Path, data: DataSet, name: str
) -> None:
    """A new user whose ratings are all old gets no vector, and its ratings are nobody's."""
    users = {
        "early": [("i0", AS_OF_S - 90_000, "rate", 5.0), ("i1", AS_OF_S - 80_000, "rate", 5.0)],
        "late": [("i0", AS_OF_S - 90_000, "rate", 1.0), ("i2", AS_OF_S - 60, "rate", 2.0)],
    }
    names = [f"i{item}" for item in range(N_ITEMS)]
    new = read_dataset(write_dataset(tmp_path / "d", users, vocabulary=names))
    parent = parent_of(fitted(name, data), data)
    model, _ = continued(name, new, parent, continue_h=1)
    w = model.tensors()
    assert w["known_users"].tolist() == user_hashes(np.array(["late"], object)).tolist()
    mean, deviation = w["scale"]
    if name == "i_autorec":
        expected = np.zeros((N_ITEMS, 1))
        expected[[0, 2], 0] = (np.array([1.0, 2.0]) - mean) / deviation
        np.testing.assert_allclose(w["ratings"], expected, atol=1e-6)
    if name == "rrn":
        assert sorted(w["user"].tolist()) == [0, 0, 1, 1]


@pytest.mark.parametrize("name", VALUED)
def test_going_on_with_other_sizes_is_refused(data: DataSet, name: str) -> None:
    parent = parent_of(fitted(name, data), data)
    with pytest.raises(HourglassError, match=r"before-1 cannot be continued: its tensor .* has sh"):
        continued(name, data, parent, width=WIDTH + 1)


class StopError(Exception):
    """Raised in the middle of a fit."""


@pytest.mark.parametrize("continues", [False, True], ids=["afresh", "continued"])
@pytest.mark.parametrize("name", VALUED)
def test_a_fit_that_was_cut_off_ends_in_the_same_weights(
    data: DataSet,
    later: DataSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    continues: bool,
) -> None:
    monkeypatch.setattr(Meter, "is_due", lambda self: True)  # however fast this machine is
    parameters = {**SMALL, "epochs": 3, "batch_events": 32, "checkpoint_s": 1e-9}
    if name != "i_autorec":
        parameters["user_dropout"] = 0.5
    parent = parent_of(fitted(name, data), data) if continues else None
    whole: Any = build(name, parameters)
    expected = whole.fit_with(later, 5, lambda progress: None, FitOptions(parent=parent))

    class Interrupted:
        reports = 0

        def __call__(self, progress: Any) -> None:
            self.reports += 1
            if self.reports == 8:
                raise StopError

    options = FitOptions(checkpoints=tmp_path / "c", parent=parent)
    cut_off: Any = build(name, parameters)
    with pytest.raises(StopError):
        cut_off.fit_with(later, 5, Interrupted(), options)
    assert (tmp_path / "c" / "fit" / "fit.safetensors").is_file()
    again: Any = build(name, {**parameters, "checkpoint_s": 60.0})
    heard: list[Any] = []
    assert again.fit_with(later, 5, heard.append, options) == expected
    assert heard[0].epoch > 1
    for tensor, value in whole.tensors().items():
        np.testing.assert_array_equal(again.tensors()[tensor], value, err_msg=tensor)
    for tensor, value in whole.optimiser_tensors().items():
        np.testing.assert_array_equal(again.optimiser_tensors()[tensor], value, err_msg=tensor)
