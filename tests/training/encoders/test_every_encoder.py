"""What every encoder must do, whatever it computes: see no future, forget, go on, serve."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from encoding import ENCODER_NAMES, encoder_of, random_steps, states_of, steps_between
from small_models import small
from synthetic import AS_OF_S, write_dataset

from pipeline.errors import UsageError
from training.data.reader import DataSet, Requests, read_dataset
from training.models import build
from training.models.parts.base import GradientTrained, Model
from training.nn.steps import RecurrentEncoder
from training.trainer.interface import FitOptions, ParentWeights

CLOSE = {"rtol": 0.0, "atol": 1e-5}
N_ITEMS = 12
NAMES = [f"i{item:02d}" for item in range(N_ITEMS)]
every_encoder = pytest.mark.parametrize("name", ENCODER_NAMES)
FORMS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in ENCODER_NAMES),
    ("asars", {"dwell_bias": 3}),
    ("mtam", {"unit": "t_seqrec"}),
]
every_form = pytest.mark.parametrize(
    ("name", "options"), FORMS, ids=["-".join([name, *map(str, p.values())]) for name, p in FORMS]
)


@every_form
def test_states_of_each_prefix_alone_are_those_of_the_whole(
    name: str, options: dict[str, Any]
) -> None:
    encoder, steps = encoder_of(name, **options), random_steps(begins_at=((1, 4), (2, 2), (2, 5)))
    whole = states_of(encoder, steps)
    assert whole.shape == (3, 9, steps.width)
    for stop in range(1, 10):
        alone = states_of(encoder, steps_between(steps, 0, stop))
        torch.testing.assert_close(alone, whole[:, :stop], **CLOSE)


@every_form
def test_nothing_later_changes_a_state(name: str, options: dict[str, Any]) -> None:
    encoder, steps = encoder_of(name, **options), random_steps()
    before = states_of(encoder, steps)
    for since in (1, 4, 8):
        other = random_steps(seed=7)
        later = torch.arange(9) >= since
        mixed = dataclasses.replace(
            steps,
            inputs=torch.where(later[:, None], other.inputs * 50, steps.inputs),
            time_s=torch.where(later, steps.time_s + other.time_s, steps.time_s),
            elapsed_s=torch.where(later, other.elapsed_s, steps.elapsed_s),
            dwell=torch.where(later, other.dwell, steps.dwell),
            begins=steps.begins | (torch.arange(9) == since),
        )
        after = states_of(encoder, mixed)
        torch.testing.assert_close(after[:, :since], before[:, :since], **CLOSE)
        assert (after[:, since:] - before[:, since:]).abs().max() > 1e-3


@every_form
def test_a_segment_knows_nothing_of_the_one_before(name: str, options: dict[str, Any]) -> None:
    encoder, steps = encoder_of(name, **options), random_steps(begins_at=((0, 4), (1, 4), (2, 4)))
    whole = states_of(encoder, steps)
    alone = states_of(encoder, steps_between(steps, 4, 9))
    torch.testing.assert_close(whole[:, 4:], alone, **CLOSE)


@every_form
def test_rows_do_not_touch(name: str, options: dict[str, Any]) -> None:
    encoder, steps = encoder_of(name, **options), random_steps()
    whole = states_of(encoder, steps)
    for row in range(3):
        only = dataclasses.replace(
            steps,
            **{
                field.name: getattr(steps, field.name)[row : row + 1]
                for field in dataclasses.fields(steps)
                if field.name != "width"
            },
        )
        torch.testing.assert_close(states_of(encoder, only), whole[row : row + 1], **CLOSE)


@every_form
def test_every_weight_learns(name: str, options: dict[str, Any]) -> None:
    encoder, steps = encoder_of(name, **options), random_steps()
    steps.inputs.requires_grad_()
    if isinstance(encoder, RecurrentEncoder):
        states, _ = encoder(steps, encoder.begin(3))
    else:
        states = encoder(steps)
    (
        states * torch.randn(states.shape, generator=torch.Generator().manual_seed(5))
    ).sum().backward()
    for weight_name, weight in encoder.named_parameters():
        assert weight.grad is not None, weight_name
        assert weight.grad.abs().max() > 0, weight_name
    assert steps.inputs.grad is not None  # an encoder may have no weights but the item tables
    assert steps.inputs.grad.abs().max() > 0


@pytest.mark.parametrize(
    "name", [name for name in ENCODER_NAMES if isinstance(encoder_of(name), RecurrentEncoder)]
)
@pytest.mark.parametrize("cut", [1, 4, 8])
def test_a_carried_state_goes_on_where_it_stopped(name: str, cut: int) -> None:
    encoder, steps = encoder_of(name), random_steps(begins_at=((1, 5),))
    assert isinstance(encoder, RecurrentEncoder)
    with torch.no_grad():
        whole, after = encoder(steps, encoder.begin(3))
        _, carried = encoder(steps_between(steps, 0, cut), encoder.begin(3))
        carried = {tensor_name: tensor[:, -1] for tensor_name, tensor in carried.items()}
        rest = steps_between(steps, cut, 9)
        # The row goes on: its first step here is no first step.
        rest = dataclasses.replace(rest, begins=steps.begins[:, cut:])
        states, at_end = encoder(rest, carried)
    torch.testing.assert_close(states, whole[:, cut:], **CLOSE)
    for tensor_name, tensor in after.items():
        torch.testing.assert_close(at_end[tensor_name], tensor[:, cut:], **CLOSE)


def walks(n_users: int, names: list[str], seed: int = 1) -> dict[str, list[tuple[str, float]]]:
    """Users who walk through the items in a fixed order, with jumps; some of them for long."""
    rng = np.random.default_rng(seed)
    follower = np.random.default_rng(99).permutation(len(names))
    users = {}
    for user in range(n_users):
        item, time, events = int(rng.integers(len(names))), AS_OF_S - 9e4, []
        for _ in range(int(rng.integers(1, 30))):
            item = int(follower[item] if rng.random() < 0.9 else rng.integers(len(names)))
            time += float(rng.exponential(2500))
            if time < AS_OF_S:
                events.append((names[item], time))
        if events:
            users[f"u{user:03d}"] = events
    return users


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    folder = tmp_path_factory.mktemp("walks") / "d"
    return read_dataset(write_dataset(folder, walks(20, NAMES), vocabulary=NAMES))


def fitted(name: str, data: DataSet, **parameters: object) -> Model:
    model = build(name, small(name, max_len=8, validation_share=0.0, **parameters))
    model.fit(data, 0, lambda progress: None)
    return model


def requests_of(data: DataSet) -> Requests:
    """Each event at its time, and beside them requests a while after an event, or after none."""
    h = data.histories
    event = np.arange(len(h.item))
    user = h.user_of_event[event]
    length = event - h.offsets[user]
    later = np.flatnonzero(event % 3 == 0)
    return Requests(
        np.concatenate([user, user[later]]),
        np.concatenate([length, length[later]]),
        np.concatenate([h.time_us[event], h.time_us[event][later] + 4_000_000_000]),
    )


@every_encoder
@pytest.mark.parametrize("plan", ["windows", "session_windows"])
def test_a_request_is_answered_as_if_it_were_alone(name: str, plan: str, data: DataSet) -> None:
    model = fitted(name, data, plan=plan, dwell_input=True, delta_input=True)
    requests = requests_of(data)
    together = model.score(data.histories, requests)
    rng = np.random.default_rng(0)
    for row in rng.choice(len(requests), 12, replace=False):
        # Its own history and nothing later, as whoever asks in earnest has it.
        user, length = int(requests.user[row]), int(requests.length[row])
        first = int(data.histories.offsets[user])
        known = dataclasses.replace(
            data.histories,
            user_ids=data.histories.user_ids[user : user + 1],
            offsets=np.array([0, length]),
            n_context=data.histories.n_context[user : user + 1],
            **{
                column: np.asarray(getattr(data.histories, column))[first : first + length]
                for column in (
                    "item",
                    "time_us",
                    "session_start",
                    "dwell_s",
                    "dwell_bin",
                    "event_type",
                    "value",
                    "context",
                )
            },
        )
        alone = Requests(np.array([0]), np.array([length]), requests.now_us[row : row + 1])
        np.testing.assert_allclose(model.score(known, alone)[0], together[row], rtol=0, atol=1e-5)


@every_encoder
def test_a_model_is_kept_continued_and_follows_the_trend(
    name: str, data: DataSet, tmp_path: Path
) -> None:
    model = fitted(name, data)
    again = build(name, small(name, max_len=8, validation_share=0.0))
    again.load(model.tensors())
    requests = requests_of(data)
    scores = model.score(data.histories, requests)
    np.testing.assert_array_equal(again.score(data.histories, requests), scores)

    more = [*NAMES, "j0", "j1"]
    grown = read_dataset(write_dataset(tmp_path / "d", walks(20, more), vocabulary=more))
    going_on = build(name, small(name, max_len=8, validation_share=0.0, trend=True))
    assert isinstance(going_on, GradientTrained)
    parent = build(name, small(name, max_len=8, validation_share=0.0, trend=True))
    parent.fit(data, 0, lambda progress: None)
    start = ParentWeights("parent", parent.tensors(), data.item_ids)
    going_on.fit_with(grown, 0, lambda progress: None, FitOptions(parent=start))
    assert going_on.score(grown.histories, requests_of(grown)).shape[1] == len(more)


def test_a_plan_that_carries_a_state_needs_an_encoder_that_has_one() -> None:
    with pytest.raises(UsageError, match="windows or session_windows"):
        build("fmc", {"plan": "users"})


HALF = [
    *((name, {}) for name in ENCODER_NAMES),
    ("gru_layers", {"layer_norm": True}),
    ("narm", {"attention": "dot"}),
    ("asars", {"variant": "time_user", "user_width": 8}),
    ("m3", {"unit": "conv"}),
]


@pytest.mark.parametrize(
    ("name", "chosen"), HALF, ids=["-".join([name, *map(str, p.values())]) for name, p in HALF]
)
def test_products_may_be_of_half_precision(
    name: str, chosen: dict[str, Any], data: DataSet
) -> None:
    parameters = {**small(name), "negatives": 5, "precision": "bfloat16", **chosen}
    model = build(name, {**parameters, "validation_share": 0.0})
    metrics = model.fit(data, 0, lambda _: None)
    assert np.isfinite(metrics["loss"])


def test_who_does_not_tell_users_apart_has_no_vectors_of_them() -> None:
    for name in ("sasrec", "hrnn", "hrnn_trend"):
        with pytest.raises(UsageError, match=f"{name} does not tell users apart"):
            build(name, {"user_width": 8})
