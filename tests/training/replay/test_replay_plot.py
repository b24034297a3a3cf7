"""Curves: moving means with intervals, and labels that do not lie upon one another."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from replay_world import START

from pipeline.hours import HourRange
from pipeline.settings.learning import EvaluationSettings
from training.replay.plot import (
    _COLOURS,
    Curve,
    Curves,
    axis_bottom,
    curves_of,
    draw,
    smooth_steps,
    spread,
    style_of,
)
from training.replay.store import StepRanks, StepResult
from training.replay.table import Results

RULE = EvaluationSettings(k=5)


def results(lengths: list[int]) -> Results:
    """Two arms; of the first every second target is a hit, of the second none is."""
    rng = np.random.default_rng(0)
    steps: dict[str, list[StepResult]] = {"good": [], "bad": []}
    for n in lengths:
        user = rng.integers(0, 6, n).astype(np.int32)
        for name, rank in (("good", 1 + 9 * (np.arange(n) % 2)), ("bad", np.full(n, 9))):
            time_us = user.astype(np.int64)
            asked = StepRanks(
                user, time_us, user, user >= 0, np.zeros_like(time_us), rank.astype(np.int32)
            )
            steps[name].append(StepResult(asked, {}))
    hours = tuple(HourRange(START + at, START + at + 1) for at in range(len(lengths)))
    return Results(("good", "bad"), hours, steps)


def test_a_point_is_the_mean_of_the_steps_that_end_with_it() -> None:
    found = results([4, 0, 3, 8, 1])
    curves = curves_of(found, "recall", RULE, seed=0, smooth=2)
    good, bad = curves.curves
    hits = [[1, 0, 1, 0], [], [1, 0, 1], [1, 0, 1, 0, 1, 0, 1, 0], [1]]
    expected = [np.mean(one + two) for one, two in pairwise(hits)]
    assert good.mean == pytest.approx(expected)
    assert (good.lower <= good.mean).all()
    assert (good.mean <= good.upper).all()
    assert good.lower[2] < good.mean[2] < good.upper[2]
    assert bad.mean == pytest.approx(0)
    assert curves.targets.tolist() == [0, 3, 8, 1]
    assert curves.hour.tolist() == [START.index + 2 + at for at in range(4)]


def test_where_nothing_was_asked_there_is_no_point() -> None:
    curves = curves_of(results([2, 0, 3]), "mrr", RULE, seed=0, smooth=1)
    assert np.isnan(curves.curves[0].mean).tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("n_steps", "step_h", "expected"),
    [(240, 1, 24), (40, 1, 10), (3, 1, 1), (180, 24, 7), (16, 6, 4), (1, 24, 1)],
)
def test_hours_are_smoothed_over_a_day_and_days_over_a_week(
    n_steps: int, step_h: int, expected: int
) -> None:
    assert smooth_steps(n_steps, step_h) == expected


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9).map(sorted), st.floats(0.01, 0.2))
def test_labels_keep_their_distance_and_their_order(places: list[float], least: float) -> None:
    moved = spread(np.array(places), least)
    assert (np.diff(moved) >= least - 1e-9).all()
    assert np.mean(moved) == pytest.approx(np.mean(places), abs=1e-9)
    if (np.diff(places) >= least).all():
        assert moved == pytest.approx(places)


def test_no_two_arms_look_alike() -> None:
    looks = {(_COLOURS[n % len(_COLOURS)], style_of(n)) for n in range(32)}
    assert len(looks) == 32


def test_the_axis_begins_at_0_unless_that_hides_what_parts_the_arms() -> None:
    def bottom(low: float, high: float) -> float | None:
        values = np.array([np.nan, low, high])
        curve = Curve("one", values, values, values)
        return axis_bottom(Curves((curve,), values, np.zeros(3, np.int64)))

    assert bottom(0.3, 0.6) == 0
    assert bottom(0.9, 0.95) is None
    assert bottom(0.0, 0.0) == 0
    assert bottom(np.nan, np.nan) == 0


@pytest.mark.parametrize(
    "lengths", [[0, 0], pytest.param([5], marks=pytest.mark.nightly), [4, 2, 6, 3, 9]]
)
def test_a_picture_is_drawn_of_any_run(tmp_path: Path, lengths: list[int]) -> None:
    curves = curves_of(results(lengths), "recall", RULE, seed=0, smooth=1)
    files = [tmp_path / "curve.svg", tmp_path / "curve.png"]
    draw(curves, "title", "subtitle", "Recall@5", files)
    first = [path.read_bytes() for path in files]
    assert b"good" in first[0] or sum(lengths) == 0
    draw(curves, "title", "subtitle", "Recall@5", files)
    assert [path.read_bytes() for path in files] == first
