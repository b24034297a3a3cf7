from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline.errors import HourglassError
from tests.training.learning import Lanes, NextItem, fit_quietly, weights_of
from training.trainer.interface import Batch
from training.trainer.trainer import Schedule

PLAN, SCHEDULE = Lanes(), Schedule(4, 0.02)


class Broken(NextItem):
    """From a batch on, the loss is replaced."""

    def __init__(self, at: int, become: str) -> None:
        super().__init__()
        self.at, self.become = 12 + at, become

    def loss(self, batch: Batch, rng: np.random.Generator) -> Tensor:
        loss = super().loss(batch, rng)
        if len(self.drawn) < self.at:
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

    def carried_state(self) -> dict[str, Tensor]:
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
