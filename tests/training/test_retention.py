"""Going on without forgetting: older targets, the parent's softmax, the parent's weights."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from synthetic import AS_OF_S, write_dataset
from torch import Tensor, nn
from torch.nn import functional

from pipeline.errors import UsageError
from training.batching.targets import TargetSplit, with_older
from training.data.reader import DataSet, Requests, read_dataset
from training.model_types import FitProgress, Tensors
from training.models import build
from training.models.parts.base import GradientTrained
from training.nn.build import plan_of
from training.nn.retention import Anchor, anchored, distillation
from training.trainer.interface import Batch, FitOptions, ParentWeights
from training.trainer.progress import Meter

N_ITEMS = 12
NAMES = [f"i{item:02d}" for item in range(N_ITEMS)]
SMALL: dict[str, Any] = {
    "width": 8,
    "epochs": 4,
    "batch_events": 100,
    "bptt_steps": 5,
    "learning_rate": 0.02,
    "validation_share": 0.0,
    "device": "cpu",
}
STEP: dict[str, Any] = {"continue_h": 6, "continue_epochs": 4}


def quiet(progress: FitProgress) -> None:
    """Nobody looks."""


def walks(seed: int, hours_ago: float, step: int) -> dict[str, list[tuple[str, float]]]:
    """Users who go ``step`` items further with each click."""
    rng = np.random.default_rng(seed)
    users = {}
    for user in range(40):
        first, start_s = int(rng.integers(N_ITEMS)), AS_OF_S - hours_ago * 3600 + user
        users[f"u{seed}-{user:02d}"] = [
            (NAMES[(first + step * at) % N_ITEMS], start_s + 60.0 * at) for at in range(8)
        ]
    return users


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    folder = tmp_path_factory.mktemp("walks") / "before"
    return read_dataset(write_dataset(folder, walks(1, 30, 1), vocabulary=NAMES))


@pytest.fixture(scope="module")
def later(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    """New users go the other way round."""
    folder = tmp_path_factory.mktemp("walks") / "later"
    users = walks(1, 30, 1) | walks(2, 3, -1)
    return read_dataset(write_dataset(folder, users, vocabulary=NAMES))


@pytest.fixture(scope="module")
def parent(before: DataSet) -> ParentWeights:
    model = build("gru4rec", SMALL)
    assert isinstance(model, GradientTrained)
    model.fit(before, 0, quiet)
    as_of_us = int((AS_OF_S - 10 * 3600) * 1e6)
    return ParentWeights("parent-1", model.tensors(), before.item_ids, None, as_of_us)


def fitted(data: DataSet, parent: ParentWeights | None = None, **parameters: Any) -> Any:
    model = build("gru4rec", {**SMALL, **parameters})
    assert isinstance(model, GradientTrained)
    model.fit_with(data, 3, quiet, FitOptions(parent=parent))
    return model


def tensors_of(model: Any) -> Tensors:
    return {name: tensor.copy() for name, tensor in model.tensors().items()}


def test_distillation_is_the_cross_entropy_under_the_teacher() -> None:
    generator = torch.Generator().manual_seed(0)
    scores, taught = (torch.randn(3, 5, generator=generator) for _ in range(2))
    expected = []
    for own, other in zip(scores.tolist(), taught.tolist(), strict=True):
        share = [np.exp(score) / sum(np.exp(other)) for score in other]
        log_p = [score - np.log(sum(np.exp(own))) for score in own]
        expected.append(-sum(p * log for p, log in zip(share, log_p, strict=True)))
    assert torch.allclose(distillation(scores, taught), torch.tensor(expected).float())


class Line(nn.Module):
    """A table and a weight, of which a batch uses some rows."""

    def __init__(self, sparse: bool) -> None:
        super().__init__()
        self.table = nn.Embedding(4, 2, sparse=sparse)
        self.slope = nn.Parameter(torch.tensor([0.5, -1.0]))
        nn.init.constant_(self.table.weight, 0.25)


class LineLearner:
    """Squared products of rows and slope, summed over the targets."""

    def __init__(self, sparse: bool) -> None:
        self.net = Line(sparse)

    def loss(self, batch: Batch, rng: np.random.Generator) -> Tensor:
        rows = torch.from_numpy(batch.cells[batch.target])
        return (self.net.table(rows) @ self.net.slope - 1).square().sum()


def batch_of(*cells: int) -> Batch:
    at = np.array([cells])
    full = np.ones(at.shape, np.bool_)
    return Batch(at, full, full, full, carries=False, n_targets=at.size)


@pytest.mark.parametrize("sparse", [False, True])
def test_the_importance_of_a_weight_is_its_mean_squared_gradient(sparse: bool) -> None:
    learner, batches = LineLearner(sparse), [batch_of(0, 1), batch_of(1, 1, 3)]
    anchor = anchored(learner, batches, 2.0, np.random.default_rng(0))
    squares = {"table.weight": np.zeros((4, 2)), "slope": np.zeros(2)}
    slope = np.array([0.5, -1.0])
    for batch in batches:
        rows = batch.cells[0].tolist()
        of_table, of_slope = np.zeros((4, 2)), np.zeros(2)
        for row in rows:
            error = np.array([0.25, 0.25]) @ slope - 1
            of_table[row] += 2 * error * slope / len(rows)
            of_slope += 2 * error * 0.25 / len(rows)
        squares["table.weight"] += of_table**2
        squares["slope"] += of_slope**2
    mean = (squares["table.weight"].sum() + squares["slope"].sum()) / 10
    for name, square in squares.items():
        assert np.allclose(anchor.importance[name].numpy(), square / mean, atol=1e-6)
    assert all(parameter.grad is None for parameter in learner.net.parameters())


@pytest.mark.parametrize("sparse", [False, True])
def test_the_penalty_is_a_sum_over_weights_and_of_tables_over_rows(sparse: bool) -> None:
    net = Line(sparse)
    before = {name: torch.zeros_like(each) for name, each in net.named_parameters()}
    importance = {name: torch.full_like(each, 3.0) for name, each in net.named_parameters()}
    importance["slope"][0] = 0.0
    anchor = Anchor(2.0, before, importance)
    rows = {"table.weight": torch.tensor([1, 3])} if sparse else {}
    penalty = anchor.penalty(net, rows)
    n_held = 4 if sparse else 8
    assert penalty.item() == pytest.approx(2.0 / 2 * (3 * n_held * 0.25**2 + 3 * 1.0))
    penalty.backward()  # type: ignore[no-untyped-call]
    gradient = net.table.weight.grad
    assert gradient is not None
    assert gradient.is_sparse is sparse
    of_row = np.full(2, 2.0 * 3 * 0.25)
    touched = [1, 3] if sparse else [0, 1, 2, 3]
    for row in range(4):
        expected = of_row if row in touched else np.zeros(2)
        assert np.allclose(gradient.to_dense()[row].numpy(), expected)


@pytest.mark.parametrize("negatives", [0, 6], ids=["dense", "sampled"])
def test_an_anchor_keeps_what_matters_and_lets_the_rest_move(
    later: DataSet, parent: ParentWeights, negatives: int
) -> None:
    moved = {}
    for strength in (0.0, 0.01, 100.0):
        model = fitted(later, parent, **STEP, negatives=negatives, continue_anchor=strength)
        difference = (
            tensors_of(model)["items.vector.weight"] - (parent.tensors["items.vector.weight"])
        )
        moved[strength] = float(np.abs(difference[1:]).mean())
    assert moved[100.0] < 0.6 * moved[0.0]
    assert moved[100.0] < moved[0.01] < moved[0.0]


def shares(model: Any, data: DataSet) -> Tensor:
    histories = data.histories
    events = np.flatnonzero(
        np.char.startswith(histories.user_ids.astype(str), "u1-")[user_of(data)]
    )
    requests = Requests.before(histories, events[events > 0])
    return torch.softmax(torch.from_numpy(model.score(histories, requests)), dim=1)


def user_of(data: DataSet) -> Any:
    return data.histories.user_of_event


@pytest.mark.parametrize("negatives", [0, 6], ids=["dense", "sampled"])
def test_distillation_keeps_what_the_parent_says(
    later: DataSet, parent: ParentWeights, negatives: int
) -> None:
    said = build("gru4rec", SMALL)
    said.load(parent.tensors)
    taught = shares(said, later)
    away = []
    for strength in (0.0, 5.0):
        model = fitted(later, parent, **STEP, negatives=negatives, continue_distil=strength)
        log_shares = shares(model, later).log()
        away.append(float(functional.kl_div(log_shares, taught, reduction="batchmean")))
    assert away[1] < 0.7 * away[0]


@pytest.mark.parametrize("negatives", [0, 20], ids=["dense", "sampled"])
def test_items_that_the_parent_never_met_are_not_held_back(
    tmp_path: Path, parent: ParentWeights, negatives: int
) -> None:
    """What the parent's network happens to say of them is nothing that it learned."""
    names = [*NAMES, *(f"n{item}" for item in range(12))]
    users = walks(1, 30, 1) | {
        f"new-{user:02d}": [
            (names[N_ITEMS + (user + at) % 12], AS_OF_S - 3 * 3600 + user + 60.0 * at)
            for at in range(8)
        ]
        for user in range(40)
    }
    data = read_dataset(write_dataset(tmp_path / "d", users, vocabulary=names))
    options = FitOptions(parent=parent)
    model = fitted(data, parent, **STEP, negatives=negatives, continue_distil=1.0)
    split = TargetSplit(data.histories.is_target, np.empty(0, np.int64))
    net = model.trained_net()
    learner = model._ranking_learner(data, split, net)
    learner.retention = model._retention(data, split, 3, options)
    with torch.no_grad():
        net.items.bias.weight += torch.randn(net.items.bias.weight.shape)  # away from the teacher
    rng = np.random.default_rng(0)
    batch = next(plan_of(model.parameters, data.histories, split.learned, 0).batches(0))
    event = batch.cells[batch.target]
    drawn = learner._drawn(batch, event, rng)
    scores = learner._scores(batch, event, drawn, 0.0)
    net.zero_grad()
    learner._held(batch, event, drawn, 0.0, scores).backward()
    gradient = net.items.bias.weight.grad.to_dense()[1:, 0].numpy()
    is_met = np.isin(data.item_ids, NAMES)
    assert (~is_met).sum() == 12
    assert not gradient[~is_met].any()
    assert (gradient[is_met] != 0).all()


def test_each_step_draws_other_older_targets(later: DataSet, parent: ParentWeights) -> None:
    later_as_of = later.manifest.model_copy(update={"as_of": later.manifest.as_of + 1})
    hour_later = dataclasses.replace(later, manifest=later_as_of)

    def vectors(data: DataSet, share: float) -> Any:
        return tensors_of(fitted(data, parent, **STEP, continue_kept=share))["items.vector.weight"]

    assert np.array_equal(vectors(later, 0.0), vectors(hour_later, 0.0))
    assert np.array_equal(vectors(later, 0.2), vectors(later, 0.2))
    assert not np.array_equal(vectors(later, 0.2), vectors(hour_later, 0.2))


def test_older_targets_are_learned_from_again(later: DataSet, parent: ParentWeights) -> None:
    """The old walks are forgotten less where as many of them are learned from as of the new."""
    histories = later.histories
    is_old = np.char.startswith(histories.user_ids.astype(str), "u1-")[user_of(later)]
    first = np.isin(np.arange(len(histories.item)), histories.offsets[:-1])
    events = np.flatnonzero(is_old & ~first)
    requests, target = Requests.before(histories, events), histories.item[events] - 1
    hits = []
    for share in (0.0, 1.0):
        model = fitted(later, parent, **{**STEP, "continue_epochs": 8}, continue_kept=share)
        best = model.score(histories, requests).argmax(axis=1)
        hits.append(float((best == target).mean()))
    assert hits[1] > hits[0] + 0.1


@pytest.mark.parametrize(("share", "n_older"), [(0.0, 0), (0.5, 5), (1.0, 10), (9.0, 30)])
def test_older_targets_are_drawn_once_each(share: float, n_older: int) -> None:
    targets = np.arange(50) % 5 != 0  # 40 of them
    recent = targets & (np.cumsum(targets) > 30)  # the latest 10
    drawn = with_older(recent, targets, share, np.random.default_rng(0))
    assert drawn[recent].all()
    assert not drawn[~targets].any()
    assert (drawn & ~recent).sum() == n_older


class StopError(Exception):
    """Raised in the middle of a fit."""


def test_a_step_that_was_cut_off_ends_in_the_same_weights(
    later: DataSet, parent: ParentWeights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The teacher's carried state and the anchor are the same after a restart."""
    monkeypatch.setattr(Meter, "is_due", lambda self: True)
    chosen: dict[str, Any] = {**SMALL, **STEP, "batch_events": 16, "checkpoint_s": 1e-9}
    chosen |= {"continue_kept": 0.5, "continue_distil": 1.0, "continue_anchor": 1.0}
    whole = fitted(later, parent, **chosen)
    reports: list[FitProgress] = []

    def interrupted(progress: FitProgress) -> None:
        reports.append(progress)
        if len(reports) == 7:
            raise StopError

    options = FitOptions(checkpoints=tmp_path / "c", parent=parent)
    cut_off = build("gru4rec", chosen)
    assert isinstance(cut_off, GradientTrained)
    with pytest.raises(StopError):
        cut_off.fit_with(later, 3, interrupted, options)
    again = build("gru4rec", chosen)
    assert isinstance(again, GradientTrained)
    again.fit_with(later, 3, quiet, options)
    for name, tensor in whole.tensors().items():
        np.testing.assert_array_equal(again.tensors()[name], tensor, err_msg=name)


def test_what_a_first_fit_does_is_not_touched(before: DataSet) -> None:
    held = {"continue_kept": 1.0, "continue_distil": 1.0, "continue_anchor": 1.0}
    plain, other = (tensors_of(fitted(before, **STEP, **each)) for each in ({}, held))
    assert all(np.array_equal(plain[name], other[name]) for name in plain)


@pytest.mark.parametrize("name", ["continue_kept", "continue_distil", "continue_anchor"])
def test_less_than_nothing_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=name):
        build("gru4rec", {name: -1.0})


@pytest.mark.parametrize("name", ["continue_distil", "continue_anchor"])
def test_models_that_predict_values_are_not_held(name: str) -> None:
    with pytest.raises(UsageError, match="does not rank"):
        build("hrnn_rating", {name: 1.0})


def test_a_parent_that_knows_nothing_leaves_everything_free(
    later: DataSet, parent: ParentWeights
) -> None:
    """Without a batch to measure by, no weight matters."""
    unknown = dataclasses.replace(parent, as_of_us=0)
    free, held = (
        tensors_of(fitted(later, unknown, **STEP, continue_anchor=strength))
        for strength in (0.0, 5.0)
    )
    assert all(np.array_equal(free[name], held[name]) for name in free)
