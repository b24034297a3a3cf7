"""Recurrent systems as a whole: carried states, stopping, resuming, continuing."""

from __future__ import annotations

import dataclasses
import shutil
import sysconfig
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from synthetic import AS_OF_S, Known, write_dataset
from torch.nn import functional

from pipeline.errors import HourglassError
from pipeline.settings.learning import EvaluationSettings
from training.batching.targets import TargetSplit
from training.data.reader import DataSet, Requests, read_dataset
from training.metrics.ranking import find_targets
from training.model_types import FitProgress
from training.models import build
from training.models.parts.base import GradientTrained, Model
from training.nn.build import negatives_of, plan_of
from training.nn.input_encoding import InputEncoding
from training.nn.step_inputs import EventSteps, SessionRule, ValueScale, request_inputs
from training.trainer.interface import Batch, FitOptions, ParentWeights
from training.trainer.progress import Meter

N_ITEMS = 15
SMALL: dict[str, Any] = {
    "width": 12,
    "epochs": 3,
    "batch_events": 200,
    "bptt_steps": 5,
    "learning_rate": 0.02,
    "dropout": 0.2,
    "input_dropout": 0.2,
    "device": "cpu",
}


def walks(n_users: int, seed: int, names: list[str]) -> dict[str, list[tuple[str, float]]]:
    """Users who walk through the items in a fixed order, with jumps."""
    rng = np.random.default_rng(seed)
    follower = np.random.default_rng(99).permutation(len(names))
    users = {}
    for user in range(n_users):
        item, time, events = int(rng.integers(len(names))), AS_OF_S - rng.uniform(5e4, 9e4), []
        for _ in range(int(rng.integers(2, 40))):
            item = int(follower[item] if rng.random() < 0.9 else rng.integers(len(names)))
            time += float(rng.exponential(900))
            if time < AS_OF_S:
                events.append((names[item], time))
        if events:
            users[f"u{user:03d}"] = events
    return users


NAMES = [f"i{item:02d}" for item in range(N_ITEMS)]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    folder = tmp_path_factory.mktemp("walks") / "d"
    return read_dataset(write_dataset(folder, walks(60, 1, NAMES), vocabulary=NAMES))


def quiet(progress: FitProgress) -> None:
    """Nobody looks."""


def everything(data: DataSet) -> TargetSplit:
    """Learning from all targets, with nothing kept apart."""
    return TargetSplit(data.histories.is_target, np.zeros(0, np.int64))


def requests_of(data: DataSet) -> tuple[Requests, Any]:
    h = data.histories
    event = np.flatnonzero(h.is_target)
    user = h.user_of_event[event]
    return Requests(user, event - h.offsets[user], h.time_us[event]), h.item[event]


@pytest.mark.parametrize("name", ["hrnn", "gru4rec", "hrnn_trend"])
@pytest.mark.parametrize("negatives", [0, 10])
def test_states_are_carried_from_batch_to_batch(data: DataSet, name: str, negatives: int) -> None:
    """The dense loss of every step on lanes is that of the request asked at that moment."""
    told = {"dropout": 0.0, "input_dropout": 0.0, "epochs": 1, "validation_share": 0.0}
    if name == "hrnn_trend":
        told["mixture"] = False  # what is weighed beside the network takes no part in its loss
    system = build(name, {**SMALL, **told, "negatives": negatives, "repeats": True})
    system.fit(data, 0, quiet)
    requests, item = requests_of(data)
    log_p = functional.log_softmax(torch.from_numpy(system.score(data.histories, requests)), dim=1)
    expected = -log_p[torch.arange(len(item)), torch.from_numpy(item.astype(np.int64)) - 1]

    dense = build(name, {**SMALL, **told, "negatives": 0, "repeats": True})
    dense.load(system.tensors())
    targets = data.histories.is_target
    learner = dense._learner(data, TargetSplit(targets, np.empty(0, np.int64)))
    dense._net.eval()
    plan = plan_of(dense.parameters, data.histories, targets, 0)
    total, rng = 0.0, np.random.default_rng(0)
    with torch.no_grad():
        for batch in plan.batches(1):
            total += float(learner.loss(batch, rng))
    assert total == pytest.approx(float(expected.sum()), rel=1e-4)


def test_a_batch_without_rows_costs_nothing(data: DataSet) -> None:
    system = build("hrnn", {**SMALL, "epochs": 1})
    system.fit(data, 0, quiet)
    nothing = TargetSplit(data.histories.is_target, np.empty(0, np.int64))
    learner = system._learner(data, nothing)
    cells, mask = np.zeros((0, 5), np.int64), np.zeros((0, 5), bool)
    loss = learner.loss(Batch(cells, mask, mask, mask, True, 7), np.random.default_rng(0))
    assert float(loss) == 0.0


def test_learning_stops_when_the_latest_events_are_met_no_better(data: DataSet) -> None:
    told: list[FitProgress] = []
    system = build("hrnn", {**SMALL, "epochs": 30, "learning_rate": 0.05, "patience": 2})
    metrics = system.fit(data, 0, told.append)
    assert 1 <= metrics["best_epoch"] < 30
    assert metrics["epochs"] == metrics["best_epoch"]  # the second fit, on everything
    assert 0.3 < metrics["validation_mrr_20"] <= 1
    search = build("hrnn", {**SMALL, "epochs": 30, "learning_rate": 0.05, "patience": 2,
                            "refit": False}).fit(data, 0, quiet)  # fmt: skip
    assert search["best_epoch"] == metrics["best_epoch"]
    assert search["epochs"] <= search["best_epoch"] + 2


class StopError(Exception):
    """Raised in the middle of a fit."""


RESUMED = {**SMALL, "negatives": 8, "checkpoint_s": 1e-9}


@pytest.fixture(scope="module")
def uncut(data: DataSet) -> tuple[Model, dict[str, float]]:
    """A system that was fitted undisturbed, and the metrics of its fit."""
    whole = build("hrnn_trend", RESUMED)
    return whole, whole.fit(data, 5, quiet)


# In the first epoch, in the second, and in the second fit, which learns from everything.
@pytest.mark.parametrize(
    "stop_at",
    [pytest.param(2, marks=pytest.mark.nightly), 30, pytest.param(70, marks=pytest.mark.nightly)],
)
def test_a_fit_that_was_cut_off_ends_in_the_same_weights(
    data: DataSet,
    uncut: tuple[Model, dict[str, float]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stop_at: int,
) -> None:
    monkeypatch.setattr(Meter, "is_due", lambda self: True)  # however fast this machine is
    whole, expected = uncut

    class Interrupted:
        reports = 0

        def __call__(self, progress: FitProgress) -> None:
            self.reports += 1
            if self.reports == stop_at:
                raise StopError

    options = FitOptions(checkpoints=tmp_path / "c")
    with pytest.raises(StopError):
        build("hrnn_trend", RESUMED).fit_with(data, 5, Interrupted(), options)
    assert any((tmp_path / "c").rglob("*.safetensors"))
    again = build("hrnn_trend", RESUMED)
    assert again.fit_with(data, 5, quiet, options) == expected
    for name, tensor in whole.tensors().items():
        assert np.array_equal(again.tensors()[name], tensor), name
    for name, tensor in whole.optimiser_tensors().items():
        assert np.array_equal(again.optimiser_tensors()[name], tensor), name


def start_of(system: Model, data: DataSet) -> ParentWeights:
    assert isinstance(system, GradientTrained)
    return ParentWeights("before-1", system.tensors(), data.item_ids, system.optimiser_tensors())


def test_going_on_from_a_model_keeps_what_it_knows(data: DataSet, tmp_path: Path) -> None:
    """The new vocabulary has the items in another order, one less and three more."""
    dense = {**SMALL, "epochs": 1, "negatives": 0, "validation_share": 0.0}
    before = build("hrnn", {**dense, "epochs": 8})
    before.fit(data, 0, quiet)
    names = [*NAMES[:0:-1], "new1", "new2", "new3"]
    later = read_dataset(write_dataset(tmp_path / "later", walks(60, 1, NAMES), vocabulary=names))
    started = build("hrnn", dense)
    net, optimiser = None, None
    told: list[FitProgress] = []
    options = FitOptions(parent=start_of(before, data))
    started.fit_with(later, 0, told.append, options)
    fresh: list[FitProgress] = []
    build("hrnn", dense).fit(later, 0, fresh.append)
    assert told[0].loss < 0.6 * fresh[0].loss

    net, optimiser = started._built(later, everything(later), 3, options.parent)
    known = before.tensors()["items.vector.weight"]
    place = {name: at for at, name in enumerate(["", *NAMES])}
    for row, name in enumerate(["", *names]):
        vector = net.items.vector.weight[row].detach().numpy()
        if name in place:
            assert np.array_equal(vector, known[place[name]])
        else:
            assert not any(np.array_equal(vector, one) for one in known)
    assert optimiser is not None
    moment = optimiser["items.vector.weight/exp_avg"]
    assert np.array_equal(moment[1], before.optimiser_tensors()["items.vector.weight/exp_avg"][15])
    assert not moment[-3:].any()


def test_a_short_step_on_is_as_long_as_its_rate(data: DataSet) -> None:
    """Without what the optimiser remembered, Adam's steps are of the length of the rate."""
    dense = {**SMALL, "negatives": 0, "validation_share": 0.0}
    before = build("hrnn", dense)
    before.fit(data, 0, quiet)
    start = dataclasses.replace(start_of(before, data), optimiser=None)
    vectors = "items.vector.weight"

    def moved(rate: float) -> float:
        short = {"continue_h": 24, "continue_epochs": 1, "continue_rate": rate}
        on = build("hrnn", {**dense, **short})
        on.fit_with(data, 0, quiet, FitOptions(parent=start))
        return float(np.abs(on.tensors()[vectors] - before.tensors()[vectors]).mean())

    assert 0 < moved(0.01) < 0.05 * moved(1.0)
    # A fit from scratch knows no such thing.
    slow = build("hrnn", {**dense, "continue_h": 24, "continue_rate": 0.01})
    slow.fit(data, 0, quiet)
    assert np.array_equal(slow.tensors()[vectors], before.tensors()[vectors])


def test_going_on_with_other_sizes_is_refused(data: DataSet) -> None:
    before = build("hrnn", {**SMALL, "epochs": 1})
    before.fit(data, 0, quiet)
    options = FitOptions(parent=start_of(before, data))
    with pytest.raises(HourglassError, match=r"before-1 cannot be continued: its tensor .* has sh"):
        build("hrnn", {**SMALL, "width": 9}).fit_with(data, 0, quiet, options)
    with pytest.raises(HourglassError, match=r"before-1 has no tensor 'temperature'"):
        build("hrnn_trend", SMALL).fit_with(data, 0, quiet, options)


def test_metadata_travel_with_the_model(tmp_path: Path) -> None:
    known = {
        name: Known((f"kind:{name[-1]}",), {"price": float(at)}) for at, name in enumerate(NAMES)
    }
    made = write_dataset(tmp_path / "d", walks(30, 2, NAMES), vocabulary=NAMES, items_known=known)
    data = read_dataset(made)
    system = build("hrnn_meta", {**SMALL, "epochs": 1})
    system.fit(data, 0, quiet)
    other = build("hrnn_meta", {**SMALL, "epochs": 1})
    other.load(system.tensors())
    requests, _ = requests_of(data)
    bare = dataclasses.replace(data.histories, user_features=None)
    assert np.array_equal(other.score(bare, requests), system.score(data.histories, requests))


@pytest.mark.parametrize(
    "chosen",
    [
        {"loss": "bpr"},
        {"loss": "top1"},
        {"loss": "hinge"},
        {"loss": "bpr_max"},
        {"loss": "one_against_all"},
        {"sampler": "uniform"},
        {"sampler": "batch"},
        {"sampler": "local"},
        {"optimiser": "adagrad", "learning_rate": 0.1},
        {"tied": False},
        {"sequence_dropout": 0.2},
        {"precision": "bfloat16"},
        {"plan": "windows", "max_len": 8},
        {"plan": "sessions"},
        {"negatives": 0, "loss": "bpr_max"},
    ],
    ids=str,
)
def test_every_choice_learns_what_follows_what(data: DataSet, chosen: dict[str, Any]) -> None:
    told = {"epochs": 5, "dropout": 0.0, "input_dropout": 0.0, "validation_share": 0.0}
    system = build("hrnn", {**SMALL, **told, "negatives": 10, "learning_rate": 0.05, **chosen})
    system.fit(data, 0, quiet)
    requests, item = requests_of(data)
    best = system.score(data.histories, requests).argmax(axis=1) + 1
    # Nine of ten events follow the order.  What users have met is no local negative: with so few
    # items they learn little of what does not follow.
    assert np.mean(best == item) > (0.4 if chosen.get("sampler") == "local" else 0.6)


@pytest.mark.parametrize("backend", ["eager", pytest.param(None, marks=pytest.mark.nightly)])
def test_a_compiled_network_learns_the_same(
    data: DataSet, monkeypatch: pytest.MonkeyPatch, backend: str | None
) -> None:
    """Traced as always; that the C++ of it comes out the same is shown at night."""
    header = Path(sysconfig.get_path("include"), "Python.h")
    if shutil.which("g++") is None or not header.exists():
        pytest.skip("no C++ compiler, or no headers of Python")
    traced: list[Any] = []

    def compiled_by(module: Any, **options: Any) -> Any:
        traced.append(module)
        return real(module, **options, **({} if backend is None else {"backend": backend}))

    real = torch.compile
    monkeypatch.setattr(torch, "compile", compiled_by)
    told = {**SMALL, "epochs": 1, "dropout": 0.0, "input_dropout": 0.0, "validation_share": 0.0}
    plain, compiled = (build("hrnn", {**told, "compile": wish}) for wish in (False, True))
    plain.fit(data, 0, quiet)
    assert not traced
    compiled.fit(data, 0, quiet)
    assert traced
    requests, _ = requests_of(data)
    one, other = (each.score(data.histories, requests) for each in (plain, compiled))
    assert np.allclose(one, other, atol=1e-4)


def test_compiling_without_a_compiler(data: DataSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(HourglassError, match="hrnn: compile = true needs a C\\+\\+ compiler"):
        build("hrnn", {**SMALL, "compile": True}).fit(data, 0, quiet)


def test_a_short_fit_that_diverges(data: DataSet) -> None:
    told = {**SMALL, "epochs": 1, "validation_share": 0.0, "learning_rate": 1e6}
    with pytest.raises(HourglassError, match=r"hrnn: the fit diverges: the mean loss of epoch 1"):
        build("hrnn", told).fit(data, 0, quiet)


def test_the_second_fit_has_the_rates_that_were_found_good(
    data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.models.parts import recurrent

    schedules = []
    run_fit = recurrent.run_fit

    def watched(system: str, learner: Any, plan: Any, schedule: Any, *rest: Any) -> Any:
        schedules.append(schedule)
        return run_fit(system, learner, plan, schedule, *rest)

    monkeypatch.setattr(recurrent, "run_fit", watched)
    told = {**SMALL, "epochs": 30, "learning_rate": 0.05}
    best = int(build("hrnn", told).fit(data, 0, quiet)["best_epoch"])
    search, refit = schedules
    assert (search.epochs, refit.epochs) == (30, best)
    for share in (0.0, 0.5, 0.9):
        done = round(share * best * 1000)
        assert refit.rate(done, 1, refit.decay_epochs * 1000) == pytest.approx(
            search.rate(done, 1, (search.decay_epochs or search.epochs) * 1000)
        )


def test_half_precision_is_validated_like_any(data: DataSet) -> None:
    metrics = build("hrnn", {**SMALL, "precision": "bfloat16"}).fit(data, 0, quiet)
    assert 0 < metrics["validation_mrr_20"] <= 1


def test_what_a_model_has_learned_is_not_validated_on_again(data: DataSet) -> None:
    """Going on from a model of the same events: there is nothing new to say when to stop."""
    before = build("hrnn", {**SMALL, "epochs": 4})
    before.fit(data, 0, quiet)
    as_of_us = int(data.manifest.as_of.start.timestamp()) * 1_000_000
    start = dataclasses.replace(start_of(before, data), as_of_us=as_of_us)
    metrics = build("hrnn", SMALL).fit_with(data, 0, quiet, FitOptions(parent=start))
    assert "validation_mrr_20" not in metrics
    assert metrics["epochs"] == SMALL["epochs"]
    older = dataclasses.replace(start, as_of_us=int(data.histories.time_us.min()))
    assert "validation_mrr_20" in build("hrnn", SMALL).fit_with(
        data, 0, quiet, FitOptions(parent=older)
    )


def test_a_log_that_names_its_sessions_is_asked_as_it_was_learned(tmp_path: Path) -> None:
    """The second session begins ten minutes after the first: no silence tells."""
    users = {"u": [("a", AS_OF_S - 5000.0), ("b", AS_OF_S - 4990.0), ("c", AS_OF_S - 4390.0)]}
    made = read_dataset(write_dataset(tmp_path / "d", users))
    named = dataclasses.replace(made.histories, session_start=np.array([True, False, True]))
    data = dataclasses.replace(made, histories=named)
    rule = SessionRule(3600, 60.0, 16, forgets=True)
    learned = EventSteps(named, rule, ValueScale()).at(np.array([2]))
    targets = find_targets(named, EvaluationSettings())
    asked = request_inputs(named, targets.requests.take(np.array([2])), rule, ValueScale())
    for field in dataclasses.fields(learned):
        one, other = getattr(learned, field.name), getattr(asked, field.name)
        assert np.array_equal(one, other, equal_nan=field.name == "value"), field.name
    assert data.histories.session_start[2]


@pytest.mark.parametrize("sampler", ["batch", "local"])
def test_the_batchs_own_negatives_need_one_process(
    data: DataSet, sampler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.nn import build as pieces

    monkeypatch.setattr(pieces.ProcessGroup, "here", classmethod(lambda cls: cls(0, 2)))
    with pytest.raises(HourglassError, match=f"sampler = '{sampler}' draws from the whole batch"):
        pieces.negatives_of(
            build("hrnn", {**SMALL, "sampler": sampler}).parameters,
            data,
            TargetSplit(data.histories.is_target, np.empty(0, np.int64)),
        )


def test_weights_of_the_batchs_own_negatives_add_up_to_all_items(tmp_path: Path) -> None:
    """Context events are no targets: they are never drawn, and must not be corrected for."""
    rng = np.random.default_rng(0)
    old = [(f"x{rng.integers(5)}", AS_OF_S - 90_000.0 + step) for step in range(400)]
    users = {
        f"u{user}": [*old, *((NAMES[rng.integers(10)], AS_OF_S - 50.0 + s) for s in range(20))]
        for user in range(10)
    }
    made = write_dataset(tmp_path / "d", users, window_start="2016-03-14T12")
    data = read_dataset(made)
    split = TargetSplit(data.histories.is_target, np.empty(0, np.int64))
    parameters = build("hrnn", {**SMALL, "sampler": "batch", "negatives": 14}).parameters
    event = np.flatnonzero(split.learned)
    target = data.histories.item[event].astype(np.int64)
    drawn = negatives_of(parameters, data, split).draw(
        np.zeros(len(event), np.int64), event, target, target, rng
    )
    wanted = dataclasses.replace(parameters, negatives=len(target))
    whole = negatives_of(wanted, data, split).draw(
        np.zeros(len(event), np.int64), event, target, target, rng
    )
    assert len(drawn.item) == 14
    assert whole.log_weight is not None
    assert float(whole.log_weight.exp().sum()) == pytest.approx(len(np.unique(target)))


def test_local_negatives_know_only_what_was_met_before(data: DataSet) -> None:
    split = TargetSplit(data.histories.is_target, np.empty(0, np.int64))
    parameters = build("hrnn", {**SMALL, "sampler": "local", "negatives": 200}).parameters
    h = data.histories
    event = np.flatnonzero(split.learned)[::5]
    user = h.user_of_event[event]
    target = h.item[event].astype(np.int64)
    drawn = negatives_of(parameters, data, split).draw(
        user, event, target, h.item.astype(np.int64), np.random.default_rng(1)
    )
    excluded = drawn.excluded
    assert isinstance(excluded, torch.Tensor)
    for row in range(len(event)):
        met = set(h.item[h.offsets[user[row]] : event[row]].tolist()) | {int(target[row])}
        expected = [int(item) in met for item in drawn.item]
        assert excluded[row].tolist() == expected


def test_numbers_of_metadata_keep_their_weights_in_any_order(tmp_path: Path) -> None:
    def made(name: str, numbers: list[dict[str, float]]) -> DataSet:
        known = {item: Known((), numbers[at % 2]) for at, item in enumerate(NAMES)}
        users = walks(30, 2, NAMES)
        folder = write_dataset(tmp_path / name, users, vocabulary=NAMES, items_known=known)
        return read_dataset(folder)

    first = made("a", [{"age": 1.0, "price": 3.0}, {"age": 2.0, "price": -3.0}])
    second = made("b", [{"price": 3.0, "zage": 1.0}, {"price": -3.0, "zage": 2.0}])
    before = build("hrnn_meta", {**SMALL, "epochs": 1})
    before.fit(first, 0, quiet)
    after = build("hrnn_meta", {**SMALL, "epochs": 1})
    after._encoding = InputEncoding.of(second, forgets=False, context=True, items=True, users=True)
    net, _ = after._built(second, everything(second), 0, start_of(before, first))
    weight = net.items.encoder.number.weight.detach().numpy()
    price = before.tensors()["items.encoder.number.weight"][:, 1]
    assert np.array_equal(weight[:, 0], price)
    assert not weight[:, 1].any()


def test_a_hidden_layer_over_metadata_goes_on_with_new_fields_and_tokens(tmp_path: Path) -> None:
    def made(name: str, tokens: list[list[str]]) -> DataSet:
        known = {item: Known(tokens[at % 2], {"age": float(at)}) for at, item in enumerate(NAMES)}
        users = walks(30, 2, NAMES)
        folder = write_dataset(tmp_path / name, users, vocabulary=NAMES, items_known=known)
        return read_dataset(folder)

    first = made("a", [["size=small"], ["size=large"]])
    second = made("b", [["brand=x", "size=large"], ["size=small", "brand=y"]])
    chosen = {**SMALL, "epochs": 1, "feature_hidden": 5}
    before = build("hrnn_meta", chosen)
    before.fit(first, 0, quiet)
    after = build("hrnn_meta", chosen)
    after._encoding = InputEncoding.of(second, forgets=False, context=True, items=True, users=True)
    net, _ = after._built(second, everything(second), 0, start_of(before, first))
    encoder, weights = net.items.encoder, before.tensors()
    for token in ("size=small", "size=large"):
        rows = [list(data.item_features.token_names).index(token) for data in (first, second)]
        learned = weights["items.encoder.token.weight"][rows[0]]
        assert np.array_equal(encoder.token.weight[rows[1]].detach().numpy(), learned)
    for part in ("out.weight", "out.bias", "number.weight"):
        assert np.array_equal(
            encoder.get_parameter(part).detach().numpy(), weights[f"items.encoder.{part}"]
        )
    fields = encoder.field.tolist()
    assert len(fields) == 4 and len(set(fields)) == 2


def test_a_long_history_is_read_in_pieces(data: DataSet, monkeypatch: pytest.MonkeyPatch) -> None:
    system = build("hrnn", {**SMALL, "epochs": 1})
    system.fit(data, 0, quiet)
    requests, _ = requests_of(data)
    expected = system.score(data.histories, requests)
    from training.nn import user_states

    monkeypatch.setattr(user_states, "_CELLS", 7)
    assert np.allclose(system.score(data.histories, requests), expected, atol=1e-5)


def test_a_model_made_on_a_gpu_can_be_asked_without_one(
    data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    system = build("hrnn", {**SMALL, "epochs": 1})
    system.fit(data, 0, quiet)
    other = build("hrnn", {**SMALL, "device": "cuda"})
    other.load(system.tensors())
    requests, _ = requests_of(data)
    assert np.array_equal(
        other.score(data.histories, requests), system.score(data.histories, requests)
    )


def test_a_fixed_temperature_goes_on_with_its_optimiser(data: DataSet) -> None:
    for before, after in ((1.0, 1.0), (0.0, 1.0), (1.0, 0.0)):
        chosen = {**SMALL, "epochs": 1, "mixture": False, "validation_share": 0.0}
        parent = build("hrnn_trend", {**chosen, "trend_temperature": before})
        parent.fit(data, 0, quiet)
        child = build("hrnn_trend", {**chosen, "trend_temperature": after})
        assert isinstance(parent, GradientTrained)
        assert isinstance(child, GradientTrained)
        start = ParentWeights("p", parent.tensors(), data.item_ids, parent.optimiser_tensors())
        if before and not after:
            # What was never learned has no state to go on with.
            with pytest.raises(HourglassError, match="temperature"):
                child.fit_with(data, 0, quiet, FitOptions(parent=start))
            continue
        child.fit_with(data, 0, quiet, FitOptions(parent=start))
        assert child.tensors()["temperature"] == 1.0
