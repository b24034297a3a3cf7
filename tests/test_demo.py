"""The demo, end to end on a small simulated world, twice; and what it leaves behind."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.lake.lake import Lake
from pipeline.lake.tables import QUARANTINE, RECOMMENDATIONS, SOURCE_FILES
from pipeline.settings.settings import Settings, load_settings
from training.cli.main import run

pytestmark = pytest.mark.slow

MODELS = [
    {"system": "recent_pop"},
    {"system": "item_knn"},
    {"system": "hrnn_trend", "parameters": {"epochs": 2}},
]

HOURS = 7
SMALL = {
    "HOURGLASS_MODELS": json.dumps(MODELS),
    "HOURGLASS_SPARK__MASTER": "local[2]",
    "HOURGLASS_SPARK__DRIVER_MEMORY": "1g",
    "HOURGLASS_EVALUATION__BOOTSTRAP_SAMPLES": "200",
    "HOURGLASS_EVALUATION__HORIZON": "2h",
    "HOURGLASS_SIMULATOR__USERS": "1500",
}


def arguments(work: Path) -> list[str]:
    """The demo on a world of few hours."""
    return ["demo", "--hours", str(HOURS), "--work", str(work)]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo work")


@pytest.fixture(scope="module")
def first(work: Path, mlflow_tables: None) -> str:
    """What the demo prints."""
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as printed:
        for name, value in SMALL.items():
            patch.setenv(name, value)
        assert run(arguments(work)) == 0
    return printed.getvalue()


@pytest.fixture(scope="module")
def settings(work: Path, first: str) -> Settings:
    """The settings that the demo leaves for the commands that follow it."""
    return load_settings(work / "hourglass.yaml")


def test_it_ends_with_a_table_and_the_places_to_look(first: str, settings: Settings) -> None:
    for column in ("Recall@20", "MRR@20", "NDCG@20", "hrnn_trend", "recent_pop"):
        assert column in first
    for place in ("data_docs/index.html", "reports/report.html"):
        assert (settings.work / place).is_file()
        assert str(settings.work / place) in first
    assert "mlflow ui" in first
    assert "make airflow" in first


def test_every_record_is_accounted_for(settings: Settings) -> None:
    lake = Lake(settings.resolved_catalog_uri, settings.resolved_warehouse)
    files = lake.arrow(SOURCE_FILES).to_pylist()
    assert len(files) == HOURS
    for row in files:
        assert row["records"] == row["accepted"] + row["duplicates"] + row["quarantined"]
    refused = sum(row["quarantined"] for row in files)
    assert refused == lake.arrow(QUARANTINE).num_rows > 0


def test_the_table_and_the_file_of_recommendations_agree(settings: Settings) -> None:
    lake = Lake(settings.resolved_catalog_uri, settings.resolved_warehouse)
    table = lake.arrow(RECOMMENDATIONS).drop_columns(["hour"])
    assert table["propensity"].null_count == table.num_rows  # nothing is explored
    table = table.drop_columns(["propensity"])
    (path,) = settings.path("recommendations").glob("*/recommendations.parquet")
    order = [("user_id", "ascending"), ("rank", "ascending")]
    assert pq.read_table(path).sort_by(order).equals(table.sort_by(order))
    ranks = table.group_by("user_id").aggregate([("rank", "min"), ("rank", "max")])
    assert set(ranks["rank_min"].to_pylist()) == {1}
    assert set(ranks["rank_max"].to_pylist()) == {20}


def test_the_decision_cannot_be_changed_unseen(settings: Settings) -> None:
    from pipeline.errors import HourglassError
    from training.gate.decision_file import latest_decision, read_decision

    path = latest_decision(settings.path("decisions"))
    assert read_decision(path).outcome in ("promote", "hold")
    assert not path.stat().st_mode & 0o222
    copy = settings.work / path.name
    copy.write_text(path.read_text().replace('"hold"', '"promote"') + " ")
    with pytest.raises(HourglassError):
        read_decision(copy)


def test_the_loop_does_the_last_hour_again_and_changes_nothing(
    settings: Settings,
    work: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    lake = Lake(settings.resolved_catalog_uri, settings.resolved_warehouse)
    before = lake.arrow(RECOMMENDATIONS)
    shards, models = (sorted(settings.path(name).glob("[!.]*")) for name in ("shards", "models"))
    for name, value in SMALL.items():
        monkeypatch.setenv(name, value)
    code = run(["--config", str(work / "hourglass.yaml"), "--json", "loop"])
    output = capfd.readouterr()
    assert code == 0, output.out + output.err
    (told,) = map(json.loads, output.out.splitlines())
    # Every step was there; what they had made before is what they find.
    assert set(told["seconds"]) >= {"ingest", "dataset", "train", "monitor", "gate"}
    assert told["seconds"]["watch"] == told["seconds"]["monitor"]  # its former name, for now
    assert told["outcome"] in ("promote", "hold")
    assert [settings.path("shards") / told["dataset_id"]] == shards
    assert sorted(settings.path("models").glob("[!.]*")) == models
    order = [("user_id", "ascending"), ("rank", "ascending")]
    assert lake.arrow(RECOMMENDATIONS).sort_by(order).equals(before.sort_by(order))


@pytest.mark.nightly
def test_a_second_run_goes_on_with_what_is_there(first: str, work: Path) -> None:
    """By a program of its own."""
    command = [sys.executable, "-m", "training.cli", *arguments(work)]
    done = subprocess.run(
        command, env=os.environ | SMALL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    again = done.stdout
    assert f"nothing new in {HOURS} files" in again
    assert "all hours are filled already" in again
    table = [line for line in first.splitlines() if "│" in line]
    assert [line for line in again.splitlines() if "│" in line][: len(table)] == table
