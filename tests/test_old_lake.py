"""A lake that release 1e134a9 filled goes on with today's commands, its old settings and models.

``lakes/lake_of_1e134a9.tar.xz`` was made by that release's own commands: 30 hours of the simulated
site, two data sets, six models, an evaluation of each, a champion and a decision that held.  What
can be made again (Data Docs, reports, mapped copies of shards) was left out of the archive.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline.hours import Hour
from pipeline.lake.lake import Lake
from pipeline.lake.stale_hours import stale_hours
from pipeline.lake.steps import INGEST, SESSIONIZE
from pipeline.lake.tables import EVENTS, RECOMMENDATIONS, SESSIONS
from pipeline.settings.settings import Settings, load_settings
from training.cli.main import run
from training.deployment.monitor_record import monitor_results_between

ARCHIVE = Path(__file__).parent / "lakes" / "lake_of_1e134a9.tar.xz"
MADE_IN = "/tmp/hourglass-lake"  # noqa: S108 - nothing is read or written there
CHAMPION, HELD = "recent_pop-16b8b1e1ea69", "hrnn_trend-1ce1a1b468e8"

pytestmark = pytest.mark.usefixtures("mlflow_tables")


def old_settings(folder: Path) -> Path:
    """The settings file of that time, with the new place of the folder."""
    path = folder / "hourglass.yaml"
    path.write_text(path.read_text().replace(MADE_IN, str(folder)))
    return path


@pytest.fixture(scope="module")
def adopted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The old lake where it now lies, once it has been told so."""
    folder = tmp_path_factory.mktemp("old")
    shutil.unpack_archive(ARCHIVE, folder)  # of our own making; Python 3.11.2 has no filters yet
    assert run(["--config", str(old_settings(folder)), "adopt"]) == 0
    return folder


@pytest.fixture(scope="module")
def settings(adopted: Path) -> Settings:
    return load_settings(adopted / "hourglass.yaml")


@pytest.fixture(scope="module")
def lake(settings: Settings) -> Lake:
    return Lake(settings.resolved_catalog_uri, settings.resolved_warehouse)


def facts(capfd: pytest.CaptureFixture[str], adopted: Path, *arguments: str) -> dict[str, Any]:
    """What a command prints for machines."""
    capfd.readouterr()
    code = run(["--config", str(adopted / "hourglass.yaml"), "--json", *arguments])
    printed = capfd.readouterr()
    assert code == 0, printed.err
    last: dict[str, Any] = json.loads(printed.out.strip().splitlines()[-1])
    return last


def test_its_tables_are_read_whole_and_no_hour_is_stale(lake: Lake, settings: Settings) -> None:
    assert lake.arrow(EVENTS).num_rows == 1742
    assert (
        sum(row.rows for row in lake.filled(SESSIONIZE).values()) == lake.arrow(SESSIONS).num_rows
    )
    hours = lake.filled(INGEST)
    assert (min(hours), max(hours)) == (Hour.parse("2026-01-05T00"), Hour.parse("2026-01-06T05"))
    assert stale_hours(lake, settings, max(hours) + 1) == []


def test_its_files_are_read_once_more_and_tell_the_same(
    adopted: Path, lake: Lake, settings: Settings, capfd: pytest.CaptureFixture[str]
) -> None:
    # That release recorded by which settings it read, their folder among them: here it is another.
    before = {hour: row.output_digest for hour, row in lake.filled(INGEST).items()}
    again = facts(capfd, adopted, "ingest")
    assert (again["files"], again["read_again"]) == (30, 30)
    reread = Lake(settings.resolved_catalog_uri, settings.resolved_warehouse)
    assert {hour: row.output_digest for hour, row in reread.filled(INGEST).items()} == before
    assert reread.arrow(EVENTS).num_rows == 1742
    assert stale_hours(reread, settings, max(before) + 1) == []
    assert facts(capfd, adopted, "ingest")["known_files"] == 30


def test_its_settings_name_the_baseline_as_they_did(settings: Settings) -> None:
    assert settings.gate.baseline == "recent_pop"


def test_its_models_answer_and_its_champion_recommends(
    adopted: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    published = adopted / "work" / "recommendations" / "2026-01-06T06" / "recommendations.parquet"
    before = pq.read_table(published).drop_columns("made_at")
    published.unlink()
    facts(capfd, adopted, "recommend")
    after = pq.read_table(published).drop_columns("made_at")
    assert after.equals(before)
    assert set(after["model"].to_pylist()) == {CHAMPION}


def test_its_lists_may_be_explored(
    adopted: Path,
    settings: Settings,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    published = adopted / "work" / "recommendations" / "2026-01-06T06" / "recommendations.parquet"
    before = pq.read_table(published).num_rows
    with monkeypatch.context() as explored:
        explored.setenv("HOURGLASS_RECOMMEND__EXPLORATION", "0.2")
        facts(capfd, adopted, "recommend")
    rows = pq.read_table(published)
    assert (rows.num_rows, rows["propensity"].null_count) == (before, 0)
    lake = Lake(settings.resolved_catalog_uri, settings.resolved_warehouse)
    assert lake.arrow(RECOMMENDATIONS)["propensity"].null_count == 0
    facts(capfd, adopted, "recommend")
    assert "propensity" not in pq.read_schema(published).names
    assert lake.arrow(RECOMMENDATIONS)["propensity"].null_count == before


def test_what_knobs_cost_is_shown_of_its_models(
    adopted: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    told = facts(
        capfd, adopted, "tradeoff", "--knob", "popularity=-1,1", "--knob", "exploration=0.5"
    )
    assert told["model_id"] == CHAMPION
    assert [row["knob"] for row in told["rows"]] == [
        "off", "popularity -1", "popularity 1", "exploration 0.5",
    ]  # fmt: skip
    off, rare = told["rows"][:2]
    assert rare["lists"]["novelty"] > off["lists"]["novelty"]
    assert rare["minus_off"]["mrr"][0] == pytest.approx(rare["mrr"][0] - off["mrr"][0])
    told = facts(capfd, adopted, "tradeoff", "--model", "pop", "--knob", "popularity=1")
    assert told["model_id"].startswith("pop-")
    assert run(["--config", str(adopted / "hourglass.yaml"), "tradeoff", "--knob",
                "freshness=1"]) == 0  # fmt: skip
    assert "minus off" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ([], "no knob is on"),
        (["--knob", "popularity=1", "--model", "nobody"], "no model 'nobody' of this data set"),
        (["--knob", "max_per_category=1"], "no item has a column 'colour'"),
    ],
    ids=["no knob", "no model", "no category"],
)
def test_what_cannot_be_compared_is_refused_in_one_sentence(
    adopted: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    sentence: str,
) -> None:
    monkeypatch.setenv("HOURGLASS_RECOMMEND__CATEGORY", "colour")
    capfd.readouterr()
    assert run(["--config", str(adopted / "hourglass.yaml"), "tradeoff", *options]) == 2
    assert sentence in capfd.readouterr().err


def test_lists_are_not_published_without_the_category_that_limits_them(
    adopted: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOURGLASS_RECOMMEND__CATEGORY", "colour")
    monkeypatch.setenv("HOURGLASS_RECOMMEND__MAX_PER_CATEGORY", "2")
    capfd.readouterr()
    assert run(["--config", str(adopted / "hourglass.yaml"), "recommend"]) == 2
    assert "no item has a column 'colour'" in capfd.readouterr().err


def test_the_gate_decides_as_it_did(adopted: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (former,) = (adopted / "work" / "decisions").glob(f"2026-01-06T02-{HELD}-*.json")
    facts(capfd, adopted, "evaluate")
    decided = facts(capfd, adopted, "gate")
    assert decided["outcome"] == json.loads(former.read_text())["outcome"] == "hold"


def test_the_records_of_its_monitor_are_read_where_they_lie(
    adopted: Path, settings: Settings, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = adopted / "work" / "watch"
    before = {path: path.read_bytes() for path in folder.glob("*.json")}
    hours = Hour.parse("2026-01-06T02"), Hour.parse("2026-01-06T03")
    ((path, _),) = monitor_results_between(settings.path("monitor"), *hours)
    assert path in before
    facts(capfd, adopted, "evaluate")
    judged = facts(capfd, adopted, "monitor")
    assert Path(judged["record"]).parent in (folder, settings.path("monitor"))
    assert {path: path.read_bytes() for path in folder.glob("*.json")} == before


@pytest.mark.parametrize("command", [("watch",), ("leaderboard",), ("where",), ("report",)])
def test_commands_of_that_time_still_work(
    adopted: Path, capfd: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    assert run(["--config", str(adopted / "hourglass.yaml"), *command]) == 0
    assert capfd.readouterr().out
