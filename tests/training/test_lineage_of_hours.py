"""An hour by commands, then by the loop: each step names the tables that it reads and writes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.lake.tables import ALL_TABLES
from training.cli.main import run

SETTINGS = """
work: '{folder}/shop'
source: {{name: simulator, path: '{folder}/landing'}}
simulator: {{users: 200, items_per_day: 30, sessions_per_day: 8}}
dataset: {{window: 3h, history: 2h, min_item_events: 2}}
models: [{{system: recent_pop}}, {{system: item_knn}}]
candidate: item_knn
evaluation: {{bootstrap_samples: 100}}
gate: {{min_users: 5, min_targets: 20}}
"""
HOURS = ("--from", "2026-01-05T00", "--to", "2026-01-05T04")
SCHEMAS = {spec.name: spec.schema.names for spec in ALL_TABLES}


@pytest.fixture(scope="module")
def folder(mlflow_tables: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Commands of an hour, and a loop of the next, whose events are in ``events.json``."""
    folder = tmp_path_factory.mktemp("lineage")
    (folder / "hourglass.yaml").write_text(SETTINGS.format(folder=folder))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("HOURGLASS_CONFIG", str(folder / "hourglass.yaml"))
        patch.delenv("OPENLINEAGE_DISABLED", raising=False)
        patch.setenv("OPENLINEAGE__TRANSPORT__TYPE", "file")
        patch.setenv("OPENLINEAGE__TRANSPORT__LOG_FILE_PATH", str(folder / "events.json"))
        patch.setenv("OPENLINEAGE__TRANSPORT__APPEND", "true")
        assert run(["simulate", "--hours", "4", "--seed", "1"]) == 0
        for command in (
            ["ingest"],
            ["validate", *HOURS, "--only", "events"],
            ["sessionize", *HOURS],
            ["dataset"],
            ["train"],
            ["evaluate"],
            ["gate"],
            ["recommend"],
        ):
            assert run(command) == 0, command
        (folder / "events.json").rename(folder / "of_commands.json")
        assert run(["loop", "--from", "2026-01-05T03", "--no-report"]) == 0
        yield folder


def completed(file: Path) -> dict[str, dict[str, Any]]:
    """The event that ended each job, by its step; it must have started too, in the same run."""
    events = [json.loads(line) for line in file.read_text().splitlines()]
    started = {event["run"]["runId"] for event in events if event["eventType"] == "START"}
    ended = [event for event in events if event["eventType"] != "START"]
    assert {event["run"]["runId"] for event in ended} == started
    assert {event["eventType"] for event in ended} == {"COMPLETE"}
    return {event["job"]["name"].removeprefix("shop."): event for event in ended}


def names(data: list[dict[str, Any]], folder: Path) -> list[str]:
    """Paths below the test's folder."""
    assert {each["namespace"] for each in data} <= {"file"}
    return sorted(str(Path(each["name"]).relative_to(folder)) for each in data)


TABLES = "shop/lake/"


def of_lake(*tables: str) -> list[str]:
    return [TABLES + name for name in tables]


@pytest.mark.parametrize(
    ("step", "inputs", "outputs"),
    [
        ("ingest", ["landing"], of_lake("events", "quarantine", "source_files")),
        (
            "sessionize",
            of_lake("events"),
            of_lake("dwell_hours", "item_hours", "open_sessions", "sessions"),
        ),
        (
            "dataset",
            of_lake("dwell_hours", "item_hours", "open_sessions", "sessions"),
            ["shop/shards"],
        ),
        ("train", ["shop/shards"], ["shop/models"]),
        (
            "recommend",
            [*of_lake("dwell_hours", "item_hours", "open_sessions", "sessions"), "shop/models"],
            [*of_lake("recommendations"), "shop/recommendations"],
        ),
    ],
    ids=["ingest", "sessionize", "dataset", "train", "recommend"],
)
def test_a_command_names_its_tables(
    folder: Path, step: str, inputs: list[str], outputs: list[str]
) -> None:
    event = completed(folder / "of_commands.json")[step]
    assert names(event["inputs"], folder) == inputs
    assert names(event["outputs"], folder) == outputs


def test_tables_and_data_sets_have_their_columns(folder: Path) -> None:
    for event in completed(folder / "of_commands.json").values():
        for data in (*event["inputs"], *event["outputs"]):
            name = Path(data["name"]).name
            fields = [field["name"] for field in data["facets"].get("schema", {}).get("fields", ())]
            if f"{folder}/{TABLES}" in data["name"]:
                assert fields == SCHEMAS[name]
            elif name == "shards":
                assert "item" in fields
            else:
                assert fields == [], name


def test_steps_of_the_loop_have_it_as_their_parent_and_name_what_they_used(folder: Path) -> None:
    """The hour was done before: what is not computed again is neither read nor written."""
    of_loop = completed(folder / "events.json")
    loop = of_loop.pop("loop")
    assert {"ingest", "sessionize", "dataset", "train", "recommend"} <= of_loop.keys()
    for step, event in of_loop.items():
        assert event["run"]["facets"]["parent"]["run"]["runId"] == loop["run"]["runId"], step
    recommended = [*of_lake("recommendations"), "shop/recommendations"]
    assert names(of_loop["recommend"]["outputs"], folder) == recommended
    assert "shop/lake/events" in names(of_loop["validate"]["inputs"], folder)
    assert of_loop["sessionize"]["inputs"] == of_loop["sessionize"]["outputs"] == []
    assert loop["inputs"] == loop["outputs"] == []
