from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline.errors import HourglassError
from tests.training.learning import (
    BestInTheMiddle,
    Lanes,
    NextItem,
    fit_quietly,
    one_thread,
    weights_of,
)
from training.engine import progress
from training.engine.interface import Batch, FitOptions
from training.engine.loop import Schedule, run_fit
from training.engine.optimisers import Optimiser
from training.engine.progress import Meter
from training.engine.schedule import seeded
from training.systems.base import FitProgress

__all__ = ["one_thread"]
PLAN, SCHEDULE = Lanes(), Schedule(4, 0.02)


def same_weights(one: NextItem, other: NextItem) -> bool:
    theirs = weights_of(other)
    return all(torch.equal(tensor, theirs[name]) for name, tensor in weights_of(one).items())


def slowly(learner: NextItem, schedule: Schedule, seed: int) -> float:
    """The loop as a textbook writes it; gives the last epoch's mean loss."""
    optimiser = Optimiser(learner.net, schedule.optimiser)
    done, mean = 0, math.nan
    for epoch in range(1, schedule.epochs + 1):
        learner.resume({})
        losses = []
        for number, batch in enumerate(PLAN.batches(epoch)):
            rate = schedule.learning_rate * (1 - done / (schedule.epochs * PLAN.n_targets))
            if schedule.warmup_events:
                rate *= min(1.0, (done + batch.n_targets) / schedule.warmup_events)
            optimiser.clear()
            loss = (
                learner.loss(batch, seeded(seed, epoch, number, torch.device("cpu")))
                / batch.n_targets
            )
            loss.backward()
            nn.utils.clip_grad_norm_(optimiser.dense.values(), schedule.max_gradient_norm)
            optimiser.step(rate)
            losses.append(loss.item())
            done += batch.n_targets
        mean = float(np.mean(losses))
    return mean


@pytest.mark.parametrize(
    "schedule",
    [SCHEDULE, Schedule(2, 0.05, "adagrad", max_gradient_norm=0.02, warmup_events=200)],
    ids=["adam", "adagrad, tightly clipped, warmed up"],
)
def test_the_loop_is_the_textbooks(schedule: Schedule) -> None:
    ours, theirs = NextItem(), NextItem()
    found = fit_quietly(ours, PLAN, schedule, seed=5)
    expected = slowly(theirs, schedule, seed=5)
    assert same_weights(ours, theirs)
    assert found.metrics == {
        "loss": pytest.approx(expected, rel=1e-6),
        "epochs": float(schedule.epochs),
    }
    assert found.best_epoch == schedule.epochs
    assert found.events_per_s > 0


def test_the_loss_falls_and_equal_seeds_give_equal_fits() -> None:
    told: list[FitProgress] = []
    learners = [NextItem() for _ in range(3)]
    results = [
        fit_quietly(learner, PLAN, SCHEDULE, seed=seed, told=told)
        for learner, seed in zip(learners, [-1, -1, 2], strict=True)
    ]
    assert results[0].metrics == results[1].metrics
    assert same_weights(learners[0], learners[1])
    assert not same_weights(learners[0], learners[2])
    assert results[0].metrics["loss"] < 0.75 * told[0].loss


def test_every_batch_has_its_own_random_numbers_whatever_the_callers_are() -> None:
    learners = NextItem(), NextItem()
    for state, learner in enumerate(learners):
        torch.manual_seed(state)
        untouched = torch.get_rng_state()
        fit_quietly(learner, PLAN, Schedule(2, 0.02))
        assert torch.equal(torch.get_rng_state(), untouched)
    assert learners[0].drawn == learners[1].drawn
    opening, learned = learners[0].drawn[:12], learners[0].drawn[12:]
    assert opening == learned[:12]
    assert len(set(learned)) == len(learned) == 24


def test_bfloat16_trains_too() -> None:
    class Watching(NextItem):
        def loss(self, batch: Batch, rng: np.random.Generator) -> Tensor:
            low.append(torch.mm(torch.ones(2, 2), torch.ones(2, 2)).dtype)
            return super().loss(batch, rng)

    low: list[torch.dtype] = []
    exact = fit_quietly(NextItem(), PLAN, SCHEDULE).metrics["loss"]
    learner = Watching()
    rough = fit_quietly(learner, PLAN, replace(SCHEDULE, precision="bfloat16"))
    assert set(low) == {torch.bfloat16}
    assert {weight.dtype for weight in weights_of(learner).values()} == {torch.float32}
    assert rough.metrics["loss"] != exact
    assert rough.metrics["loss"] == pytest.approx(exact, rel=0.03)


def test_a_kept_optimiser_is_begun_with() -> None:
    warm, cold = NextItem(), NextItem()
    first = fit_quietly(NextItem(), PLAN, SCHEDULE)
    for learner, state in ((warm, first.optimiser), (cold, None)):
        last = run_fit(
            "toy", learner, PLAN, SCHEDULE, 3, lambda _: None, FitOptions(), "data", state
        )
        batches = 48 * (2 if state else 1)
        assert last.optimiser["item.weight/step"] == batches
        assert last.optimiser["step.weight/step"] == batches
    assert not same_weights(warm, cold)


@dataclass(frozen=True)
class Gaps(Lanes):
    """The first batch of each lane's five only brings the state up to date; some rows are empty."""

    def batches(self, epoch: int, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        for number, batch in enumerate(super().batches(epoch, rank, world)):
            idle = number % 5 == 0
            yield replace(batch, n_targets=0 if idle else batch.n_targets)


def test_batches_without_targets_move_no_weight() -> None:
    learner = NextItem()
    found = fit_quietly(learner, Gaps(), Schedule(1, 0.02))
    assert len(learner.drawn) == 2 * 12
    assert found.optimiser["step.weight/step"] == 12 - 3


# Early stopping


class Judged(NextItem):
    """Is told its validation losses; keeps the weights it was judged by, and a random number."""

    def __init__(self, losses: list[float]) -> None:
        super().__init__()
        self.losses, self.said, self.weights = losses, [], []

    def validation_loss(self) -> float | None:
        self.net.eval()
        self.said.append(float(torch.rand(())))
        self.weights.append(weights_of(self))
        return self.losses[len(self.said) - 1]


def test_learning_stops_after_the_patience_and_returns_to_the_best() -> None:
    learner, told = Judged([3.0, 2.0, 2.5, 2.0, 1.0, 9.0]), []
    found = fit_quietly(learner, PLAN, Schedule(6, 0.02, patience=2), told=told)
    assert len(learner.said) == 4
    assert found.metrics.keys() == {"loss", "epochs", "best_epoch", "validation_loss"}
    assert found.metrics["epochs"] == 4.0
    assert (found.best_epoch, found.metrics["best_epoch"]) == (2, 2.0)
    assert found.metrics["validation_loss"] == 2.0
    best = learner.weights[1]
    assert all(torch.equal(tensor, best[name]) for name, tensor in weights_of(learner).items())
    assert told[-1].validation_loss == 2.0
    assert len(set(learner.said)) == 1


def test_without_patience_all_epochs_run_and_the_best_is_returned() -> None:
    learner = Judged([3.0, 1.0, 2.0, 2.0, 2.0, 1.5])
    found = fit_quietly(learner, PLAN, Schedule(6, 0.02, patience=0))
    assert found.metrics["epochs"] == 6.0
    assert found.metrics["best_epoch"] == 2.0
    assert torch.equal(learner.net.item.weight, learner.weights[1]["item.weight"])


def test_learning_goes_on_in_training_mode_after_validation() -> None:
    modes = []

    class Watching(BestInTheMiddle):
        def loss(self, batch: Batch, rng: np.random.Generator) -> Tensor:
            modes.append(self.net.training)
            return super().loss(batch, rng)

    fit_quietly(Watching(), PLAN, SCHEDULE)
    assert all(modes)


# Guards


class Broken(NextItem):
    """From a batch on, the loss is replaced."""

    def __init__(self, at: int, become: str) -> None:
        super().__init__()
        self.at, self.become, self.last_good = 12 + at, become, {}

    def loss(self, batch: Batch, rng: np.random.Generator) -> Tensor:
        loss = super().loss(batch, rng)
        if len(self.drawn) < self.at:
            self.last_good = weights_of(self)
            return loss
        weight = self.net.step.weight
        if self.become == "table gradient":
            return loss + (self.net.item(torch.tensor([0])) * 0.0).abs().sum().sqrt()
        if self.become == "gradient":
            return loss + (weight * 0.0).abs().sum().sqrt()
        return loss * float(self.become)


@pytest.mark.parametrize(
    ("become", "said"),
    [
        ("nan", "the loss became nan in epoch 2, batch 3, at learning rate 0.0142"),
        ("inf", "the loss became inf in epoch 2, batch 3"),
        ("gradient", "the gradient became nan in epoch 2, batch 3"),
        ("table gradient", "the gradient became nan in epoch 2, batch 3"),
    ],
)
def test_a_number_that_is_none_ends_the_fit_before_it_reaches_a_weight(
    become: str, said: str
) -> None:
    learner = Broken(12 + 3, become)
    with pytest.raises(HourglassError) as refused:
        fit_quietly(learner, PLAN, SCHEDULE)
    assert f"toy: {said}" in str(refused.value)
    assert str(refused.value).endswith("lower learning_rate, now 0.02")
    assert all(torch.isfinite(weight).all() for weight in weights_of(learner).values())


def test_low_precision_is_named_as_a_suspect() -> None:
    with pytest.raises(HourglassError, match=r"now 0\.02, or set precision to 'float32'"):
        fit_quietly(Broken(3, "nan"), PLAN, replace(SCHEDULE, precision="bfloat16"))


def test_a_loss_that_is_no_number_at_once_is_not_the_learning_rates_fault() -> None:
    with pytest.raises(HourglassError, match="before anything was learned: the data or the weight"):
        fit_quietly(Broken(-11, "nan"), PLAN, SCHEDULE)


def test_a_validation_loss_that_is_no_number_ends_the_fit() -> None:
    with pytest.raises(HourglassError, match="the validation loss became nan after epoch 2"):
        fit_quietly(Judged([1.0, math.nan]), PLAN, SCHEDULE)


def test_an_empty_plan_is_refused() -> None:
    with pytest.raises(HourglassError, match="toy: no event is left to learn from: lengthen"):
        fit_quietly(NextItem(), Lanes(lanes=0), SCHEDULE)


class Rolling:
    """A number rolls on a curve; the losses are whatever ``losses`` gives, one a batch."""

    def __init__(self, losses: Iterator[float]) -> None:
        self.net = nn.Linear(1, 1)
        self.losses = losses

    def loss(self, batch: Batch, rng: np.random.Generator) -> Tensor:
        value = next(self.losses) * batch.n_targets
        return self.net.weight.sum() * 0.0 + value

    def carried(self) -> dict[str, Tensor]:
        return {}

    def resume(self, carried: object) -> None:
        pass

    def validation_loss(self) -> float | None:
        return None


NOISE = np.random.default_rng(0)
LONG = Lanes(lanes=20, per_lane=220, steps=2)  # 110 batches of 40 targets; 25 before it begins


@pytest.mark.parametrize(
    "losses",
    [
        itertools.repeat(9.2),  # learns nothing at all
        iter(9.2 + 0.02 * np.arange(300)),  # gets slowly worse
        iter(np.abs(NOISE.normal(0, 3, 300))),  # all noise
        itertools.chain([0.05] * 25, itertools.repeat(0.69)),  # began by chance with easy batches
        itertools.chain([7.6] * 25, [500.0] * 3, itertools.repeat(6.0)),  # a fright at the start
        iter(NOISE.lognormal(0, 2, 300)),  # rare, huge losses
        itertools.chain([-4.0] * 25, itertools.repeat(-1.0)),  # may be below zero
        itertools.repeat(0.0),
    ],
)
def test_noise_and_hard_data_are_no_divergence(losses: Iterator[float]) -> None:
    assert fit_quietly(Rolling(losses), LONG, Schedule(2, 0.1)).metrics["epochs"] == 2.0


@pytest.mark.parametrize(
    ("losses", "said"),
    [
        (
            itertools.chain([7.6] * 25, itertools.repeat(60.0)),
            "in 100 of 100 batches up to epoch 1, batch 100, at learning rate 0.055, the mean "
            "loss was above 22.8; it was 7.6 before anything was learned",
        ),
        (
            itertools.chain([7.6] * 25, [6.0] * 110, itertools.cycle([30.0, 6.0, 30.0])),
            "batches up to epoch 2, batch 90, at",
        ),
        (itertools.chain([0.0] * 25, itertools.repeat(2.1)), "the mean loss was above 2; it was 0"),
    ],
)
def test_a_loss_that_stays_far_above_its_beginning_is_divergence(
    losses: Iterator[float], said: str
) -> None:
    with pytest.raises(HourglassError, match="toy: the fit diverges") as refused:
        fit_quietly(Rolling(losses), LONG, Schedule(2, 0.1))
    assert said in str(refused.value)
    assert str(refused.value).endswith("lower learning_rate, now 0.1")


def test_a_learning_rate_far_too_high_is_told_in_one_sentence() -> None:
    with pytest.raises(HourglassError, match=r"diverges: .*: lower learning_rate, now 30$"):
        fit_quietly(NextItem(), PLAN, Schedule(20, 30.0))


# Progress


def test_progress_is_told_often_but_not_too_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_SPACING_S", 1e9)
    told: list[FitProgress] = []
    fit_quietly(NextItem(), PLAN, SCHEDULE, told=told)
    # The first batch, and the end of every epoch.
    assert [one.epoch for one in told] == [1, 1, 2, 3, 4]
    assert [one.fraction for one in told] == pytest.approx([1 / 48, 0.25, 0.5, 0.75, 1.0])
    assert told[-1].seconds_left == 0.0
    assert told[1].seconds_left == pytest.approx(3 * PLAN.n_targets / told[1].events_per_s)
    assert told[0].validation_loss is None


def test_speed_is_that_of_the_latest_seconds() -> None:
    now = itertools.chain([0.0], np.arange(0.0, 100.0)).__next__
    meter = Meter(done=0, total=100_000, clock=now)
    done = 0
    for second in range(40):
        done += 1000 if second < 20 else 100
        per_s, left_s = meter.tell(done)
    assert per_s == pytest.approx(100)
    assert left_s == pytest.approx((100_000 - done) / 100)


def test_a_fit_that_goes_on_measures_only_its_own_work() -> None:
    now = iter([0.0, 2.0]).__next__
    assert Meter(done=500, total=1000, clock=now).average(700) == 100.0


def test_between_lines_a_tenth_of_a_second_passes() -> None:
    clock = [0.0]
    meter = Meter(done=0, total=10, clock=lambda: clock[0])
    assert meter.is_due()
    meter.tell(1)
    clock[0] = 0.05
    assert not meter.is_due()
    clock[0] = 0.11
    assert meter.is_due()


def test_metrics_hold_nothing_that_depends_on_the_machine(tmp_path: Path) -> None:
    found = fit_quietly(BestInTheMiddle(), PLAN, SCHEDULE, tmp_path)
    assert set(found.metrics) == {"loss", "epochs", "best_epoch", "validation_loss"}
