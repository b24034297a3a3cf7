"""`hourglass replay` on a lake: what it writes, what it says, and that it goes on."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pyarrow.parquet as pq
import pytest
import typer
from staging import DAY, Log
from typer.testing import CliRunner

from pipeline.errors import HourglassError, UsageError
from pipeline.settings.learning import (
    ArmSettings,
    EvaluationSettings,
    GateSettings,
    ReplaySettings,
)
from pipeline.settings.settings import Settings
from pipeline.workspace import CommandContext
from training.cli.replay import replay
from training.replay.store import newest_picture

ARMS = (
    ArmSettings(name="recent_pop", parameters={"k_h": 6}),
    ArmSettings(name="item_knn"),
    ArmSettings(name="stale", model="item_knn", mode="offline"),
)
app = typer.Typer()
app.command()(replay)


def settings_of(log: Log) -> Settings:
    return log.settings.model_copy(
        update={
            "replay": ReplaySettings(arms=ARMS),
            "evaluation": EvaluationSettings(bootstrap_samples=100, k=5),
        }
    )


def run(settings: Settings, *arguments: str, as_json: bool = False) -> str:
    ctx = CommandContext(settings, datetime(2024, 4, 1, tzinfo=UTC), as_json)
    done = CliRunner().invoke(app, list(arguments), obj=ctx)
    if done.exception:
        raise done.exception
    return done.stdout


def test_a_replay_writes_table_picture_and_steps(log: Log) -> None:
    settings = settings_of(log)
    hours = ("--from", str(DAY + 30), "--to", str(DAY + 36))
    said = json.loads(run(settings, *hours, as_json=True))
    folder = settings.path("replay") / said["folder"].rsplit("/", 1)[1]
    made = {path.name for path in folder.iterdir()}
    assert made == {
        "arms", "curve.png", "curve.svg", "delays.json", "holder", "steps.parquet", "table.json",
        "table.md",
    }  # fmt: skip
    assert newest_picture(settings.path("replay")) == folder / "curve.png"
    assert [row["arm"] for row in said["arms"]] == ["recent_pop", "item_knn", "stale"]
    assert [row["fits"] for row in said["arms"]] == [6, 6, 1]
    assert said["against"] == "recent_pop"
    steps = pq.read_table(folder / "steps.parquet").to_pylist()
    assert len(steps) == 18
    for row in said["arms"]:
        own = [step for step in steps if step["arm"] == row["arm"]]
        assert sum(step["n_targets"] for step in own) == said["n_targets"] > 100
        hits = sum(step["recall_all"] * step["n_targets"] for step in own if step["n_targets"])
        mean, lower, upper = row["all"]["recall"]
        assert mean == pytest.approx(hits / said["n_targets"], abs=1e-4)
        assert lower < mean < upper
        if row["arm"] != "recent_pop":
            difference = row["all_difference"]["recall"][0]
            assert difference == pytest.approx(said["arms"][0]["all"]["recall"][0] - mean, abs=1e-4)

    # Again: the same figures, from what lies there.
    before = {path: path.stat().st_mtime_ns for path in folder.glob("arms/*/*.parquet")}
    assert json.loads(run(settings, *hours, as_json=True)) == said
    # What the gate asks of candidates, as here to beat several baselines, changes no replay.
    several = settings.model_copy(update={"gate": GateSettings(baseline=("pop", "stan"))})
    assert json.loads(run(several, *hours, as_json=True)) == said
    assert {path: path.stat().st_mtime_ns for path in folder.glob("arms/*/*.parquet")} == before
    # What one arm came to is shown with all the others that are done.
    assert json.loads(run(settings, *hours, "--arm", "item_knn", as_json=True)) == said
    assert json.loads((folder / "table.json").read_text())["unfinished"] == []
    drawn = (folder / "curve.svg").read_text()
    assert all(name in drawn for name in ("recent_pop", "item_knn", "stale", "pointwise"))
    run(settings, *hours, "--arm", "item_knn", "--fresh")
    after = {path: path.stat().st_mtime_ns for path in folder.glob("arms/*/*.parquet")}
    assert sum(after[path] != before[path] for path in before) == 6


def test_a_picture_of_some_arms_says_so(log: Log) -> None:
    settings = settings_of(log)
    hours = ("--from", str(DAY + 31), "--to", str(DAY + 34))
    said = json.loads(run(settings, *hours, "--arm", "item_knn", "--arm", "stale", as_json=True))
    folder = settings.path("replay") / said["folder"].rsplit("/", 1)[1]
    assert [row["arm"] for row in said["arms"]] == ["item_knn", "stale"]
    assert said["unfinished"] == ["recent_pop"]
    sentence = "Not all arms: recent_pop not rolled to the end"
    assert sentence in (folder / "curve.svg").read_text()
    assert sentence in (folder / "table.md").read_text()
    text = run(settings, *hours, "--arm", "recent_pop")
    assert "| stale |" in text
    assert "Not all arms" not in text + (folder / "curve.svg").read_text()


def test_another_step_is_another_run(log: Log) -> None:
    settings = settings_of(log)
    hours = ("--from", str(DAY + 30), "--to", str(DAY + 36), "--arm", "item_knn")
    said = json.loads(run(settings, *hours, "--step", "3h", as_json=True))
    assert said["steps"] == 2
    with pytest.raises(UsageError, match="'often' is not a duration"):
        run(settings, *hours, "--step", "often")


def test_hours_that_cannot_be_replayed_are_named(log: Log) -> None:
    settings = settings_of(log)
    with pytest.raises(HourglassError, match=f"not sessionized.*{DAY + 40}"):
        run(settings, "--from", str(DAY + 38), "--to", str(DAY + 45))
    with pytest.raises(UsageError, match=f"--from {DAY}: no event is known before it"):
        run(settings, "--from", str(DAY), "--to", str(DAY + 3))
