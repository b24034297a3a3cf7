from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.errors import HourglassError
from tests.training.learning import (
    BestInTheMiddle,
    Lanes,
    NextItem,
    fit_quietly,
    weights_of,
)
from training.model_types import FitProgress
from training.trainer.checkpoint import Checkpoint
from training.trainer.interface import Batch, FitOptions
from training.trainer.optimisers import Optimiser
from training.trainer.schedule import seeded
from training.trainer.trainer import Schedule, run_fit

PLAN, SCHEDULE = Lanes(), Schedule(4, 0.02)


def same_weights(one: NextItem, other: NextItem) -> bool:
    theirs = weights_of(other)
    return all(torch.equal(tensor, theirs[name]) for name, tensor in weights_of(one).items())


def shorten(learner: NextItem, longest: float) -> None:
    """Clip the norm of the whole gradient, rows of tables included."""
    weights = [weight for weight in learner.net.parameters() if weight.grad is not None]
    whole = [weight.grad.to_dense() for weight in weights]
    norm = math.sqrt(sum(float((one**2).sum()) for one in whole))
    for weight in weights:
        weight.grad = weight.grad.coalesce() if weight.grad.is_sparse else weight.grad
        weight.grad = weight.grad * min(1.0, longest / (norm + 1e-6))


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
            shorten(learner, schedule.max_gradient_norm)
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
    expected_weights = weights_of(theirs)
    for name, weight in weights_of(ours).items():
        torch.testing.assert_close(weight, expected_weights[name], rtol=1e-5, atol=1e-6)
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


def test_nothing_is_carried_from_one_epoch_into_the_next() -> None:
    class Watching(NextItem):
        def loss(self, batch: Batch, rng: np.random.Generator) -> Tensor:
            carried.append((batch.carries, bool(self.carried_state())))
            return super().loss(batch, rng)

    carried: list[tuple[bool, bool]] = []
    fit_quietly(Watching(), PLAN, Schedule(2, 0.02))
    assert len(carried) == 12 + 24
    assert all(expected == found for expected, found in carried)


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
    """Every fifth batch only brings the state up to date."""

    def batches(self, epoch: int, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        for number, batch in enumerate(super().batches(epoch, rank, world)):
            idle = number % 5 == 0
            yield replace(batch, n_targets=0 if idle else batch.n_targets)


def test_batches_without_targets_move_no_weight() -> None:
    learner = NextItem()
    found = fit_quietly(learner, Gaps(), Schedule(1, 0.02))
    assert len(learner.drawn) == 2 * 12
    assert found.optimiser["step.weight/step"] == 12 - 3


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


def test_a_validation_loss_that_is_no_number_ends_the_fit() -> None:
    with pytest.raises(HourglassError, match="the validation loss became nan after epoch 2"):
        fit_quietly(Judged([1.0, math.nan]), PLAN, SCHEDULE)


def test_metrics_hold_nothing_that_depends_on_the_machine(tmp_path: Path) -> None:
    found = fit_quietly(BestInTheMiddle(), PLAN, SCHEDULE, tmp_path)
    assert set(found.metrics) == {"loss", "epochs", "best_epoch", "validation_loss"}


def test_checkpoints_that_take_longer_than_epochs_are_rare(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.trainer import checkpoint

    clock, kept = [0.0], []

    def slow_save(folder: Path, identity: object, found: Checkpoint) -> None:
        clock[0] += 3.0
        kept.append((found.state.epoch, found.state.finished))

    def a_second_an_epoch(learner: NextItem) -> None:
        clock[0] += 1.0

    monkeypatch.setattr(checkpoint, "save_checkpoint", slow_save)
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: clock[0])
    learner = NextItem()
    monkeypatch.setattr(
        learner, "validation_loss", lambda: a_second_an_epoch(learner), raising=False
    )
    fit_quietly(learner, Lanes(), Schedule(40, 0.02, checkpoint_s=1e9), tmp_path / "c")
    assert kept[-1] == (40, True)
    assert 2 <= len(kept) <= 5  # 40 s of work pay for one of 3 s every 30 s


def test_the_rate_falls_as_it_is_told() -> None:
    linear = Schedule(epochs=1, learning_rate=0.01)
    assert [linear.rate(done, 1, 100) for done in (0, 50, 100)] == pytest.approx([0.01, 0.005, 0])
    # LSTR 4.1: from .01 to .001 by the square root of what is left.
    slow = Schedule(epochs=1, learning_rate=0.01, decay_power=0.5, final_rate=0.001)
    rates = [slow.rate(done, 1, 100) for done in (0, 75, 99, 100, 120)]
    assert rates == pytest.approx([0.01, 0.0055, 0.0019, 0.001, 0.001])
