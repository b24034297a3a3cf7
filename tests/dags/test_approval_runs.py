"""Whole runs of `retrain`: a person says yes, no or nothing, nobody is asked, a command fails."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Timer
from typing import Any

import pytest
from typer.core import TyperGroup
from typer.main import get_command
from workplace import ROOT, Workplace, workplace

from training.cli.main import GLOBAL_FLAGS, app
from training.deployment.answer_proof import proof_of

pytestmark = pytest.mark.slow
# Stands for the command line: notes what it is asked, and answers as the gate would.
HOURGLASS = """#!/usr/bin/env bash
printf '%s\\n' "$(printf '[%s]' "$@")" >> "$COMMANDS"
grep -qx "$1" "$FAILING" && exit 1
case $1 in
  dataset) echo '{"dataset_id": "d1"}' ;;
  judge) cat "$JUDGE" ;;
  gate) cat "$GATE" ;;
  refit) echo '{"model_id": "refit-1"}' ;;
esac
"""
_PATIENCE_S = 600.0
KEY = "0123456789abcdef0123456789abcdef"
# Whatever a file is called, no shell reads it.
DECISION = "/w/2016-03-14T13; touch pwned; $(touch pwned) '\" -0123456789ab.json"


@dataclass(frozen=True)
class Airflow:
    """Airflow beside a stand-in for `hourglass`, in one process for all runs: it starts slowly."""

    folder: Path
    process: subprocess.Popen[str]

    def run(
        self, what: str, wait_s: float = 600, failing: str = "", due: bool = True, **gate: Any
    ) -> tuple[Any, list[str]]:
        """States of the tasks, and the commands that were given, in order."""
        until = (datetime.now(UTC) + timedelta(seconds=wait_s)).isoformat()
        said = {
            "outcome": "promote",
            "sentence": "hrnn-b is better.",
            "decision": DECISION,
            "needs_approval": True,
            "approval_until": until,
            **gate,
        }
        (self.folder / "gate.json").write_text(json.dumps(said))
        (self.folder / "judge.json").write_text(json.dumps({"due": due}))
        (self.folder / "failing").write_text(failing + "\n")
        (self.folder / "commands").unlink(missing_ok=True)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        printed = []
        # Nothing waits for ever for a run that hangs.
        watchdog = Timer(_PATIENCE_S, self.process.kill)
        watchdog.start()
        try:
            for line in self.process.stdout:
                printed.append(line)
                if "ANSWERED" in line:
                    break
        finally:
            watchdog.cancel()
        told = "".join(printed)[-5000:]
        assert "ANSWERED" in told, told
        states = json.loads(printed[-1].partition("ANSWERED")[2])
        assert states["run"] == ("failed" if failing else "success"), told
        commands = (self.folder / "commands").read_text().splitlines()
        for command in commands:
            refuse_unknown_words(command[1:-1].split("]["))
        return states["tasks"], commands


def refuse_unknown_words(command: list[str]) -> None:
    """The command line, which the stand-in is not, must have such a command and such options."""
    words = [word for word in command if word not in GLOBAL_FLAGS]
    own = get_command(app)
    assert isinstance(own, TyperGroup)
    with own.make_context("hourglass", [*words], resilient_parsing=True) as context:
        name, found, arguments = own.resolve_command(context, words)
        assert found is not None
        found.make_context(name, arguments, parent=context).close()


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    folder = tmp_path_factory.mktemp("asking")
    stand_in = folder / "bin" / "hourglass"
    stand_in.parent.mkdir()
    stand_in.write_text(HOURGLASS)
    stand_in.chmod(0o755)
    place = workplace(
        folder / "work",
        COMMANDS=str(folder / "commands"),
        GATE=str(folder / "gate.json"),
        JUDGE=str(folder / "judge.json"),
        FAILING=str(folder / "failing"),
        HOURGLASS_RECORD_KEY=KEY,
        AIRFLOW_HOME=str(folder / "work" / "airflow"),
        AIRFLOW__CORE__DAGS_FOLDER=str(ROOT / "dags"),
        AIRFLOW__CORE__LOAD_EXAMPLES="False",
        AIRFLOW__CORE__UNIT_TEST_MODE="False",
    )
    path = f"{stand_in.parent}:{place.environment['PATH']}"
    place = Workplace(place.work, place.environment | {"PATH": path})
    with subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("asking.py"))],
        cwd=ROOT,
        env=place.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield Airflow(folder, process)
        finally:
            process.kill()


def given(commands: list[str], name: str) -> str:
    (found,) = [line for line in commands if line.startswith(f"[{name}]")]
    return found


def test_a_yes_promotes_and_is_kept_with_the_name(airflow: Airflow) -> None:
    begun = datetime.now(UTC)
    tasks, commands = airflow.run("approve")
    assert tasks["promote"] == tasks["recommend"] == tasks["report"] == "success"
    assert tasks["rejected"] == tasks["not_asked"] == "skipped"
    approve = given(commands, "approve")
    assert f"[--decision][{DECISION}]" in approve
    assert "[--by][ann'; rm -rf $HOME; ']" in approve  # a name is a name, whatever it looks like
    at = approve.partition("[--at][")[2].partition("]")[0]
    assert begun <= datetime.fromisoformat(at) <= datetime.now(UTC)
    assert "[--reject]" not in approve
    proof = approve.partition("[--proof][")[2].partition("]")[0]
    by = "ann'; rm -rf $HOME; '"
    assert proof == proof_of(KEY.encode(), Path(DECISION).name, True, by, at)
    # Once while the person thinks, once when all is settled.
    assert tasks["recommend_meanwhile"] == "success"
    order = [line.partition("]")[0][1:] for line in commands]
    assert order.count("recommend") == 2
    order.remove("recommend")
    assert order == [
        *("dataset", "judge", "stale", "train", "evaluate", "monitor", "gate"),
        *("approve", "refit", "promote", "recommend", "report"),
    ]
    assert "[--refit][refit-1]" in given(commands, "promote")


def test_a_no_leaves_the_champion_which_recommends(airflow: Airflow) -> None:
    tasks, commands = airflow.run("reject")
    assert tasks["promote"] == tasks["approved"] == "skipped"
    assert tasks["rejected"] == tasks["recommend"] == tasks["report"] == "success"
    reject = given(commands, "approve")
    assert reject.endswith("[--reject]")
    at = reject.partition("[--at][")[2].partition("]")[0]
    proof = reject.partition("[--proof][")[2].partition("]")[0]
    by = "ann'; rm -rf $HOME; '"
    assert proof == proof_of(KEY.encode(), Path(DECISION).name, False, by, at)


def test_no_answer_in_time_is_a_no(airflow: Airflow) -> None:
    tasks, commands = airflow.run("silence", wait_s=1)
    assert tasks["promote"] == "skipped"
    assert tasks["recommend"] == tasks["report"] == "success"
    assert "[--by][nobody]" in given(commands, "approve")
    assert given(commands, "approve").endswith("[--reject]")


def test_nobody_is_asked_where_the_settings_do_not_say_so(airflow: Airflow) -> None:
    tasks, commands = airflow.run("nobody", needs_approval=False)
    assert tasks["promote"] == tasks["recommend"] == "success"
    assert tasks["approval"] == tasks["approved"] == tasks["rejected"] == "skipped"
    assert tasks["recommend_meanwhile"] == "skipped"
    assert not [line for line in commands if line.startswith("[approve]")]


def test_an_hour_that_was_skipped_promotes_nothing_and_recommends(airflow: Airflow) -> None:
    tasks, commands = airflow.run("nobody", outcome="skipped", decision=None, needs_approval=False)
    assert tasks["nothing_new"] == tasks["settled"] == tasks["recommend"] == "success"
    assert tasks["refit"] == tasks["promote"] == tasks["approval"] == "skipped"
    assert not [line for line in commands if line.startswith("[promote]")]


def test_an_hour_that_was_judged_already_leaves_nothing_to_do_but_to_recommend(
    airflow: Airflow,
) -> None:
    tasks, commands = airflow.run("nobody", due=False)
    assert tasks["nothing_new"] == tasks["settled"] == tasks["recommend"] == "success"
    for name in ("stale", "train", "evaluate", "watch", "gate", "ask", "promote", "approval"):
        assert tasks[name] == "skipped", name
    order = [line.partition("]")[0][1:] for line in commands]
    assert order == ["dataset", "judge", "recommend", "report"]


def test_an_earlier_hour_that_cannot_be_judged_keeps_the_newest_from_nothing(
    airflow: Airflow,
) -> None:
    tasks, _ = airflow.run("nobody", failing="judge", needs_approval=False)
    assert tasks["judge"] == "failed"
    for name in ("due", "train", "evaluate", "watch", "gate", "promote", "recommend"):
        assert tasks[name] == "success", name
    assert tasks["settled"] == "upstream_failed"  # and so the run fails


def test_a_line_that_cannot_be_trained_keeps_nobody_from_being_watched(airflow: Airflow) -> None:
    tasks, commands = airflow.run("nobody", failing="train", needs_approval=False)
    assert tasks["train"] == "failed"
    for name in ("evaluate", "watch", "gate", "promote", "recommend", "report"):
        assert tasks[name] == "success", name
    assert tasks["settled"] == "upstream_failed"  # and so the run fails
    assert given(commands, "monitor") == "[monitor][--dataset][d1]"


def test_without_a_data_set_nothing_is_judged_and_the_live_model_recommends(
    airflow: Airflow,
) -> None:
    tasks, commands = airflow.run("nobody", failing="dataset")
    for name in ("judge", "due", "stale", "train", "evaluate", "watch", "gate", "settled"):
        assert tasks[name] == "upstream_failed", name
    assert tasks["recommend"] == tasks["report"] == "success"
    assert [line.partition("]")[0] for line in commands] == ["[dataset", "[recommend", "[report"]


def test_a_refusal_fails_its_task_and_stops_the_run(airflow: Airflow) -> None:
    tasks, commands = airflow.run("nobody sessions_hourly", failing="validate")
    assert tasks["ingest"] == "success"
    assert tasks["validate"] == "failed"
    assert tasks["sessionize"] == "upstream_failed"
    assert [line.partition("]")[0] for line in commands] == ["[ingest", "[validate", "[report"]


def test_a_failed_recommendation_fails_the_run(airflow: Airflow) -> None:
    tasks, _ = airflow.run("nobody", failing="recommend", needs_approval=False)
    assert tasks["recommend"] == "failed"
    assert tasks["promote"] == tasks["report"] == "success"
