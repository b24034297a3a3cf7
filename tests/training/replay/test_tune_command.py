"""`hourglass tune` on a lake: what it writes and says, and that it never looks at what judges."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
import yaml
from replay_world import START, log_of, settings_of, walks
from staging import DAY, Log
from typer.testing import CliRunner

from pipeline.errors import HourglassError, UsageError
from pipeline.hours import HourRange
from pipeline.settings.learning import ArmSettings, EvaluationSettings, ModelSettings, TuneSettings
from pipeline.settings.settings import Settings
from pipeline.workspace import CommandContext
from training.cli.tune import tune
from training.fit.model_check import Facts
from training.fit.model_configs import configured
from training.metrics.metrics import target_values
from training.replay.arms import arm_of
from training.replay.roll import Run, roll
from training.replay.table import results_of
from training.tuning import tune as tuning
from training.tuning.search import Budget
from training.tuning.space import Space

app = typer.Typer()
app.command()(tune)
HOURS = ("--to", str(DAY + 36), "--hours", "6h")


def lake_settings(log: Log, **rules: Any) -> Settings:
    return log.settings.model_copy(
        update={
            "models": (ModelSettings(system="recent_pop", parameters={"k_h": 5}),),
            "candidate": "recent_pop",
            "tune": TuneSettings(**{"trials": 6, **rules}),
            "evaluation": EvaluationSettings(bootstrap_samples=100, k=5),
        }
    )


def run(settings: Settings, *arguments: str, as_json: bool = True) -> Any:
    ctx = CommandContext(settings, datetime(2024, 4, 1, tzinfo=UTC), as_json)
    done = CliRunner().invoke(app, list(arguments), obj=ctx)
    if done.exception:
        raise done.exception
    return json.loads(done.stdout) if as_json else done.stdout


def test_the_best_becomes_a_model_file(log: Log) -> None:
    settings = lake_settings(log)
    said = run(settings, "recent_pop", *HOURS)
    assert said["trials"] == 6
    assert said["hours"] == str(HourRange(DAY + 30, DAY + 36))
    mean, lower, upper = said["gain"]
    assert mean >= 0
    assert lower <= mean <= upper
    file = Path(said["file"])
    assert file.parent.parent == settings.path("tuning")
    assert yaml.safe_load(file.read_text())["parameters"] == {**said["best"]}
    model = configured(settings, str(file))
    assert (model.system, model.parameters) == ("recent_pop", said["best"])
    # Again, and for people: nothing is fitted any more, and the list begins with the best.
    steps = {path: path.stat().st_mtime_ns for path in file.parent.glob("arms/*/*.parquet")}
    assert run(settings, "recent_pop", *HOURS) == said
    text = run(settings, "recent_pop", *HOURS, as_json=False)
    assert {path: path.stat().st_mtime_ns for path in steps} == steps
    values = [float(line.split()[0]) for line in text.splitlines() if line.startswith("  0.")]
    assert values == sorted(values, reverse=True)
    assert values[0] == pytest.approx(said["value"], abs=5e-5)
    assert "(as configured): k_h 5" in text
    # No weights lie about.
    assert not list(file.parent.glob("arms/*/*.safetensors"))
    # More trials go on from these.
    assert file.name.startswith("recent_pop-")
    before = file.read_text()
    more = run(settings, "recent_pop", *HOURS, "--trials", "8")
    assert file.read_text() == before
    assert (more["file"] == said["file"]) == (more["best"] == said["best"])
    assert more["trials"] == 8
    assert more["value"] >= said["value"]


def test_it_says_what_cannot_be_tuned(log: Log, tmp_path: Path) -> None:
    settings = lake_settings(log, space={"k_hours": (1, 2)})
    with pytest.raises(UsageError, match="recent_pop has no parameter 'k_hours'"):
        run(settings, "recent_pop", *HOURS)
    with pytest.raises(UsageError, match="nothing to tune of pop"):
        run(lake_settings(log), "pop", *HOURS)
    with pytest.raises(UsageError, match="nothing is known before"):
        run(lake_settings(log), "recent_pop", "--to", str(DAY + 1), "--hours", "24h")
    with pytest.raises(UsageError, match="rrn predicts a value alone"):
        run(lake_settings(log), "rrn", *HOURS)
    elsewhere = lake_settings(log).model_copy(update={"work": tmp_path})
    with pytest.raises(UsageError, match="no data set in"):
        run(elsewhere, "recent_pop")


def tuned_in_memory(
    monkeypatch: pytest.MonkeyPatch, work: Path, hours: int, to: int
) -> tuple[tuning.Tuned, Settings, Any]:
    """Tune on the first hours of the world's log, judged on the six before ``to``."""
    settings = settings_of(work, [{"name": "recent_pop"}]).model_copy(
        update={
            "models": (ModelSettings(system="recent_pop", parameters={"k_h": 4}),),
            "tune": TuneSettings(trials=5, space={"k_h": (1, 2, 3, 4, 6), "half_life_h": (0.0,)}),
        }
    )
    flat = log_of([event for event in walks(36) if event[2] < hours], settings, hours)
    monkeypatch.setattr(tuning, "read_log", lambda *_: flat)
    span = HourRange(START + to - 6, START + to)
    rolled = Run(settings, span, 1, work / "tuning", HourRange(START, span.stop), {})
    arm = arm_of(settings, tuning.trial_arm("recent_pop", {}), Facts())
    return tuning.tune(None, rolled, arm, Budget(5), lambda _: None), settings, (rolled, flat)  # type: ignore[arg-type]


def test_a_trial_is_worth_what_a_replay_of_it_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each one rolled by hand, as an arm that is fitted once."""
    tuned, settings, (rolled, flat) = tuned_in_memory(monkeypatch, tmp_path / "a", 30, 30)
    assert len(tuned.trials) == 5
    for trial in tuned.trials:
        arm = arm_of(settings, tuning.trial_arm("recent_pop", trial.parameters), Facts())
        by_hand = Run(settings, rolled.hours, 1, tmp_path / "hand", rolled.read_hours, {})
        roll(by_hand, lambda: flat, [arm])
        ranks = results_of(by_hand, [arm]).rank(arm.name)
        assert trial.value == pytest.approx(np.mean(target_values("mrr", ranks, 3)))
        fits = [json.loads(text) for text in _facts(by_hand, arm)]
        assert [fact["fitted"] for fact in fits] == [True, *[False] * 5]
        assert {fact["model_as_of"] for fact in fits} == {str(rolled.hours.first)}


def _facts(run_by_hand: Run, arm: Any) -> list[str]:
    import pyarrow.parquet as pq

    files = sorted(run_by_hand.arm_folder(arm).glob("*.parquet"))
    return [pq.read_schema(file).metadata[b"facts"].decode() for file in files]


def test_what_comes_after_the_hours_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Six more hours in the log, which are those that judge."""
    without, _, _ = tuned_in_memory(monkeypatch, tmp_path / "a", 30, 30)
    planted, _, _ = tuned_in_memory(monkeypatch, tmp_path / "b", 36, 30)
    assert planted.trials == without.trials
    assert planted.n_targets == without.n_targets
    later, _, _ = tuned_in_memory(monkeypatch, tmp_path / "c", 36, 36)
    assert later.trials != without.trials


def test_hours_in_which_nobody_is_asked_are_no_grounds(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(HourglassError, match="nobody is asked anything"):
        tuned_in_memory(monkeypatch, tmp_path, 20, 26)


def test_a_choice_is_left_out_by_the_data_and_not_by_what_else_is_configured(log: Log) -> None:
    """Without the mixture a network cannot be left out, and with it it can."""

    def served(space: Space, system: str, **parameters: object) -> Space:
        models = (ModelSettings(system=system, parameters=parameters),)
        settings = lake_settings(log).model_copy(update={"models": models})
        return tuning._served(space, settings, arm_of(settings, trial_arm(system), Facts()))

    def trial_arm(system: str) -> ArmSettings:
        return tuning.trial_arm(system, {})

    without = served({"affinity": (True, False)}, "hrnn_trend", mixture=False)
    assert without == {"affinity": (True, False)}
    windows = served({"k_h": (0, 2, 500), "half_life_h": (0.0, 3.0)}, "recent_pop")
    assert windows == {"k_h": (0, 2), "half_life_h": (0.0, 3.0)}
