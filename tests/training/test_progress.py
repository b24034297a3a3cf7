from __future__ import annotations

import itertools

import numpy as np
import pytest

from tests.training.learning import Lanes, NextItem, fit_quietly
from training.model_types import FitProgress
from training.trainer import progress
from training.trainer.progress import Meter
from training.trainer.trainer import Schedule

PLAN, SCHEDULE = Lanes(), Schedule(4, 0.02)


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
        per_s, left_s = meter.measure(done)
    assert per_s == pytest.approx(100)
    assert left_s == pytest.approx((100_000 - done) / 100)


def test_a_fit_that_goes_on_measures_only_its_own_work() -> None:
    now = iter([0.0, 2.0]).__next__
    assert Meter(done=500, total=1000, clock=now).average(700) == 100.0


def test_between_lines_a_tenth_of_a_second_passes() -> None:
    clock = [0.0]
    meter = Meter(done=0, total=10, clock=lambda: clock[0])
    assert meter.is_due()
    meter.measure(1)
    clock[0] = 0.05
    assert not meter.is_due()
    clock[0] = 0.11
    assert meter.is_due()
