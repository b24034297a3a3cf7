"""Hours that end while a run is busy are judged by the next, in order, as of their time."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.errors import HourglassError, NothingHappenedError
from pipeline.hours import Hour, HourRange
from pipeline.lake.steps import INGEST, SESSIONIZE
from pipeline.sealed_json import read_record
from pipeline.settings.learning import RetrainSettings
from pipeline.settings.settings import Settings
from pipeline.spark.compute import Compute
from pipeline.workspace import CommandContext
from training.cli.main import run
from training.gate.judged_hours import judged_hours, note_judged
from training.loop import catch_up as catching_up
from training.loop.catch_up import beyond_sentence, catch_up, refuse_left_out, unjudged_hours

DAY = Hour.parse("2026-01-05T00")
SETTINGS = """
work: '{folder}/work'
source: {{name: simulator, path: '{folder}/landing'}}
simulator: {{users: 200, items_per_day: 30, sessions_per_day: 8}}
dataset: {{window: 4h, history: 2h, min_item_events: 2}}
models: [{{system: recent_pop}}, {{system: item_knn}}]
candidate: item_knn
evaluation: {{bootstrap_samples: 100}}
gate: {{min_users: 5, min_targets: 20}}
"""


@pytest.fixture
def ctx(tmp_path: Path) -> CommandContext:
    """A lake of which only is known which hours are filled; fits are there from hour 0 on."""
    return CommandContext(Settings(work=tmp_path), datetime(2026, 2, 1, tzinfo=UTC), as_json=True)


def fill(
    ctx: CommandContext,
    monkeypatch: pytest.MonkeyPatch,
    hours: Iterable[int],
    silent: Iterable[int] = (),
    first_fit: int | None = 0,
) -> None:
    filled = {DAY + hour for hour in hours}
    steps = {SESSIONIZE: filled, INGEST: filled - {DAY + hour for hour in silent}}

    def of_step(step: str, within: HourRange) -> dict[Hour, None]:
        return {hour: None for hour in steps[step] if hour in within}

    ctx._opened["lake"] = SimpleNamespace(filled=of_step)
    first = None if first_fit is None else DAY + first_fit
    monkeypatch.setattr(catching_up, "_first_fit", lambda _: first)


def hours_of(hours: Iterable[Hour]) -> list[int]:
    return [hour.index - DAY.index for hour in hours]


def judged(ctx: CommandContext, *hours: int) -> None:
    for hour in hours:
        note_judged(ctx.settings, DAY + hour, "hold", "")


def test_the_hours_between_two_runs_wait_in_order(
    ctx: CommandContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(ctx, monkeypatch, range(5))
    judged(ctx, 1)
    found = unjudged_hours(ctx, DAY + 4)
    # 0, before the last judged one, was nobody's either.
    assert (hours_of(found.hours), found.beyond, found.due) == ([0, 2, 3], (), True)
    judged(ctx, 0, 2, 3, 4)
    done = unjudged_hours(ctx, DAY + 4)
    assert (done.hours, done.beyond, done.due) == ((), (), False)


def test_what_is_not_filled_or_held_no_event_or_is_older_than_any_fit_is_nobody_s(
    ctx: CommandContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(ctx, monkeypatch, (0, 1, 2, 4, 5, 6), silent=(4,), first_fit=2)
    assert hours_of(unjudged_hours(ctx, DAY + 6).hours) == [2, 5]
    fill(ctx, monkeypatch, range(7), first_fit=None)
    assert unjudged_hours(ctx, DAY + 6).hours == ()


def test_hours_longer_ago_than_the_settings_say_are_named(
    ctx: CommandContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(ctx, monkeypatch, range(12))
    judged(ctx, 2)
    ctx.settings = ctx.settings.model_copy(update={"retrain": RetrainSettings(catch_up="3h")})
    found = unjudged_hours(ctx, DAY + 10)
    assert hours_of(found.hours) == [7, 8, 9]
    assert hours_of(found.beyond) == [3, 4, 5, 6]
    assert beyond_sentence(found.beyond) == (
        f"{DAY + 3} to {DAY + 7} stay unjudged, longer ago than retrain.catch_up: set it higher "
        "to judge them"
    )
    ctx.settings = ctx.settings.model_copy(update={"retrain": RetrainSettings(catch_up=None)})
    assert hours_of(unjudged_hours(ctx, DAY + 10).hours) == []
    assert hours_of(unjudged_hours(ctx, DAY + 10).beyond) == [3, 4, 5, 6, 7, 8, 9]


def test_hours_that_judge_together_must_all_be_filled(
    ctx: CommandContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(ctx, monkeypatch, (0, 1, 2, 4, 5, 6, 7))
    rule = ctx.settings.evaluation.model_copy(update={"horizon": "2h"})
    ctx.settings = ctx.settings.model_copy(update={"evaluation": rule})
    # 2 lacks its second hour; what 1 and 5 are judged on, their neighbours are too.
    assert hours_of(unjudged_hours(ctx, DAY + 6).hours) == [0, 4]


def test_a_work_folder_from_before_counts_its_decisions(ctx: CommandContext) -> None:
    decisions = ctx.settings.path("decisions")
    decisions.mkdir(parents=True)
    for hour in (1, 2):
        (decisions / f"{DAY + hour}-item_knn-0-0123456789ab.json").write_text("{}")
    assert hours_of(sorted(judged_hours(ctx.settings))) == [1, 2]
    judged(ctx, 3)
    assert hours_of(sorted(judged_hours(ctx.settings))) == [1, 2, 3]
    # A decision alone, by a gate that was cut short, is none that was noted.
    (decisions / f"{DAY + 4}-item_knn-0-0123456789ab.json").write_text("{}")
    assert hours_of(sorted(judged_hours(ctx.settings))) == [1, 2, 3]


def test_one_hour_that_cannot_be_judged_keeps_no_other_from_it_and_is_named(
    ctx: CommandContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(ctx, monkeypatch, range(5))
    judged(ctx, 0)

    def judge(_: CommandContext, hour: Hour) -> tuple[str, str]:
        if hour == DAY + 1:
            raise HourglassError("critical")
        if hour == DAY + 2:
            raise NothingHappenedError("no event")
        note_judged(ctx.settings, hour, "hold", "")
        return "hold", "not proven"

    monkeypatch.setattr(catching_up, "judge_hour", judge)
    lines: list[str] = []
    done = catch_up(ctx, DAY + 4, lines.append)
    assert [line.split(": ")[0] for line in lines] == [str(DAY + hour) for hour in (1, 2, 3)]
    assert [(hour, outcome) for hour, outcome, _ in done.judged] == [
        (DAY + 2, "quiet"),
        (DAY + 3, "hold"),
    ]
    with pytest.raises(HourglassError, match=f"1 hour could not be judged; {DAY + 1}: critical"):
        refuse_left_out(done)
    # What was quiet is not asked for again, what failed is.
    assert unjudged_hours(ctx, DAY + 4).hours == (DAY + 1,)
    refuse_left_out(replace(done, failed=()))


class Place:
    """A lake of simulated hours, and the commands that Airflow runs on it."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.work, self.capsys = folder / "work", capsys
        self.config = folder / "hourglass.yaml"
        self.config.write_text(SETTINGS.format(folder=folder))

    def command(self, *arguments: str) -> dict[str, Any]:
        """What a command says, as JSON."""
        code = run(["--config", str(self.config), "--json", *arguments])
        printed = self.capsys.readouterr()
        assert code == 0, printed.err
        said: dict[str, Any] = json.loads(printed.out.splitlines()[-1])
        return said

    def fill(self, first: int, stop: int) -> None:
        ends = ("--from", str(DAY + first), "--to", str(DAY + stop))
        self.command("backfill", *ends)

    def begin(self) -> str:
        """The data set of the newest hour."""
        found: str = self.command("dataset", "--judged-until", "last")["dataset_id"]
        return found

    def finish(self, dataset: str, hour: int) -> None:
        """Judge the data set's own hour; what one command says is handed to the next."""
        self.command("validate", "--from", str(DAY + hour), "--to", str(DAY + hour + 1))
        for step in (["train", "--as-needed"], ["evaluate"], ["monitor"]):
            self.command(*step, "--dataset", dataset)
        decided = self.command("gate", "--dataset", dataset)
        assert decided["sentence"]
        assert decided["needs_approval"] is False
        refit = self.command("refit", "--decision", decided["decision"])
        assert refit["model_id"] is None, "the settings want none"

    def decisions(self) -> dict[int, dict[str, Any]]:
        """By hour, in the order in which they were made."""
        records = [read_record(path).content for path in (self.work / "decisions").glob("2*.json")]
        made = sorted(records, key=lambda content: (content["made_at"], content["as_of"]))
        return {Hour.parse(content["as_of"]).index - DAY.index: content for content in made}


@pytest.mark.slow
def test_the_next_run_takes_the_newest_hour_and_judges_that_between(
    compute: Compute, mlflow_tables: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Hours 8 and 9 are filled while the run of hour 7 is busy."""
    place = Place(tmp_path, capsys)
    place.command("simulate", "--hours", "10", "--seed", "1")
    place.fill(0, 8)
    first = place.begin()
    place.fill(8, 10)
    assert place.command("judge", "--dataset", first)["waiting"] == []
    place.finish(first, 7)
    assert list(place.decisions()) == [7]

    second = place.begin()
    plan = place.command("judge", "--plan")
    assert plan["waiting"] == [str(DAY + 8)]
    done = place.command("judge", "--dataset", second)
    assert [one["hour"] for one in done["judged"]] == [str(DAY + 8)]
    assert done["due"] is True
    place.finish(second, 9)
    found = place.decisions()
    assert list(found) == [7, 8, 9]
    candidate = found[7]["candidate"]["model_id"]
    for hour, content in found.items():
        assert content["outcome"] != "block", content["sentence"]
        for role in ("candidate", "champion", "floor"):
            assert Hour.parse(content[role]["as_of"]) <= DAY + hour, (hour, role)
        late = [check for check in content["checks"] if check["name"] == "judged_late"]
        assert bool(late) == (hour == 8)
        # Of the hours between by the fit of the first, of the newest by its own.
        assert (content["candidate"]["model_id"] == candidate) == (hour != 9)
    assert found[8]["outcome"] == "hold"
    looks = [look["first"] for look in found[9]["earlier_looks"]]
    assert looks == [str(DAY + hour) for hour in (7, 8)]

    # Nothing waits, and a run that another event starts has nothing to do.
    third = place.begin()
    assert third == second
    again = place.command("judge", "--dataset", third)
    assert (again["due"], again["waiting"], again["judged"]) == (False, [], [])
    # An old run that is cleared from its second task on finds nothing left before its own hour.
    old = place.command("judge", "--dataset", first)
    assert (old["due"], old["waiting"], old["judged"]) == (False, [], [])
    assert list(place.decisions()) == [7, 8, 9]
