"""OpenLineage events of a step: who, when, what; and a receiver that fails stops nothing."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.main import get_command

from pipeline.errors import HourglassError
from pipeline.lake.lake import Lake
from pipeline.lake.table_use import TableUse
from pipeline.lake.tables import EVENTS, FILLED_HOURS, OPEN_SESSIONS, PEOPLE, SESSIONS
from pipeline.lineage import emit
from pipeline.lineage.emit import Lineage, is_configured
from pipeline.lineage.parents import parent_of
from pipeline.lineage.step_data import STEPS, inputs_of, outputs_of
from pipeline.settings.settings import Settings
from training.cli.main import app, run

NOW = datetime(2016, 3, 14, 14, tzinfo=UTC)
IN_AIRFLOW = {
    "AIRFLOW_CTX_DAG_ID": "retrain",
    "AIRFLOW_CTX_TASK_ID": "train",
    "AIRFLOW_CTX_DAG_RUN_ID": "scheduled__1",
    "AIRFLOW_CTX_TRY_NUMBER": "2",
}


@pytest.fixture
def sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that events go to."""
    for name in ("DISABLED", "URL", "CONFIG", "NAMESPACE", "PARENT_ID"):
        monkeypatch.delenv(f"OPENLINEAGE_{name}", raising=False)
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__TYPE", "file")
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__LOG_FILE_PATH", str(tmp_path / "events.json"))
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__APPEND", "true")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "events.json"


def events_in(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def lineage(work: Path, environment: dict[str, str] | None = None) -> tuple[Lineage, list[str]]:
    lines: list[str] = []
    settings = Settings(work=work, site="shop")
    return Lineage(settings, environment or {}, lambda: NOW, lines.append), lines


def fake_lake(read: set[str], written: set[str]) -> Any:
    table = lambda spec: SimpleNamespace(location=lambda: f"file:///lake/{spec.name}")  # noqa: E731
    return SimpleNamespace(used=TableUse(read, written), table=table)


@pytest.mark.parametrize(
    ("environment", "file", "configured"),
    [
        ({}, None, False),
        ({"OPENLINEAGE_URL": "http://localhost:5000"}, None, True),
        ({"OPENLINEAGE_URL": "http://x:5000", "OPENLINEAGE_DISABLED": "True "}, None, False),
        ({"OPENLINEAGE__TRANSPORT__TYPE": "file"}, None, True),
        ({"OPENLINEAGE_CONFIG": "own.yml"}, "own.yml", True),
        ({"OPENLINEAGE_CONFIG": "own.yml"}, None, False),
        ({}, "openlineage.yml", True),
        ({"OPENLINEAGE_DISABLED": "true"}, "openlineage.yml", False),
    ],
)  # fmt: skip
def test_events_are_wanted_where_the_library_would_send_them(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    file: str | None,
    configured: bool,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    if file:
        (tmp_path / file).write_text("transport: {type: console}\n")
    assert is_configured(environment) == configured


def test_a_step_starts_and_completes_with_what_it_read_and_wrote(
    tmp_path: Path, sent: Path
) -> None:
    work = tmp_path / "work"
    sender, lines = lineage(work)
    lake = fake_lake(set(), set())
    with sender.step("sessionize", lambda: lake):
        lake.used.read.update({EVENTS.name, OPEN_SESSIONS.name, FILLED_HOURS.name})
        lake.used.written.update({SESSIONS.name, OPEN_SESSIONS.name, FILLED_HOURS.name})
    start, complete = events_in(sent)
    assert (start["eventType"], complete["eventType"]) == ("START", "COMPLETE")
    assert start["job"]["namespace"] == "hourglass"
    assert start["job"]["name"] == complete["job"]["name"] == "shop.sessionize"
    assert start["run"]["runId"] == complete["run"]["runId"]
    assert "parent" not in start["run"]["facets"]
    assert [(each["namespace"], each["name"]) for each in complete["inputs"]] == [
        ("file", "/lake/events")
    ]
    assert [each["name"] for each in complete["outputs"]] == [
        "/lake/open_sessions",
        "/lake/sessions",
    ]
    fields = complete["outputs"][1]["facets"]["schema"]["fields"]
    assert [field["name"] for field in fields] == SESSIONS.schema.names
    assert fields[SESSIONS.schema.names.index("user_id")]["type"] == "string"
    assert lines == []


def test_what_an_earlier_step_used_is_not_this_ones(tmp_path: Path, sent: Path) -> None:
    sender, _ = lineage(tmp_path)
    lake = fake_lake({EVENTS.name}, {SESSIONS.name})
    with sender.step("validate", lambda: lake):
        lake.used.read.add(PEOPLE.name)
    complete = events_in(sent)[-1]
    assert [each["name"] for each in complete["inputs"]] == ["/lake/people"]
    assert complete["outputs"] == []


def test_a_step_that_fails_says_why_without_secrets(tmp_path: Path, sent: Path) -> None:
    sender, _ = lineage(tmp_path)
    with pytest.raises(HourglassError), sender.step("train", lambda: None):
        raise HourglassError("no: postgresql://anna:gr3en-Tea@db/lake")
    fail = events_in(sent)[1]
    assert fail["eventType"] == "FAIL"
    message = fail["run"]["facets"]["errorMessage"]["message"]
    assert message == "HourglassError: no: postgresql://anna:***@db/lake"
    # The models that it did not come to write are no outputs.
    assert [Path(each["name"]).name for each in fail["inputs"]] == ["shards"]
    assert fail["outputs"] == []


def test_in_airflow_the_task_is_the_parent_and_the_run_of_the_dag_the_root(
    tmp_path: Path, sent: Path
) -> None:
    sender, _ = lineage(tmp_path, IN_AIRFLOW)
    with sender.step("train", lambda: None):
        pass
    again, _ = lineage(tmp_path, IN_AIRFLOW)
    with again.step("train", lambda: None):
        pass
    parents = [event["run"]["facets"]["parent"] for event in events_in(sent)]
    assert parents[0]["job"]["namespace"] == "hourglass"
    assert parents[0]["job"]["name"] == "retrain.train"
    assert parents[0]["root"]["job"]["name"] == "retrain"
    assert all(parent == parents[0] for parent in parents)
    third = parent_of(IN_AIRFLOW | {"AIRFLOW_CTX_TRY_NUMBER": "3"}, "hourglass")
    assert third is not None
    assert third.run_id != parents[0]["run"]["runId"]
    assert third.root is not None
    assert third.root.run_id == parents[0]["root"]["run"]["runId"]


def test_a_parent_that_is_named_counts_before_airflows() -> None:
    named = IN_AIRFLOW | {"OPENLINEAGE_PARENT_ID": "https://a/b/dag.task/0199-run"}
    parent = parent_of(named, "hourglass")
    assert parent is not None
    assert (parent.namespace, parent.name, parent.run_id) == ("https://a/b", "dag.task", "0199-run")
    assert parent_of({"OPENLINEAGE_PARENT_ID": "nonsense"}, "hourglass") is None


def test_steps_of_a_loop_have_it_as_their_parent(tmp_path: Path, sent: Path) -> None:
    sender, _ = lineage(tmp_path, {"OPENLINEAGE_NAMESPACE": "ours"})
    with sender.step("loop", lambda: None), sender.step("ingest", lambda: None):
        pass
    loop, ingest, _, _ = events_in(sent)
    job = ingest["run"]["facets"]["parent"]["job"]
    assert (job["namespace"], job["name"]) == ("ours", "shop.loop")
    assert ingest["run"]["facets"]["parent"]["run"]["runId"] == loop["run"]["runId"]


def test_what_is_no_step_has_no_events(tmp_path: Path, sent: Path) -> None:
    sender, _ = lineage(tmp_path)
    with sender.step("where", lambda: None):
        pass
    assert not sent.exists()


def test_a_receiver_that_fails_is_told_once_and_stops_nothing(
    tmp_path: Path, sent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENLINEAGE__TRANSPORT__LOG_FILE_PATH", str(tmp_path / "no" / "folder"))
    sender, lines = lineage(tmp_path)
    ran = []
    for name in ("ingest", "sessionize"):
        with sender.step("loop", lambda: None), sender.step(name, lambda: None):
            ran.append(name)
    assert ran == ["ingest", "sessionize"]
    (line,) = lines
    assert line.startswith("no lineage of this run is sent: OpenLineage: ")


def test_a_receiver_that_never_answers_is_left_behind(
    tmp_path: Path, sent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were it waited for, this test would not end."""
    from threading import Event

    ended = Event()
    monkeypatch.setattr(emit, "_TIMEOUT_S", 0.05)
    monkeypatch.setattr("openlineage.client.OpenLineageClient.emit", lambda *_: ended.wait())
    sender, lines = lineage(tmp_path)
    with sender.step("ingest", lambda: None):
        pass
    ended.set()
    assert lines == ["no lineage of this run is sent: OpenLineage: did not answer within 0.05 s"]


def test_a_lake_that_cannot_be_read_any_more_does_not_change_how_a_step_ends(
    tmp_path: Path, sent: Path
) -> None:
    def gone(spec: Any) -> Any:
        if spec == SESSIONS:
            return SimpleNamespace(location=lambda: "file:///lake/sessions")
        raise OSError("the disk is gone")

    lake: Any = SimpleNamespace(used=TableUse(), table=gone)
    sender, lines = lineage(tmp_path)
    with pytest.raises(HourglassError, match="its own reason"), sender.step("ingest", lambda: lake):
        lake.used.written.update((EVENTS.name, SESSIONS.name))
        raise HourglassError("its own reason")
    start, fail = events_in(sent)
    assert (start["eventType"], fail["eventType"]) == ("START", "FAIL")
    # What can be read is told all the same.
    assert [each["name"] for each in fail["outputs"]] == ["/lake/sessions"]
    assert lines == ["table events is left out of this run's lineage: OSError: the disk is gone"]


def test_a_step_does_not_wait_for_its_events(
    tmp_path: Path, sent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from threading import Event

    begun = Event()
    monkeypatch.setattr("openlineage.client.OpenLineageClient.emit", lambda *_: begun.wait(60))
    sender, lines = lineage(tmp_path)
    with sender.step("ingest", lambda: None):
        begun.set()  # would never be, were START waited for
    assert begun.is_set()
    assert lines == []


def test_without_the_library_people_are_told_how_to_get_it(
    tmp_path: Path, sent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openlineage.client", None)
    sender, lines = lineage(tmp_path)
    with sender.step("ingest", lambda: None):
        pass
    (line,) = lines
    assert "pip install 'hourglass[lineage]'" in line


def test_a_command_loads_nothing_of_it_where_it_is_not_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENLINEAGE_URL", raising=False)
    monkeypatch.setitem(sys.modules, "openlineage.client", None)  # importing it would fail
    monkeypatch.delenv("HOURGLASS_CONFIG", raising=False)
    assert run(["promote"]) == 1


def test_a_command_is_a_step_and_its_failure_is_told(
    tmp_path: Path, sent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HOURGLASS_CONFIG", raising=False)
    (tmp_path / "hourglass.yaml").write_text("work: shop\n")
    assert run(["promote"]) == 1
    start, fail = events_in(sent)
    assert (start["eventType"], fail["eventType"]) == ("START", "FAIL")
    assert start["job"]["name"] == "shop.promote"


def test_every_step_is_a_command_or_one_of_the_loop() -> None:
    commands: Any = get_command(app)
    assert set(STEPS) - set(commands.commands) == {"metadata"}


def test_the_raw_logs_and_what_is_known_of_items_are_inputs(tmp_path: Path) -> None:
    source = {"path": tmp_path / "raw", "items_path": tmp_path / "items.csv"}
    settings = Settings(work=tmp_path, source=source)  # type: ignore[arg-type]
    names = [Path(each.path).name for each in inputs_of("ingest", settings, None)]
    assert names == ["raw", "items.csv"]
    assert outputs_of("ingest", settings, None, whole=True) == []


def test_a_lake_notes_what_is_read_and_written(tmp_path: Path) -> None:
    lake = Lake(f"sqlite:///{tmp_path / 'catalog.db'}", tmp_path / "lake")
    lake.arrow(EVENTS)
    assert lake.used.read == set()  # nothing is in it
    rows = PEOPLE.schema.empty_table()
    lake.overwrite(PEOPLE, "true", rows, {"hourglass.step": "test"})
    assert lake.used.written == {PEOPLE.name}
    lake.arrow(PEOPLE)
    assert lake.used.read == {PEOPLE.name}
    lake.used.clear()
    assert lake.used == TableUse()
