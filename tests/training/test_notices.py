"""What the steps tell people: failures, blocks, rollbacks; and the command that tells by hand."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
from webhook import Webhook, webhook

from pipeline.errors import HourglassError
from pipeline.hours import Hour, HourRange
from pipeline.settings.settings import Settings
from pipeline.workspace import CommandContext
from training.cli.main import run
from training.steps.gate import Verdict, run_gate
from training.steps.monitor import monitor_champion
from training.steps.notices import notify_blocked, notify_failed, notifying_failure

HOUR = Hour.parse("2016-03-14T13")
CLOCK = datetime(2016, 3, 14, 14, 5, tzinfo=UTC)


def context(work: Path, hook: Webhook) -> CommandContext:
    settings = Settings(work=work, site="shop", notify={"to": (hook.address,)})  # type: ignore[arg-type]
    return CommandContext(settings, CLOCK)


def test_a_gate_that_blocks_is_told_once_though_its_task_fails_too(tmp_path: Path) -> None:
    verdict = Verdict("block", "hrnn-b: 3 of 5 slices lose", None, "hrnn-b")
    with webhook() as hook:
        ctx = context(tmp_path, hook)
        notify_blocked(ctx, HOUR, verdict)
        notify_failed(ctx, "gate", HOUR, "The task gate failed.")
        notify_failed(ctx, "train", HOUR, "The task train failed.")
    assert hook.titles == [
        "Hourglass shop: gate blocked, hour 2016-03-14T13",
        "Hourglass shop: train failed, hour 2016-03-14T13",
    ]
    assert "hrnn-b: 3 of 5 slices lose. The live model stays." in hook.messages[0]["message"]


@pytest.mark.parametrize(
    ("outcome", "late", "told"),
    [("block", None, True), ("block", ["an hour"], False), ("hold", None, False)],
    ids=["block", "block of an hour judged late", "hold"],
)
def test_the_gate_tells_of_a_block_of_the_hour_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outcome: str, late: Any, told: bool
) -> None:
    """The decisions are made up: what is decided is tested elsewhere."""
    verdict = Verdict(outcome, "so it is", None, "hrnn-b")
    module = "training.steps.gate"
    nothing = lambda *_: None  # noqa: E731
    monkeypatch.setattr(f"{module}.registry_of", nothing)
    monkeypatch.setattr("training.steps.judge_candidates.ensure_champion", nothing)
    monkeypatch.setattr("training.steps.judge_candidates.judge_candidates", lambda *_: [])
    monkeypatch.setattr("training.fit.retrain_signals.recorded_retrain_decision", nothing)
    monkeypatch.setattr("pipeline.dataset.validate.dataset_verdict", lambda _: ("passed", ""))
    monkeypatch.setattr(f"{module}.quality_passed", lambda *_: True)
    monkeypatch.setattr(f"{module}.verdict_of", lambda _: verdict)
    monkeypatch.setattr(f"{module}.CommandContext.lake", None, raising=False)
    ends = SimpleNamespace(dataset_id="part", window_start=HOUR, as_of=HOUR + 1)
    part = SimpleNamespace(manifest=ends)
    data: Any = SimpleNamespace(
        evaluated_set=part, judging_state={}, learned=part, folder=tmp_path / "d1"
    )
    with webhook() as hook:
        run_gate(context(tmp_path, hook), data, late)
    assert len(hook.messages) == told


@pytest.mark.parametrize("replaced_by", ["pop-a", None])
def test_the_monitor_tells_of_a_rollback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replaced_by: str | None
) -> None:
    module = "training.steps.monitor"
    result = SimpleNamespace(
        outcome="replaced", reason="below_baseline", sentence="hrnn-b is surely worse",
        model=SimpleNamespace(model_id="hrnn-b"), replaced_by=replaced_by, numbers=None,
        stop=HOUR + 1, baselines=None,
    )  # fmt: skip
    nothing = lambda *_: None  # noqa: E731
    registry = SimpleNamespace(records=tmp_path)
    monkeypatch.setattr(f"{module}.registry_of", lambda _: registry)
    monkeypatch.setattr(f"{module}.champion_periods", nothing)
    monkeypatch.setattr(f"{module}.champion_during", lambda *_: "a period")
    monkeypatch.setattr(f"{module}.candidates", lambda *_: {})
    monkeypatch.setattr(f"{module}.quality_passed", lambda *_: True)
    monkeypatch.setattr(f"{module}.CommandContext.lake", None, raising=False)
    monkeypatch.setattr("training.evaluation.evaluate.load_evaluation", nothing)
    judge = lambda **_: lambda _: (result, tmp_path / "record.json")  # noqa: E731
    monkeypatch.setattr("training.deployment.monitor.ChampionMonitor", judge)
    histories = SimpleNamespace(user_ids=[])
    data: Any = SimpleNamespace(
        manifest=SimpleNamespace(as_of=HOUR),
        folder=tmp_path / "d1",
        judging_state={},
        evaluated_set=SimpleNamespace(folder=tmp_path, histories=histories),
    )
    with webhook() as hook:
        ctx = context(tmp_path, hook)
        for _ in range(2):
            monitor_champion(ctx, data)
    assert hook.titles == ["Hourglass shop: rolled back, hour 2016-03-14T13"] * bool(replaced_by)
    if replaced_by:
        assert "hrnn-b is surely worse. Live now: pop-a." in hook.messages[0]["message"]


def test_a_failure_in_the_loop_is_told_and_raised(tmp_path: Path) -> None:
    with webhook() as hook:
        ctx = context(tmp_path, hook)
        for _ in range(2):
            with pytest.raises(HourglassError, match="full"), notifying_failure(ctx, "loop", HOUR):
                raise HourglassError(f"{tmp_path}/lake/x.parquet: the disk is full")
    assert hook.titles == ["Hourglass shop: loop failed, hour 2016-03-14T13"]
    assert "loop ended with: x.parquet: the disk is full" in hook.messages[0]["message"]
    assert str(tmp_path) not in json.dumps(hook.messages)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which commands run, with a webhook that its settings name by a variable."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HOURGLASS_CONFIG", raising=False)
    (tmp_path / "hourglass.yaml").write_text("work: shop\nnotify: {to: ['${HOOK}']}\n")
    return tmp_path


def test_the_loop_tells_of_what_it_cannot_take_in(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> NoReturn:
        raise HourglassError("1 file left out")

    monkeypatch.setattr("training.steps.take_in.take_in", refuse)
    with webhook() as hook:
        monkeypatch.setenv("HOOK", hook.address)
        assert run(["loop"]) == 1
        assert run(["loop"]) == 1
    assert len(hook.messages) == 1
    assert "ingest ended with: 1 file left out" in hook.messages[0]["message"]


def test_a_test_message_is_sent_each_time(
    shop: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with webhook() as hook:
        monkeypatch.setenv("HOOK", hook.address)
        assert run(["notify"]) == 0
        assert run(["notify"]) == 0
    assert hook.titles == ["Hourglass shop: test message"] * 2
    assert capfd.readouterr().out == "1 of 1 address told\n" * 2


def test_a_test_that_reaches_nobody_ends_with_1_and_tells_no_address(
    shop: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with webhook(status=500) as hook:
        monkeypatch.setenv("HOOK", hook.address)
        assert run(["notify"]) == 1
    captured = capfd.readouterr()
    assert "notify.to[0] (a variable)" in captured.err
    assert hook.address not in captured.out + captured.err
    monkeypatch.delenv("HOOK")
    assert run(["notify"]) == 1
    assert "the variable HOOK is not set" in capfd.readouterr().err


def test_nobody_to_tell_is_said(shop: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (shop / "hourglass.yaml").write_text("work: shop\n")
    assert run(["notify"]) == 2
    assert "notify.to names nobody" in capfd.readouterr().err
    # A task that failed does not fail twice.
    assert run(["notify", "--failed", "train", "--hour", str(HOUR)]) == 0


def test_a_task_that_failed_is_told_once_with_its_page(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = "http://localhost:8080/dags/retrain/runs/r/tasks/train"
    words = ["notify", "--failed", "train", "--hour", str(HOUR), "--page", page]
    with webhook() as hook:
        monkeypatch.setenv("HOOK", hook.address)
        assert run(words) == 0
        assert run(words) == 0
    assert hook.titles == ["Hourglass shop: train failed, hour 2016-03-14T13"]
    assert hook.messages[0]["message"].endswith(f"See: {page}")


def test_a_task_that_failed_is_told_with_0_whoever_is_reached(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with webhook(status=500) as hook:
        monkeypatch.setenv("HOOK", hook.address)
        assert run(["notify", "--failed", "train", "--hour", str(HOUR)]) == 0
    assert len(hook.messages) == 1


def test_without_a_lake_the_hour_is_the_last_that_is_over(
    shop: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK", "json://127.0.0.1:1/")
    before = Hour.of(datetime.now(UTC)) - 1
    assert run(["notify", "--failed", "dataset"]) == 0
    words = capfd.readouterr().out.split()
    assert words[:3] == ["dataset", "of", "hour"]
    # The hour may end meanwhile.
    assert words[3] in (str(before), str(before + 1))


def test_a_task_of_no_hour_names_none_and_is_told_each_time(
    shop: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs of it have nothing in common that would tell the second from the first."""
    with webhook() as hook:
        monkeypatch.setenv("HOOK", hook.address)
        for _ in range(2):
            assert run(["notify", "--failed", "ingest", "--no-hour"]) == 0
    assert hook.titles == ["Hourglass shop: ingest failed, no hour"] * 2
    assert capfd.readouterr().out.startswith("ingest failed: 1 of 1 address told\n")
    assert run(["notify", "--failed", "ingest", "--no-hour", "--hour", str(HOUR)]) == 2
    assert run(["notify", "--no-hour"]) == 2


def test_what_belongs_to_a_failure_alone_is_refused_without_one(
    shop: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["notify", "--hour", str(HOUR)]) == 2
    assert "name the task" in capfd.readouterr().err
    assert run(["notify", "--failed", "../x"]) == 2


@pytest.mark.parametrize(
    ("hours_ago", "words", "looks"),
    [(1, [], True), (23, [], True), (30, [], False), (1, ["--from", "2016-03-14T12"], False)],
    ids=["the last hour", "an hour of the last day", "an old log", "hours of the past"],
)
def test_the_loop_looks_at_the_deadline_of_live_hours(
    shop: Path, monkeypatch: pytest.MonkeyPatch, hours_ago: int, words: list[str], looks: bool
) -> None:
    """Its steps are made up; a loop that took in nothing new for long is a hole too."""
    now = CLOCK
    stop = Hour.of(now) - hours_ago + 1
    done = SimpleNamespace(value=SimpleNamespace(outcome="hold"))
    monkeypatch.setattr("training.cli.loop.check_candidates", lambda _: None)
    monkeypatch.setattr("training.cli.loop.print_result", lambda *_: None)
    monkeypatch.setattr("training.steps.take_in.take_in", lambda *_: HourRange(stop - 1, stop))
    monkeypatch.setattr("training.cli.loop.last_filled", lambda *_: stop - 1)
    monkeypatch.setattr("training.loop.hourly_loop.run_hour", lambda *_, **__: done)
    looked: list[datetime] = []
    monkeypatch.setattr(
        "training.steps.deadline.deadline_step", lambda ctx: looked.append(ctx.clock)
    )
    monkeypatch.setattr("training.cli.main.datetime", SimpleNamespace(now=lambda _: now))
    monkeypatch.setattr(CommandContext, "compute_for", lambda *_: None)
    assert run(["loop", "--no-report", *words]) == 0
    assert bool(looked) == looks
