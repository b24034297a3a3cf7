"""The whole report of a small lake: all hours in which sessions closed, and no code as text."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from model_example import page_of
from report_hours import FIRST, World, long_history

from pipeline.hours import Hour, HourRange
from pipeline.lake.tables import EVENTS, FILLED_HOURS, SESSIONS, TableSpec
from pipeline.report import render
from pipeline.report.format import StatusLight
from pipeline.workspace import CommandContext
from training.gate.reasons import CHECKS, REASONS
from training.report.build import make_report
from training.report.gather import model_health
from training.report.traffic_lights import baseline_light

# What people set, run or look up: names of settings, commands, files, models and data.
NAME = re.compile(r"[a-z]+\.[a-z_]+|[\w./-]+\.(json|html|yaml)|hrnn_trend|recent_pop|item_knn")
CODE = re.compile(r"\b[a-z]+(?:_[a-z]+)+\b")


def text_of(page: str) -> str:
    for hidden in ("style", "pre", "code"):
        page = re.sub(rf"<{hidden}\b.*?</{hidden}>", " ", page, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", page).split())


@pytest.fixture(autouse=True)
def without_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "_chart", lambda _draw, *_values: "")


def filled(hour: Hour, step: str, rows: int) -> dict[str, object]:
    row: dict[str, object] = dict.fromkeys(FILLED_HOURS.schema.names, "")
    return row | {"hour": hour.start, "step": step, "output_digest": "content", "rows": rows}


def test_the_hour_in_which_the_last_sessions_close_is_told(tmp_path: Path) -> None:
    world = World(tmp_path)
    ctx = CommandContext(world.settings, clock=(FIRST + 5).start)
    hours = HourRange(FIRST, FIRST + 2)

    def event(hour: Hour, user: str, closed: Hour) -> dict[str, object]:
        when = hour.start + timedelta(minutes=30)
        return {
            "hour": closed.start, "event_time": when, "user_id": user, "item_id": "tea",
            "session_id": f"{user}{hour}", "session_start": when, "position": 0,
        }  # fmt: skip

    rows: dict[TableSpec, list[dict[str, object]]] = {
        EVENTS: [event(hour, f"u{n}", hour) for hour in hours for n in range(3)],
        SESSIONS: [event(hour, f"u{n}", hour + 1) for hour in hours for n in range(3)],
    }
    for spec, of_table in rows.items():
        ctx.lake.append(spec, pa.Table.from_pylist(of_table, spec.schema), {})
    steps = {
        "ingest": dict.fromkeys(hours, 3),
        # Filled further than any session closes, as an hourly schedule does.
        "sessionize": {FIRST: 0, FIRST + 1: 3, FIRST + 2: 3, FIRST + 3: 0},
    }
    for step, of_step in steps.items():
        table = pa.Table.from_pylist(
            [filled(hour, step, rows) for hour, rows in of_step.items()], FILLED_HOURS.schema
        )
        ctx.lake.record_filled(step, HourRange(FIRST, FIRST + 4), table, {})
    path, lights = make_report(ctx, world.registry)
    text = text_of(path.read_text("utf-8"))
    assert f"{FIRST} to {FIRST + 3} (UTC)" in text
    assert "hours 3 events 6 sessions closed 6" in text
    assert "6 closed sessions" in text
    by_name = {light.name: light.sentence for light in lights}
    assert by_name["Sessions"].startswith("6 sessions")
    assert f"Hourglass: {tmp_path.name}" in text
    assert "No hour was validated, so nobody knows" in text
    assert "not validated" not in by_name["Volume"]


def test_the_page_holds_no_code_as_text(tmp_path: Path) -> None:
    world, hours = long_history(tmp_path, 8, n_models=2)
    page = world.root / "reports" / "report.html"
    health, lights = model_health(world.settings, world.registry, hours, hours.stop.start, page)
    text = text_of(page_of(health, lights))
    for code in {*REASONS, *CHECKS}:
        assert "_" not in code or code not in text, code
    left = {code for code in CODE.findall(text) if not NAME.search(code)}
    assert {code for code in left if not re.search(rf"[./-]{code}|{code}[./-]", text)} == set()


def test_the_monitor_is_not_asked_for_where_it_has_nothing_to_judge(tmp_path: Path) -> None:
    world = World(tmp_path)
    hours = HourRange(FIRST, FIRST + 2)
    world.card(world.model("recent_pop", FIRST), FIRST)
    world.goes_live("bootstrap", world.model("recent_pop", FIRST), hours.stop)
    page = world.root / "reports" / "report.html"
    _, lights = model_health(world.settings, world.registry, hours, hours.stop.start, page)
    light = next(light for light in lights if light.name == "Baseline")
    assert light.colour == "grey"
    assert "run hourglass monitor" not in light.sentence
    assert f"is live from {hours.stop} on" in light.sentence
    assert isinstance(baseline_light([]), StatusLight)
