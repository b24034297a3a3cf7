"""What the loop of an hour still does when one of its steps cannot be done."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.errors import HourglassError, NothingHappenedError, UsageError
from pipeline.hours import Hour, HourRange
from pipeline.settings.settings import Settings
from pipeline.workspace import CommandContext
from training.cli.loop import _hours
from training.fit.retrain_policy import (
    LineChoice,
    LineSignals,
    RetrainDecision,
    RetrainSignals,
)
from training.fit.train import TrainOptions
from training.loop.hourly_loop import HOUR_STEPS, _trained, learn
from training.steps.result import StepResult, Steps

STOP = Hour.parse("2016-03-14T13")


@pytest.fixture
def ctx(mlflow_tables: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CommandContext:
    """Hours to learn from that are critical."""

    def refuse(*_: object) -> None:
        raise HourglassError("hours to learn from are critical")

    monkeypatch.setattr("pipeline.dataset.freeze.freeze_and_validate", refuse)
    return CommandContext(
        Settings(work=tmp_path), datetime(2016, 3, 14, 14, tzinfo=UTC), as_json=True
    )


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[object]:
    """Whom the live model recommended to, and when."""
    found: list[object] = []

    def recommend(_: CommandContext, live: SimpleNamespace, at: datetime) -> StepResult[Any]:
        found.append((live.model_id, at))
        return StepResult(SimpleNamespace(path=tmp_path), "20 rows", {})

    live = SimpleNamespace(model_id="hrnn-before")
    monkeypatch.setattr("training.steps.recommend.champion_at", lambda *_: live)
    monkeypatch.setattr("training.steps.recommend.recommend_step", recommend)
    return found


def test_without_a_data_set_the_live_model_recommends_and_the_hour_fails(
    ctx: CommandContext, served: list[object]
) -> None:
    with pytest.raises(HourglassError, match="hours to learn from are critical"):
        learn(ctx, STOP, Steps(ctx))
    assert served == [("hrnn-before", STOP.start)]


def test_an_hour_in_which_nothing_happened_is_quiet_and_served(
    ctx: CommandContext, served: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(*_: object) -> None:
        raise NothingHappenedError("no event is on a known item")

    monkeypatch.setattr("pipeline.dataset.freeze.freeze_and_validate", nothing)
    done = learn(ctx, STOP, Steps(ctx))
    assert (done.outcome, done.sentence) == ("quiet", "no event is on a known item")
    assert served == [("hrnn-before", STOP.start)]


def test_where_nothing_is_live_either_the_first_cause_is_told(ctx: CommandContext) -> None:
    with pytest.raises(HourglassError, match="hours to learn from are critical"):
        learn(ctx, STOP, Steps(ctx))


FIRST, LAST = STOP - 5, STOP - 2


@pytest.mark.parametrize(
    ("asked", "hours"),
    [
        (None, HourRange(STOP - 2, STOP - 1)),
        (HourRange(STOP - 9, STOP - 3), HourRange(STOP - 9, STOP - 3)),
        (HourRange(STOP - 3, STOP - 1), HourRange(STOP - 3, STOP - 1)),
    ],
)
def test_the_last_hour_with_events_that_is_over_is_done_or_what_was_asked_for(
    asked: HourRange | None, hours: HourRange
) -> None:
    assert _hours(asked, FIRST, LAST) == hours


def test_hours_after_the_log_are_refused() -> None:
    with pytest.raises(UsageError, match=f"the log ends with hour {STOP - 2}"):
        _hours(HourRange(STOP - 2, STOP), FIRST, LAST)
    with pytest.raises(HourglassError, match=f"first hour with events, {STOP + 3}, is not over"):
        _hours(None, STOP + 3, None)


def test_the_steps_to_come_are_those_of_an_hour(
    ctx: CommandContext, served: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    coming: dict[str, tuple[str, ...]] = {}
    step = CommandContext.step

    def noted(ctx: CommandContext, name: str, after: tuple[str, ...]) -> Any:
        coming[name] = after
        return step(ctx, name, after)

    monkeypatch.setattr(CommandContext, "step", noted)
    steps = Steps(ctx, HOUR_STEPS)
    with steps("validate"), pytest.raises(HourglassError, match="are critical"):
        learn(ctx, STOP, steps)
    assert coming == {
        "validate": HOUR_STEPS[1:],
        "dataset": ("train", "evaluate", "monitor", "gate", "recommend"),
        "recommend": (),
    }
    assert served


def test_the_loop_has_made_anew_what_the_signs_name(
    ctx: CommandContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign = LineSignals("mine", "parent", 1, 9, 0.2, None, rules_changed=False)
    lines = (LineChoice("mine", ("lead_fell",), sign), LineChoice("other", (), sign))
    quiet = RetrainSignals(1, 0.0, 0.0, None)
    found = RetrainDecision(True, ("lead_fell",), "worth it", quiet, lines)
    options: list[TrainOptions] = []

    def train(*arguments: Any) -> list[StepResult[Any]]:
        options.append(arguments[-1])
        return []

    result = StepResult(found, "worth it", {})
    monkeypatch.setattr("training.steps.retrain.retrain_step", lambda *_: result)
    monkeypatch.setattr("training.steps.retrain.models_to_train", lambda *_: [])
    monkeypatch.setattr("training.loop.hourly_loop.train_step", train)
    data: Any = None
    assert "worth it" in _trained(ctx, data)
    assert [option.anew for option in options] == [{"mine": ("lead_fell",)}]
