"""What the DAG files say, read by Airflow in a process of its own, as its DAG processor does."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from jinja2 import StrictUndefined
from jinja2.sandbox import SandboxedEnvironment
from jsonschema import Draft202012Validator
from workplace import ROOT, workplace

# What Airflow itself imports is there before the DAG files are read: the difference is theirs.
DESCRIBE = """
import json, sys, time
from pathlib import Path
import airflow.models, airflow.sdk, airflow.providers.standard.operators.bash
from airflow.dag_processing.dagbag import BundleDagBag
before = set(sys.modules)
begin = time.process_time()
folder = Path("dags").resolve()
bag = BundleDagBag(folder, bundle_path=folder, bundle_name="dags-folder")
taken_s = time.process_time() - begin
print("DESCRIBED" + json.dumps({
    "errors": {str(path): error for path, error in bag.import_errors.items()},
    "taken_s": taken_s,
    "imported": sorted({name.partition(".")[0] for name in set(sys.modules) - before}),
    "dags": {
        dag.dag_id: {
            "timetable": type(dag.timetable).__name__,
            "catchup": dag.catchup,
            "max_active_runs": dag.max_active_runs,
            "tags": sorted(dag.tags),
            "timeout_s": dag.dagrun_timeout and dag.dagrun_timeout.total_seconds(),
            "doc": dag.doc_md or "",
            "params": {name: dag.params.get_param(name).schema for name in dag.params},
            "tasks": {
                task.task_id: {
                    "kind": type(task).__name__,
                    "command": getattr(task, "bash_command", None),
                    "values": getattr(task, "env", None),
                    "cwd": getattr(task, "cwd", None),
                    "skip_on_exit_code": list(getattr(task, "skip_on_exit_code", [])),
                    "trigger_rule": task.trigger_rule.value,
                    "owner": task.owner,
                    "on_failure": [call.__name__ for call in task.on_failure_callback or []],
                    "retries": task.retries,
                    "final_refusal": getattr(task, "final_refusal", False),
                    "timeout_s": task.execution_timeout and task.execution_timeout.total_seconds(),
                    "outlets": [asset.uri for asset in task.outlets],
                    "downstream": sorted(task.downstream_task_ids),
                }
                for task in dag.tasks
            },
        }
        for dag in bag.dags.values()
    },
}))
"""
# What asks a person, and what leads to it or around it: no work is done there.
ASKING = {f"retrain.{name}": "_BranchPythonDecoratedOperator" for name in ("ask", "due")}
ASKING |= {"retrain.approval": "AskPerson", "retrain.not_asked": "EmptyOperator"}
ASKING |= {f"retrain.{name}": "EmptyOperator" for name in ("nothing_new", "settled")}
HEAVY = {"torch", "pyspark", "mlflow", "great_expectations", "matplotlib", "pipeline", "training"}


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    work = tmp_path_factory.mktemp("described")
    place = workplace(work, AIRFLOW_HOME=str(work / "airflow"))
    done = place.run("python", "-c", DESCRIBE)
    assert "DESCRIBED" in done.stdout, done.stdout
    answer: dict[str, Any] = json.loads(done.stdout.partition("DESCRIBED")[2].splitlines()[0])
    return answer


def tasks(described: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every task of every DAG, by ``dag.task``."""
    return {
        f"{dag_id}.{task_id}": task
        for dag_id, dag in described["dags"].items()
        for task_id, task in dag["tasks"].items()
    }


def test_all_dags_are_there_and_nothing_else_is_taken_for_one(described: dict[str, Any]) -> None:
    assert described["errors"] == {}
    assert set(described["dags"]) == {"sessions_hourly", "retrain", "upkeep", "deadline"}


def test_parsing_is_quick_and_imports_nothing_heavy(described: dict[str, Any]) -> None:
    assert not HEAVY & set(described["imported"])
    assert described["taken_s"] < 1


def test_every_task_is_one_command_a_person_can_run(described: dict[str, Any]) -> None:
    for name, task in tasks(described).items():
        if name in ASKING:
            assert task["command"] is None, name
            continue
        assert task["command"].startswith("hourglass "), name
        assert not {";", "&", "|", "\n"} & set(task["command"]), name
        # What others said comes by the environment alone: a shell would read it in the command.
        assert "{{" not in task["command"], name
        assert "{%" not in task["command"], name


HOSTILE = """x; touch pwned $(touch pwned) `touch pwned` '"; touch pwned; "' | > pwned {{ 1 }} *"""


@pytest.mark.parametrize(
    "text", [HOSTILE, "--reject", "../../etc"], ids=["shell", "option", "path"]
)
def test_what_earlier_tasks_and_people_said_is_never_run(
    described: dict[str, Any], tmp_path: Path, text: str
) -> None:
    stand_in = tmp_path / "bin" / "hourglass"
    stand_in.parent.mkdir()
    stand_in.write_text('#!/usr/bin/env bash\nprintf "%s\\0" "$@" >> "$COMMANDS"\n')
    stand_in.chmod(0o755)
    said = {"dataset_id": text, "decision": text, "model_id": text, "by": text, "at": text}

    def pull(task_ids: str, key: str = "return_value") -> Any:
        return said if key == "answer" else json.dumps(said)

    rendering = SandboxedEnvironment(undefined=StrictUndefined)
    context = {
        "macros": SimpleNamespace(json=json),
        "ti": SimpleNamespace(xcom_pull=pull),
        "dag_run": None,
        "first_hour": lambda run: "2016-03-14T13",
        "end_hour": lambda run: "2016-03-14T14",
    }
    for name, task in tasks(described).items():
        if task["command"] is None:
            continue
        values = {
            variable: rendering.from_string(template).render(context)
            for variable, template in task["values"].items()
        }
        given = tmp_path / f"{name}.args"
        path = f"{stand_in.parent}:{os.environ['PATH']}"
        environment = {"PATH": path, "COMMANDS": str(given), **values}
        folder = tmp_path / "empty"
        folder.mkdir(exist_ok=True)
        subprocess.run(["bash", "-c", task["command"]], env=environment, cwd=folder, check=True)
        words = given.read_text().split("\0")
        assert list(folder.iterdir()) == [], name
        assert set(values.values()) <= set(words), name
    assert sum(text in path.read_text() for path in tmp_path.glob("retrain.*.args")) >= 9


def test_a_token_outlasts_the_longest_task(described: dict[str, Any], tmp_path: Path) -> None:
    setting = ("--section", "execution_api", "--show-values")
    listed = workplace(tmp_path).airflow("config", "list", *setting).stdout
    (line,) = [one for one in listed.splitlines() if one.startswith("jwt_expiration_time = ")]
    longest_s = max(task["timeout_s"] or 0 for task in tasks(described).values())
    assert int(line.partition(" = ")[2]) >= longest_s + 600
    # Docker's services read the same file, and nothing there says otherwise.
    compose = (ROOT / "docker" / "compose.yaml").read_text()
    assert "env_file: ../dags/airflow.env" in compose
    assert "JWT_EXPIRATION_TIME" not in compose


def test_what_airflow_keeps_is_for_its_user_alone_and_tasks_write_as_ever(tmp_path: Path) -> None:
    """By a stand-in for `airflow` that writes a password, as the real one does at its start."""
    home, command = tmp_path / "work" / "airflow", tmp_path / "bin" / "airflow"
    passwords = home / "simple_auth_manager_passwords.json.generated"
    home.mkdir(parents=True, mode=0o755)
    passwords.write_text("{}")
    for path, mode in ((home, 0o755), (passwords, 0o644)):
        path.chmod(mode)
    command.parent.mkdir()
    command.write_text(
        '#!/usr/bin/env bash\necho "$TASK_UMASK"\necho key > "$AIRFLOW_HOME/airflow.cfg"\n'
    )
    command.chmod(0o755)
    place = workplace(tmp_path / "work")
    path = f"{command.parent}:{place.environment['PATH']}"
    done = subprocess.run(
        ["bash", "-c", "umask 022 && bash dags/airflow.sh version"],
        cwd=ROOT,
        env=place.environment | {"PATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "0022\n"
    modes = {path.name: path.stat().st_mode & 0o777 for path in (home, *home.iterdir())}
    assert modes == {"airflow": 0o700, passwords.name: 0o600, "airflow.cfg": 0o600}


def test_every_task_has_an_owner_a_time_limit_and_retries_where_they_help(
    described: dict[str, Any],
) -> None:
    final = {  # a verdict does not change by asking again
        "sessions_hourly.validate",
        "sessions_hourly.validate_sessions",
        "retrain.gate",
        "deadline.deadline",  # its message is sent, and the next run looks again
    }
    for name, task in tasks(described).items():
        assert task["owner"] == "hourglass", name
        # How long a person may take is said by the settings, and put in when the task runs.
        assert task["timeout_s"] or name == "retrain.approval", name
        # What `judge` cannot judge the next run asks again; all others are tried again when killed.
        assert (task["retries"] == 0) == (name == "retrain.judge"), name
        assert task["final_refusal"] == (name in final), name


def test_people_are_told_of_every_task_that_fails_once(described: dict[str, Any]) -> None:
    told_by_itself = {"deadline.deadline"}  # a missed deadline, which is what it fails for
    for name, task in tasks(described).items():
        assert task["on_failure"] == ["notify_failure"] * (name not in told_by_itself), name


@pytest.mark.parametrize(
    ("hour", "fits"),
    [
        (None, True),
        ("2016-03-14T00", True),
        ("2016-12-31T23", True),
        ("", False),
        ("2016-03-14", False),
        ("2016-03-14T24", False),
        ("2016-13-14T13", False),
        ("2016-03-14T13:00", False),
        ("2016-03-14T13 ", False),
        ("x; touch pwned", False),
    ],
    ids=str,
)
def test_only_an_hour_can_be_named_in_the_form(
    described: dict[str, Any], hour: str | None, fits: bool
) -> None:
    """By the schema that Airflow's form and API check it against."""
    (schema,) = described["dags"]["sessions_hourly"]["params"].values()
    assert Draft202012Validator(schema).is_valid(hour) == fits
    assert schema["title"] == "Hour"


def test_the_other_dags_have_no_form(described: dict[str, Any]) -> None:
    for name in ("retrain", "upkeep", "deadline"):
        assert described["dags"][name]["params"] == {}, name


def test_no_exit_code_of_a_command_passes_for_a_skipped_task(described: dict[str, Any]) -> None:
    assert {tuple(task["skip_on_exit_code"]) for task in tasks(described).values()} == {()}


def test_dags_are_tagged_documented_and_run_one_at_a_time(described: dict[str, Any]) -> None:
    for dag_id, dag in described["dags"].items():
        assert "hourglass" in dag["tags"], dag_id
        assert len(dag["doc"]) > 100, dag_id
        assert dag["max_active_runs"] == 1, dag_id
        assert dag["catchup"] is False, dag_id


def test_retraining_asks_where_it_must_and_serves_whatever_comes_of_it(
    described: dict[str, Any],
) -> None:
    found = described["dags"]["retrain"]["tasks"]
    assert {name: task["downstream"] for name, task in found.items()} == {
        "dataset": ["due", "judge"],
        "judge": ["due", "settled"],
        "due": ["evaluate", "nothing_new", "stale"],
        "stale": ["train"],
        "train": ["evaluate", "settled"],
        "evaluate": ["monitor"],
        "monitor": ["gate"],
        "gate": ["ask"],
        "ask": ["approval", "not_asked", "nothing_new", "recommend_meanwhile"],
        "recommend_meanwhile": ["recommend", "settled"],
        "approval": ["approved", "rejected"],
        "approved": ["refit"],
        "not_asked": ["refit"],
        "refit": ["promote"],
        "promote": ["recommend", "settled"],
        "rejected": ["recommend", "settled"],
        "nothing_new": ["recommend", "settled"],
        "recommend": ["report", "settled"],
        "report": [],
        "settled": [],
    }
    # After a no neither way to `promote` was gone.
    assert found["refit"]["trigger_rule"] == "none_failed_min_one_success"
    assert found["promote"]["trigger_rule"] == "all_success"
    # The live model serves whatever failed; and what failed still fails the run, by this leaf.
    assert found["recommend"]["trigger_rule"] == "all_done"
    assert found["settled"]["trigger_rule"] == "none_failed"
    assert found["recommend_meanwhile"]["trigger_rule"] == "all_success"
    assert found["recommend_meanwhile"]["command"] == found["recommend"]["command"]
    # Without a data set nothing is due, and `due` is what succeeds before `evaluate` at least.
    assert found["due"]["trigger_rule"] == "all_done_min_one_success"
    assert found["evaluate"]["trigger_rule"] == "all_done_min_one_success"
    for name in ("monitor", "gate"):
        assert found[name]["trigger_rule"] == "all_success"
    assert {name: found[name.partition(".")[2]]["kind"] for name in ASKING} == ASKING


def test_a_run_outlasts_a_person_and_its_work(described: dict[str, Any]) -> None:
    """All tasks with limits, at their worst one after the other, in the day beside the week."""
    retrain = described["dags"]["retrain"]
    once_s = sum(task["timeout_s"] for task in retrain["tasks"].values() if task["command"])
    assert once_s <= 24 * 3600
    assert retrain["timeout_s"] == 7 * 24 * 3600 + 24 * 3600
    assert "wait" in retrain["doc"]


def test_upkeep_is_one_task(described: dict[str, Any]) -> None:
    assert list(described["dags"]["upkeep"]["tasks"]) == ["maintain"]


def test_an_hour_is_judged_before_and_after_it_is_sessionized(described: dict[str, Any]) -> None:
    found = described["dags"]["sessions_hourly"]["tasks"]
    assert {name: sorted(task["downstream"]) for name, task in found.items()} == {
        "ingest": ["validate"],
        "validate": ["report", "sessionize"],
        "sessionize": ["validate_sessions"],
        "validate_sessions": [],
        # Of whatever becomes of the others there is a report, which cannot make the run a success:
        # `validate_sessions` is a leaf as well.
        "report": [],
    }


def test_retraining_starts_from_the_sessions_of_an_hour(described: dict[str, Any]) -> None:
    hourly, retrain = described["dags"]["sessions_hourly"], described["dags"]["retrain"]
    assert hourly["timetable"] == "CronDataIntervalTimetable"
    assert retrain["timetable"] == "AssetTriggeredTimetable"
    outlets = {name: task["outlets"] for name, task in hourly["tasks"].items() if task["outlets"]}
    assert outlets == {"validate_sessions": ["hourglass://lake/sessions"]}


def test_no_task_takes_its_hour_from_the_event_that_started_the_run(
    described: dict[str, Any],
) -> None:
    """Of several events that wait Airflow gives a run the oldest: the lake is asked instead."""
    found = described["dags"]["retrain"]["tasks"]
    assert "--judged-until last" in found["dataset"]["command"]
    for name in ("recommend", "recommend_meanwhile"):
        assert found[name]["command"] == "hourglass recommend --as-of last"
    text = (ROOT / "dags" / "retrain.py").read_text()
    for word in ("triggering_asset_events", "data_interval", "logical_date", "run_after"):
        assert word not in text


def test_the_shared_settings_hold_for_every_command_of_airflow(tmp_path: Path) -> None:
    listed = workplace(tmp_path).airflow("config", "list", "--section", "core", "--show-values")
    for setting in ("load_examples = False", "executor = LocalExecutor", "parallelism = 2"):
        assert f"\n{setting}\n" in listed.stdout, listed.stdout
    assert f"\ndags_folder = {ROOT / 'dags'}\n" in listed.stdout
    assert (tmp_path / "airflow").is_dir(), "Airflow's own state is in the work folder"
