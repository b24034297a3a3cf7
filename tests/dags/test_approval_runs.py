"""Whole runs of `retrain`: a person says yes, no or nothing, nobody is asked, a command fails."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from airflow_process import DECISION, KEY, Airflow

from training.deployment.answer_proof import proof_of

pytestmark = pytest.mark.slow


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
    for name in ("stale", "train", "evaluate", "monitor", "gate", "ask", "promote", "approval"):
        assert tasks[name] == "skipped", name
    order = [line.partition("]")[0][1:] for line in commands]
    assert order == ["dataset", "judge", "recommend", "report"]


def test_an_earlier_hour_that_cannot_be_judged_keeps_the_newest_from_nothing(
    airflow: Airflow,
) -> None:
    tasks, _ = airflow.run("nobody", failing="judge", needs_approval=False)
    assert tasks["judge"] == "failed"
    for name in ("due", "train", "evaluate", "monitor", "gate", "promote", "recommend"):
        assert tasks[name] == "success", name
    assert tasks["settled"] == "upstream_failed"  # and so the run fails


def test_a_line_that_cannot_be_trained_keeps_nobody_from_being_monitored(airflow: Airflow) -> None:
    tasks, commands = airflow.run("nobody", failing="train", needs_approval=False)
    assert tasks["train"] == "failed"
    for name in ("evaluate", "monitor", "gate", "promote", "recommend", "report"):
        assert tasks[name] == "success", name
    assert tasks["settled"] == "upstream_failed"  # and so the run fails
    assert given(commands, "monitor") == "[monitor][--dataset][d1]"


def test_without_a_data_set_nothing_is_judged_and_the_live_model_recommends(
    airflow: Airflow,
) -> None:
    tasks, commands = airflow.run("nobody", failing="dataset")
    for name in ("judge", "due", "stale", "train", "evaluate", "monitor", "gate", "settled"):
        assert tasks[name] == "upstream_failed", name
    assert tasks["recommend"] == tasks["report"] == "success"
    assert [line.partition("]")[0] for line in commands] == ["[dataset", "[recommend", "[report"]


def test_a_refusal_fails_its_task_and_stops_the_run(airflow: Airflow) -> None:
    tasks, commands = airflow.run("nobody sessions_hourly", failing="validate")
    assert tasks["ingest"] == "success"
    assert tasks["validate"] == "failed"
    assert tasks["sessionize"] == "upstream_failed"
    assert [line.partition("]")[0] for line in commands] == ["[ingest", "[validate", "[report"]


def test_a_command_that_was_killed_is_tried_again_where_a_refusal_is_final(
    airflow: Airflow,
) -> None:
    tasks, commands = airflow.run("nobody sessions_hourly", killed="validate")
    assert set(tasks.values()) == {"success"}
    names = [line.partition("]")[0] for line in commands if line != "[report]"]
    assert names == ["[ingest", "[validate", "[validate", "[sessionize", "[validate"]


def test_a_failed_recommendation_fails_the_run(airflow: Airflow) -> None:
    tasks, _ = airflow.run("nobody", failing="recommend", needs_approval=False)
    assert tasks["recommend"] == "failed"
    assert tasks["promote"] == tasks["report"] == "success"
