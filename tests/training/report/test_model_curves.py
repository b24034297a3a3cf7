"""Metrics by hour: where points stand, where lines break, and who counts as live."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_hours import (
    BASELINE,
    FIRST,
    World,
    decision,
    row,
    write_decision,
    write_evaluation,
    write_finding,
)

from pipeline.hours import HourRange
from pipeline.report.format import Interval
from training.report.curves import HourMetric, growth, metric_curves, with_gaps
from training.report.decisions import decided
from training.report.files import decisions, evaluations, monitored

HOURS = HourRange(FIRST, FIRST + 10)


def curves(root: Path) -> dict[str, list[tuple[float, float]]]:
    """Place and value of each point of each curve; NaN is a gap."""
    judged, damaged = evaluations(root / "evaluations", HOURS)
    results, _ = monitored(root / "monitor", HOURS)
    assert damaged == []
    result = metric_curves(judged, results, "mrr", (BASELINE,), HOURS)
    return {c.name: list(zip(c.at.tolist(), c.value.tolist(), strict=True)) for c in result}


def test_points_stand_in_the_middle_of_their_hour_with_their_interval(tmp_path: Path) -> None:
    world = World(tmp_path)
    baseline, model = world.model(BASELINE, FIRST), world.model("hrnn", FIRST)
    models = {BASELINE: (baseline, "floor"), "hrnn": (model, "candidate")}
    write_evaluation(tmp_path, FIRST + 2, models, [row(baseline, 0.1), row(model, 0.3)])
    judged, _ = evaluations(tmp_path / "evaluations", HOURS)
    first, second = metric_curves(judged, [], "mrr", (BASELINE,), HOURS)
    assert (first.name, first.role, second.name, second.role) == (
        BASELINE, "baseline", "hrnn", "candidate",
    )  # fmt: skip
    assert (second.at[0], second.value[0], second.low[0], second.high[0]) == pytest.approx(
        (2.5, 0.3, 0.28, 0.32)
    )
    assert second.last == pytest.approx(Interval(0.3, 0.28, 0.32))


def test_a_curve_breaks_where_nothing_was_judged(tmp_path: Path) -> None:
    world = World(tmp_path)
    for index in (0, 1, 4):
        baseline = world.model(BASELINE, FIRST + index)
        rows = [row(baseline, 0.1 + index / 10)]
        write_evaluation(tmp_path, FIRST + index, {BASELINE: (baseline, "floor")}, rows)
    places = [at for at, value in curves(tmp_path)[BASELINE] if not math.isnan(value)]
    gaps = [at for at, value in curves(tmp_path)[BASELINE] if math.isnan(value)]
    assert places == [0.5, 1.5, 4.5]
    assert gaps == [4.0]


@given(
    starts=st.sets(st.integers(-5, 20), min_size=1),
    length=st.integers(1, 6),
)
def test_every_judged_hour_of_the_report_has_one_point(starts: set[int], length: int) -> None:
    points = [
        HourMetric(HourRange(FIRST + s, FIRST + s + length), (s, s, s)) for s in sorted(starts)
    ]
    at, value, _, _ = with_gaps(points, HOURS, 3)
    inside = [s for s in sorted(starts) if s < 10 and s + length > 0]
    assert value[np.isfinite(value)].tolist() == inside
    breaks = sum(b > a + length for a, b in pairwise(inside))
    assert int(np.isnan(value).sum()) == breaks
    assert np.all(np.diff(at) > 0)


def test_the_champion_is_the_live_curve_and_no_candidate_of_its_own(tmp_path: Path) -> None:
    world = World(tmp_path)
    old, new = world.model("hrnn", FIRST), world.model("hrnn", FIRST + 1)
    models = {"champion": (old, "champion"), "hrnn": (new, "candidate")}
    write_evaluation(tmp_path, FIRST + 1, models, [row(old, 0.2), row(new, 0.3)])
    assert curves(tmp_path) == {"live": [(1.5, 0.2)], "hrnn": [(1.5, 0.3)]}


def test_the_monitor_knows_who_served_though_the_evaluation_was_made_again(tmp_path: Path) -> None:
    world = World(tmp_path)
    old, new = world.model("hrnn", FIRST), world.model("hrnn", FIRST + 1)
    models = {"previous": (old, "previous"), "hrnn": (new, "candidate")}
    path = write_evaluation(tmp_path, FIRST + 1, models, [row(old, 0.2), row(new, 0.3)])
    # Promoted since, the candidate has become the champion: not in the hour that judged it.
    path.write_text(path.read_text().replace('["candidate"]', '["candidate", "champion"]'))
    assert curves(tmp_path)["live"] == [(1.5, 0.3)]
    write_finding(tmp_path, FIRST + 1, old, mean=0.21)
    assert curves(tmp_path)["live"] == [(1.5, 0.2)]


def test_an_hour_that_was_only_monitored_has_points_without_an_interval(tmp_path: Path) -> None:
    world = World(tmp_path)
    write_finding(tmp_path, FIRST + 3, world.model("hrnn", FIRST), mean=0.25, gain=0.05)
    assert curves(tmp_path) == {"live": [(3.5, 0.25)], BASELINE: [(3.5, pytest.approx(0.2))]}


def test_evidence_by_hour_in_odds_with_the_last_word_on_each_hour(tmp_path: Path) -> None:
    world = World(tmp_path)
    live = world.model(BASELINE, FIRST)
    for index, statistic in ((0, 0.0), (1, math.log(4)), (3, math.log(30)), (3, 50.0)):
        model = world.model("hrnn", FIRST + index)
        content = decision(FIRST + index, "hrnn", model, live, statistic=statistic)
        write_decision(tmp_path, content | {"made_at": str(statistic)})
    records, _ = decisions(tmp_path / "decisions", HOURS, 0)
    (result,) = growth([decided(record) for record in records], HOURS)
    assert result.name == "hrnn"
    finite = np.isfinite(result.odds)
    assert result.at[finite].tolist() == [0.5, 1.5, 3.5]
    # Odds beyond a million are not drawn as such.
    assert result.odds[finite] == pytest.approx([1, 4, 1e6])
    assert result.needed[finite] == pytest.approx([20, 20, 20])
    assert int((~finite).sum()) == 1
