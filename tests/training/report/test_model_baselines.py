"""Which of several baselines was best where, on the page and in its figures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from model_example import AT, BASELINE, GAP, HEALTH, LIVE, page_of
from report_hours import FIRST, World, monitor_result, row, write_evaluation

from pipeline.hours import HourRange
from training.deployment.monitor_record import BaselineResult, UsersFile
from training.report.baselines import BaselineHours, best_by_hour, best_of
from training.report.curves import Curve, metric_curves
from training.report.files import evaluations
from training.report.slices import slice_table

HOURS = HourRange(FIRST, FIRST + 10)
NAMES = ("recent_pop", "stan")


def curve(name: str, *values: float) -> Curve:
    value = np.array(values)
    return Curve(name, "baseline", AT[: value.size], value, value - 0.01, value + 0.01)


def test_each_counts_the_hours_in_which_none_was_better() -> None:
    curves = (LIVE, curve("a", 0.1, 0.3, GAP, 0.2), curve("b", 0.2, 0.1, GAP, 0.2))
    assert best_by_hour(curves) == (
        BaselineHours("a", hours=3, best=2, mean=pytest.approx(0.2)),
        BaselineHours("b", hours=3, best=2, mean=pytest.approx(0.5 / 3)),
    )


def test_only_hours_in_which_all_were_judged_are_compared() -> None:
    first, second = best_by_hour((curve("a", 0.1, 0.9), curve("b", 0.2)))
    assert (first.name, first.hours, first.best) == ("b", 1, 1)
    assert (second.name, second.hours, second.best) == ("a", 1, 0)
    assert best_by_hour((curve("a", 0.1), curve("b", GAP, 0.2))) == ()


def test_of_a_single_baseline_nothing_is_said() -> None:
    assert best_by_hour((LIVE, BASELINE)) == ()
    page = " ".join(page_of(HEALTH).split())
    assert "hours best" not in page
    assert "best baseline" not in page
    assert "was judged. The dashed curve in each panel is the baseline (recent_pop). Up" in page


def test_the_best_of_some_figures() -> None:
    assert best_of({"b": 0.2, "a": 0.1}) == "b"
    assert best_of({"b": 0.2, "a": 0.2, "c": 0.1}) == "a = b"
    assert best_of({}) == ""


def test_the_page_says_how_often_each_was_best_and_which_curve_is_whose() -> None:
    curves = (LIVE, curve("recent_pop", 0.1, 0.3), curve("stan", 0.2, 0.1))
    page = " ".join(page_of(replace(HEALTH, curves=curves, baselines=best_by_hour(curves))).split())
    assert "was judged. The thin curves in each panel are the baselines: recent_pop dashed" in page
    assert "recent_pop dashed, stan dotted. Upright lines" in page
    table = page[page.index("hours best") :]
    assert "recent_pop</th><td>1</td><td>2</td> <td>0.2" in table
    assert page.count("<svg") == page_of(HEALTH).count("<svg")


def written(root: Path) -> None:
    """An hour in which stan is best in all, and recent_pop on new users."""
    world = World(root)
    floors = {name: world.model(name, FIRST) for name in NAMES}
    model = world.model("hrnn", FIRST)
    rows = [
        *(row(floors["recent_pop"], mean, name) for name, mean in (("all", 0.1), ("new", 0.4))),
        *(row(floors["stan"], mean, name) for name, mean in (("all", 0.2), ("new", 0.3))),
        row(model, 0.5, "all"),
        row(model, 0.6, "new"),
        row(model, 0.7, "context=x"),
    ]
    roles = {name: (ref, "floor") for name, ref in floors.items()}
    write_evaluation(root, FIRST, {**roles, "hrnn": (model, "candidate")}, rows)


def test_a_slice_says_which_baseline_was_best_there(tmp_path: Path) -> None:
    written(tmp_path)
    (last,), _ = evaluations(tmp_path / "evaluations", HOURS)
    for names in (NAMES, NAMES[::-1]):
        slices = slice_table(last, "hrnn", names, "mrr", 30)
        assert slices is not None
        assert slices.columns == ("hrnn", *names)
        best = {each.name: each.best for each in slices.rows}
        assert best == {"all": "stan", "new": "recent_pop", "context=x": ""}
    page = " ".join(page_of(replace(HEALTH, slices=slices)).split())
    assert ">best baseline</th>" in page
    assert "<td>recent_pop</td>" in page


def test_a_single_baseline_has_no_column_of_its_own(tmp_path: Path) -> None:
    written(tmp_path)
    (last,), _ = evaluations(tmp_path / "evaluations", HOURS)
    slices = slice_table(last, "hrnn", NAMES[:1], "mrr", 30)
    assert slices is not None
    assert not slices.says_best
    assert {each.best for each in slices.rows} == {""}


def test_each_baseline_has_its_curve(tmp_path: Path) -> None:
    written(tmp_path)
    judged, _ = evaluations(tmp_path / "evaluations", HOURS)
    curves = metric_curves(judged, [], "mrr", NAMES, HOURS)
    assert [(each.name, each.role) for each in curves] == [
        ("recent_pop", "baseline"), ("stan", "baseline"), ("hrnn", "candidate"),
    ]  # fmt: skip


def test_an_hour_that_was_only_monitored_tells_of_each_baseline(tmp_path: Path) -> None:
    model = World(tmp_path).model("hrnn", FIRST)
    single = monitor_result(FIRST, model, mean=0.25, gain=0.05)
    assert single.numbers is not None
    of_each = {
        name: BaselineResult(name, replace(single.numbers, floor=floor), UsersFile("f", "0"))
        for name, floor in (("recent_pop", 0.1), ("stan", 0.2), ("gone", 0.3))
    }
    several = replace(single, first=FIRST + 1, stop=FIRST + 2, baselines=of_each)
    curves = metric_curves([], [several, single], "mrr", NAMES, HOURS)
    found = {
        each.name: dict(zip(each.at.tolist(), each.value.tolist(), strict=True)) for each in curves
    }
    assert found["recent_pop"] == pytest.approx({0.5: 0.2, 1.5: 0.1})
    assert found["stan"] == {1.5: 0.2}
    assert set(found) == {"live", *NAMES}
