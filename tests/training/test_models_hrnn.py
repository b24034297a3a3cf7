"""HRNN: its inputs by hand, its states against a loop over the GRU, and what its inputs are for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from synthetic import AS_OF_S, write_dataset

from pipeline.errors import HourglassError
from training.data.reader import DataSet, Requests, read_dataset
from training.models import build
from training.models.parts.base import Model
from training.nn.step_inputs import EventSteps, SessionRule, StepInputs, ValueScale, request_inputs

HOUR_S = 3600
RULE = SessionRule(gap_s=HOUR_S, dwell_width_s=60.0, dwell_bins=16)
PLAIN = ValueScale()
SMALL = {"width": 8, "epochs": 2, "device": "cpu", "validation_share": 0.0}


def inputs_of_all(data: DataSet, rule: SessionRule = RULE) -> StepInputs:
    return EventSteps(data.histories, rule, PLAIN).at(np.arange(len(data.histories.item)))


def fit(name: str, data: DataSet, seed: int = 0, **parameters: object) -> Model:
    system = build(name, {"device": "cpu", **parameters})
    system.fit(data, seed, lambda progress: None)
    return system


def requests_for_targets(data: DataSet) -> tuple[Requests, NDArray[np.int32]]:
    """Each target of a test part, asked at the moment it happened."""
    event = np.flatnonzero(data.histories.is_target)
    user = data.histories.user_of_event[event]
    length = event - data.histories.offsets[user]
    return Requests(user, length, data.histories.time_us[event]), data.histories.item[event]


def first_hits(system: Model, data: DataSet) -> float:
    requests, item = requests_for_targets(data)
    return float(np.mean(system.score(data.histories, requests).argmax(axis=1) + 1 == item))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    start = AS_OF_S - 9 * HOUR_S
    users = {
        "ann": [("a", start), ("b", start + 70), ("c", start + 70 + HOUR_S), ("a", start + 8000)],
        "bob": [("c", start + 9)],
    }
    return read_dataset(write_dataset(tmp_path_factory.mktemp("tiny") / "d", users))


def test_inputs_by_hand(tiny: DataSet) -> None:
    inputs = inputs_of_all(tiny)
    # ann: nothing, 70 s, 3600 s, 4330 s before; bob: nothing before.
    assert inputs.item.tolist() == [0, 1, 2, 3, 0]
    assert inputs.session_start.tolist() == [True, False, True, True, True]
    assert inputs.delta.tolist() == [25, 6, 11, 12, 25]  # floor(log2(1 + seconds)); 25 = none
    assert inputs.dwell.tolist() == [0, 2, 0, 0, 0]  # 70 s is in the second minute


@pytest.mark.parametrize(
    ("length", "later_s", "item", "starts", "delta", "dwell"),
    [
        (0, 0, 0, True, 25, 0),
        (1, 0, 1, False, 0, 1),
        (1, 59, 1, False, 5, 1),
        (1, 60, 1, False, 5, 2),
        (1, 3599, 1, False, 11, 16),  # the last bin holds the tail
        (1, 3600, 1, True, 11, 0),
        (2, 10**9, 2, True, 24, 0),
        (1, -50, 1, False, 0, 1),  # a clock that runs behind
    ],
)
def test_inputs_of_a_request_by_hand(
    tiny: DataSet, length: int, later_s: int, item: int, starts: bool, delta: int, dwell: int
) -> None:
    last_us = tiny.histories.time_us[max(0, length - 1)]
    request = Requests(np.array([0]), np.array([length]), last_us + np.array([later_s * 10**6]))
    inputs = request_inputs(tiny.histories, request, RULE, PLAIN)
    found = (inputs.item[0], inputs.session_start[0], inputs.delta[0], inputs.dwell[0])
    assert found == (item, starts, delta, dwell)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    rng = np.random.default_rng(6)
    users = {}
    for user in range(25):
        times = AS_OF_S - 200_000 + np.cumsum(rng.exponential(2500, size=rng.integers(1, 25)))
        items = rng.integers(0, 20, size=len(times))
        users[f"u{user:02d}"] = [
            (f"i{item:02d}", float(time)) for item, time in zip(items, times, strict=True)
        ]
    return read_dataset(write_dataset(tmp_path_factory.mktemp("mixed") / "d", users))


def test_a_request_at_the_moment_of_an_event_has_its_inputs(mixed: DataSet) -> None:
    h = mixed.histories
    event = np.arange(len(h.item))
    user = h.user_of_event
    asked = request_inputs(h, Requests(user, event - h.offsets[user], h.time_us), RULE, PLAIN)
    trained = inputs_of_all(mixed)
    assert np.array_equal(asked.item, trained.item)
    assert np.array_equal(asked.session_start, trained.session_start)
    assert np.array_equal(asked.delta, trained.delta)
    assert np.array_equal(asked.dwell, trained.dwell)


def test_dwell_inputs_are_the_bins_of_the_data_set(mixed: DataSet) -> None:
    h = mixed.histories
    inside = np.flatnonzero(~h.session_start)
    assert np.array_equal(inputs_of_all(mixed).dwell[inside], h.dwell_bin[inside - 1])


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"session_input": False, "delta_input": False, "dwell_input": False},
        {"dwell_input": False},
    ],
)
def test_scores_are_the_recurrence(mixed: DataSet, told: dict[str, bool]) -> None:
    """One step at a time in plain numpy: gates, state, inner product with each item, bias."""
    system = fit("hrnn", mixed, **SMALL, **told)
    w = system.tensors()
    requests, _ = requests_for_targets(mixed)
    requests = requests.take(np.arange(0, len(requests), 7))
    scores = system.score(mixed.histories, requests)

    def sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return 1 / (1 + np.exp(-x))

    earlier = inputs_of_all(mixed)
    for row in range(len(requests)):
        first = mixed.histories.offsets[requests.user[row]]
        steps = range(first, first + requests.length[row] + 1)  # the last predicts the target
        state = np.zeros(8)
        for step in steps:
            x = [w["items.vector.weight"][earlier.item[step]]]
            if told.get("session_input", True):
                x.append([float(earlier.session_start[step])])
            if "delta.weight" in w:
                x.append(w["delta.weight"][earlier.delta[step]])
            if "dwell.weight" in w:
                x.append(w["dwell.weight"][earlier.dwell[step]])
            into = w["cell.weight_ih"] @ np.concatenate(x) + w["cell.bias_ih"]
            back = w["cell.weight_hh"] @ state + w["cell.bias_hh"]
            reset, update = (sigmoid(into[k : k + 8] + back[k : k + 8]) for k in (0, 8))
            new = np.tanh(into[16:] + reset * back[16:])
            state = (1 - update) * new + update * state
        expected = w["items.vector.weight"][1:] @ state + w["items.bias.weight"][1:, 0]
        assert np.allclose(scores[row], expected, atol=1e-4)


def test_context_events_are_no_targets(tmp_path: Path) -> None:
    """Only a later event differs between the logs; the losses of one batch must tell of it."""
    events = [("abc"[step % 3], AS_OF_S - 40_000 + 50 * step) for step in range(30)]
    events += [("d", AS_OF_S - 60), ("e", AS_OF_S - 30)]
    data = read_dataset(write_dataset(tmp_path / "d", {"u": events}, window_start="2016-03-14T12"))
    system = fit("hrnn", data, epochs=60, dropout=0.0, learning_rate=0.02, width=8)
    request = Requests(np.array([0, 0]), np.array([5, 31]), data.histories.time_us[[5, 31]])
    scores = system.score(data.histories, request)
    # a, b and c are never answers, so they are scored down even where they always come next.
    assert set(scores[0].argsort()[-2:].tolist()) == {3, 4}
    assert scores[1].argmax() == 4


def test_repeats_are_targets_only_on_request(tmp_path: Path) -> None:
    users = {"u": [("a", AS_OF_S - 90 + step) for step in range(20)]}
    data = read_dataset(write_dataset(tmp_path / "d", users))
    only_first = fit("hrnn", data, epochs=1, width=4)
    assert only_first.score(data.histories, requests_for_targets(data)[0]).shape == (20, 1)
    twice = {"u": [("a", AS_OF_S - 90), ("a", AS_OF_S - 80)]}
    context = read_dataset(
        write_dataset(
            tmp_path / "e", {**twice}, window_start="2016-03-14T12", as_of="2016-03-14T13"
        )
    )
    assert fit("hrnn", context, repeats=True, epochs=1, width=4).name == "hrnn"


def test_sampled_and_dense_training_agree(tmp_path: Path) -> None:
    base, test = chain_log(tmp_path, n_users=120)
    dense = first_hits(fit("hrnn", base, **LEARN), test)
    sampled = first_hits(fit("hrnn", base, negatives=20, **LEARN), test)
    assert dense > 0.6
    assert sampled > 0.85 * dense


def test_progress_is_told_and_ends_at_one(mixed: DataSet) -> None:
    told = []
    metrics = build("hrnn", SMALL).fit(mixed, 0, told.append)
    fractions = [progress.fraction for progress in told]
    assert fractions == sorted(fractions)
    assert fractions[0] > 0
    assert fractions[-1] == pytest.approx(1)
    assert {progress.epoch for progress in told} == {1, 2}
    assert metrics["loss"] == told[-1].loss
    assert all(progress.events_per_s > 0 for progress in told)


def test_the_seed_decides_the_weights_and_disturbs_no_one(mixed: DataSet) -> None:
    import torch

    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    one, same, other = (
        fit("hrnn", mixed, seed, negatives=5, **SMALL).tensors() for seed in (1, 1, 2)
    )
    assert torch.equal(torch.rand(1), expected)
    assert all(np.array_equal(one[name], same[name]) for name in one)
    assert not np.array_equal(one["items.vector.weight"], other["items.vector.weight"])


def test_a_loss_that_is_no_number(mixed: DataSet) -> None:
    with pytest.raises(HourglassError, match=r"hrnn: the loss became (nan|inf) in epoch 1"):
        fit("hrnn", mixed, learning_rate=1e36, max_gradient_norm=1e36, width=8)


def test_scoring_before_fitting(tiny: DataSet) -> None:
    with pytest.raises(HourglassError, match="hrnn has not been trained: fit or load it first"):
        build("hrnn", {}).score(tiny.histories, Requests(*(np.zeros(1, np.int64),) * 3))


def test_tensors_of_another_shape(mixed: DataSet) -> None:
    tensors = fit("hrnn", mixed, **SMALL).tensors()
    with pytest.raises(HourglassError, match=r"tensor 'items.vector.weight' has shape \(21, 8\)"):
        build("hrnn", {"width": 9}).load(tensors)


# What the inputs are for: the same log, with and without them.

N_ITEMS = 30
LEARN = {"width": 32, "epochs": 6, "learning_rate": 0.03, "dropout": 0.1, "validation_share": 0.0}
NOTHING_TOLD = {"session_input": False, "delta_input": False, "dwell_input": False}


def chain_log(
    folder: Path, n_users: int, gaps_s: tuple[int, int] = (30, 30), seed: int = 1
) -> tuple[DataSet, DataSet]:
    """Users who move to a follower of their item, 9 times of 10.

    Which of two followers depends on which of two gaps lies before the event, drawn by a coin.
    """
    rng = np.random.default_rng(seed)
    followers = [rng.permutation(N_ITEMS) for _ in range(2)]
    users = {}
    for user in range(n_users):
        time, item, events = AS_OF_S - 500_000.0, int(rng.integers(N_ITEMS)), []
        for _ in range(20):
            coin = int(rng.integers(2))
            time += gaps_s[coin] * rng.uniform(1.0, 1.2)
            known = followers[coin if gaps_s[0] != gaps_s[1] else 0][item]
            item = int(known if rng.random() < 0.9 else rng.integers(N_ITEMS))
            events.append((f"i{item:02d}", time))
        users[f"u{user:03d}"] = events
    names = [f"i{item:02d}" for item in range(N_ITEMS)]
    held = dict(list(users.items())[: n_users // 4])
    base = {user: events for user, events in users.items() if user not in held}
    made = write_dataset(folder / "base", base, vocabulary=names)
    return read_dataset(made), read_dataset(write_dataset(folder / "test", held, base=made))


def test_hrnn_learns_what_follows_what_and_pop_cannot(tmp_path: Path) -> None:
    base, test = chain_log(tmp_path, n_users=120)
    # 9 of 10 followers are certain, and a user's first item is a guess.
    assert first_hits(fit("hrnn", base, **LEARN), test) > 0.7
    pop = build("pop", {})
    pop.fit(base, 0, lambda progress: None)
    assert first_hits(pop, test) < 0.15


@pytest.mark.parametrize(
    ("gaps_s", "inputs"),
    [
        ((30, 2 * HOUR_S), ("session_input", "delta_input")),
        ((30, 1500), ("delta_input", "dwell_input")),
    ],
    ids=["between sessions", "within a session"],
)
def test_each_time_input_tells_what_items_alone_cannot(
    tmp_path: Path, gaps_s: tuple[int, int], inputs: tuple[str, ...]
) -> None:
    base, test = chain_log(tmp_path, n_users=140, gaps_s=gaps_s)
    without = first_hits(fit("hrnn", base, **LEARN, **NOTHING_TOLD), test)
    assert without < 0.55  # a coin decides between the two followers
    for told in inputs:
        system = fit("hrnn", base, **LEARN, **{**NOTHING_TOLD, told: True})
        assert first_hits(system, test) > 0.65
