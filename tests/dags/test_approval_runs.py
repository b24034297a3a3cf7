"""Whole runs of `retrain`: a person says yes, no or nothing, nobody is asked, a command fails."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from workplace import ROOT, Workplace, workplace

pytestmark = pytest.mark.slow
# Stands for the command line: notes what it is asked, and answers as the gate would.
HOURGLASS = """#!/usr/bin/env bash
printf '%s\\n' "$(printf '[%s]' "$@")" >> "$COMMANDS"
grep -qx "$1" "$FAILING" && exit 1
case $1 in
  dataset) echo '{"dataset_id": "d1"}' ;;
  gate) cat "$GATE" ;;
  refit) echo '{"model_id": "refit-1"}' ;;
esac
"""
DECISION = "/w/decisions/2016-03-14T13-hrnn-b-0123456789ab.json"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """Airflow beside a stand-in for `hourglass`."""
    folder = tmp_path_factory.mktemp("asking")
    stand_in = folder / "bin" / "hourglass"
    stand_in.parent.mkdir()
    stand_in.write_text(HOURGLASS)
    stand_in.chmod(0o755)
    place = workplace(
        folder / "work",
        COMMANDS=str(folder / "commands"),
        GATE=str(folder / "gate.json"),
        FAILING=str(folder / "failing"),
        AIRFLOW_HOME=str(folder / "work" / "airflow"),
        AIRFLOW__CORE__DAGS_FOLDER=str(ROOT / "dags"),
        AIRFLOW__CORE__LOAD_EXAMPLES="False",
        AIRFLOW__CORE__UNIT_TEST_MODE="False",
    )
    path = f"{stand_in.parent}:{place.environment['PATH']}"
    place = Workplace(place.work, place.environment | {"PATH": path})
    assert place.run("airflow", "db", "migrate").returncode == 0
    return place


def run(
    place: Workplace, what: str, wait_s: float = 600, failing: str = "", **gate: Any
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
    folder = place.work.parent
    (folder / "gate.json").write_text(json.dumps(said))
    (folder / "failing").write_text(failing + "\n")
    (folder / "commands").unlink(missing_ok=True)
    done = place.run("python", str(Path(__file__).with_name("asking.py")), what)
    assert "ANSWERED" in done.stdout, done.stdout[-5000:]
    states = json.loads(done.stdout.partition("ANSWERED")[2].splitlines()[0])
    assert states["run"] == ("failed" if failing else "success"), done.stdout[-5000:]
    return states["tasks"], (folder / "commands").read_text().splitlines()


def given(commands: list[str], name: str) -> str:
    (found,) = [line for line in commands if line.startswith(f"[{name}]")]
    return found


def test_a_yes_promotes_and_is_kept_with_the_name(place: Workplace) -> None:
    tasks, commands = run(place, "approve")
    assert tasks["promote"] == tasks["recommend"] == tasks["report"] == "success"
    assert tasks["rejected"] == tasks["not_asked"] == "skipped"
    approve = given(commands, "approve")
    assert f"[--decision][{DECISION}]" in approve
    assert "[--by][ann'; rm -rf $HOME; ']" in approve  # a name is a name, whatever it looks like
    assert f"[--at][{datetime.now(UTC).year}-" in approve
    assert "[--reject]" not in approve
    # Once while the person thinks, once when all is settled.
    assert tasks["recommend_meanwhile"] == "success"
    order = [line.partition("]")[0][1:] for line in commands]
    assert order.count("recommend") == 2
    order.remove("recommend")
    assert order == [
        *("dataset", "stale", "train", "evaluate", "watch", "gate"),
        *("approve", "refit", "promote", "recommend", "report"),
    ]
    assert "[--refit][refit-1]" in given(commands, "promote")


def test_no_answer_in_time_is_a_no(place: Workplace) -> None:
    tasks, commands = run(place, "silence", wait_s=1)
    assert tasks["promote"] == "skipped"
    assert tasks["recommend"] == tasks["report"] == "success"
    assert "[--by][nobody]" in given(commands, "approve")
    assert given(commands, "approve").endswith("[--reject]")


def test_an_hour_that_was_skipped_promotes_nothing_and_recommends(place: Workplace) -> None:
    tasks, commands = run(place, "nobody", outcome="skipped", decision=None, needs_approval=False)
    assert tasks["nothing_new"] == tasks["settled"] == tasks["recommend"] == "success"
    assert tasks["refit"] == tasks["promote"] == tasks["approval"] == "skipped"
    assert not [line for line in commands if line.startswith("[promote]")]


def test_a_line_that_cannot_be_trained_keeps_nobody_from_being_watched(place: Workplace) -> None:
    tasks, commands = run(place, "nobody", failing="train", needs_approval=False)
    assert tasks["train"] == "failed"
    for name in ("evaluate", "watch", "gate", "promote", "recommend", "report"):
        assert tasks[name] == "success", name
    assert tasks["settled"] == "upstream_failed"  # and so the run fails
    assert given(commands, "watch") == "[watch][--dataset][d1]"


def test_without_a_data_set_nothing_is_judged_and_the_live_model_recommends(
    place: Workplace,
) -> None:
    tasks, commands = run(place, "nobody", failing="dataset")
    for name in ("stale", "train", "evaluate", "watch", "gate", "promote", "settled"):
        assert tasks[name] == "upstream_failed", name
    assert tasks["recommend"] == tasks["report"] == "success"
    assert [line.partition("]")[0] for line in commands] == ["[dataset", "[recommend", "[report"]
