"""Both DAGs run whole, by Airflow, on a small simulated lake.

In `make test` Airflow is started once for all its runs, and the commands that its tasks start are
answered in the test's process; `make test-all` repeats it with programs of their own, and
retrains with these alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import pyarrow as pa
import pytest
from airflow_process import Airflow
from answering import done_here
from workplace import ROOT, Workplace, workplace

from pipeline.hours import HourRange
from pipeline.lake.lake import Lake
from pipeline.lake.tables import EVENTS, OPEN_SESSIONS, RECOMMENDATIONS, SESSIONS, TableSpec
from pipeline.settings.settings import load_settings
from pipeline.spark.compute import Compute

SETTINGS = """
work: '{folder}/work'
source: {{name: simulator, path: '{folder}/landing'}}
simulator: {{users: 1200, items_per_day: 60, sessions_per_day: 6}}
dataset: {{window: 3h, history: 4h, min_item_events: 3}}
models: [{{system: recent_pop}}, {{system: item_knn}}]
candidate: item_knn
evaluation: {{bootstrap_samples: 100}}
gate: {{min_users: 5, min_targets: 20}}
spark: {{master: 'local[2]', driver_memory: 1g, shuffle_partitions: 2}}
"""
TABLES = (EVENTS, SESSIONS, OPEN_SESSIONS)
LAST_HOUR = HourRange.parse("2026-01-05T04", "2026-01-05T05")
HOUR = "2026-01-05T04:00:00+00:00"

HERE, PROGRAMS = "here", pytest.param("programs", marks=pytest.mark.nightly)
BY_NIGHT = pytest.mark.parametrize("place", [PROGRAMS], indirect=True)

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Place(Workplace):
    """A lake, and Airflow beside it: one for all tests, or commands as people give them."""

    started: Airflow | None = None

    def hourglass(self, *arguments: str) -> None:
        if self.started is not None:
            done = done_here(arguments, str(ROOT), self.environment)
            assert done["code"] == 0, done
        else:
            run = self.run("hourglass", *arguments)
            assert run.returncode == 0, run.stdout

    def run_dag(self, name: str) -> None:
        """Have Airflow run it for the last hour, well."""
        if self.started is not None:
            states = self.started.run_commands(f"nobody {name} {HOUR}")
            assert set(states.values()) <= {"success", "skipped"}, states
        else:
            run = self.airflow("dags", "test", name, HOUR)
            assert run.returncode == 0, run.stdout


@pytest.fixture(scope="module", params=[HERE, PROGRAMS])
def place(
    request: pytest.FixtureRequest,
    airflow: Airflow,
    compute: Compute,
    mlflow_tables: None,
    tmp_path_factory: pytest.TempPathFactory,
) -> Place:
    """A lake with four of five simulated hours filled, and Airflow beside it."""
    if request.param == HERE:
        folder, usual, started = airflow.folder, airflow.place, airflow
    else:
        folder = tmp_path_factory.mktemp("another lake")
        config = str(folder / "hourglass.yaml")
        usual, started = workplace(folder / "work", HOURGLASS_CONFIG=config), None
    (folder / "hourglass.yaml").write_text(SETTINGS.format(folder=folder), encoding="utf-8")
    place = Place(usual.work, usual.environment, started)
    place.hourglass("simulate", "--hours", "5", "--seed", "1")
    place.hourglass("backfill", "--from", "2026-01-05T00", "--to", "2026-01-05T04")
    if started is None:
        made = place.airflow("db", "migrate")
        assert made.returncode == 0, made.stdout
    return place


def rows(place: Place, spec: TableSpec) -> pa.Table:
    """The table's rows of the last hour, in an order of their own."""
    settings = load_settings(place.work.parent / "hourglass.yaml")
    table = Lake(settings.resolved_catalog_uri, settings.resolved_warehouse).arrow(spec, LAST_HOUR)
    return table.sort_by([(name, "ascending") for name in ("user_id", "event_time", "item_id")])


def fill(place: Place) -> list[pa.Table]:
    """The tables of the last hour after Airflow filled it."""
    place.run_dag("sessions_hourly")
    return [rows(place, spec) for spec in TABLES]


def test_airflow_fills_an_hour(place: Place) -> None:
    assert {rows(place, spec).num_rows for spec in TABLES} == {0}
    assert all(table.num_rows for table in fill(place))


@BY_NIGHT
def test_filling_an_hour_again_changes_nothing(place: Place) -> None:
    """That commands change nothing twice is shown without Airflow too."""
    before, after = fill(place), fill(place)
    assert all(first.equals(second) for first, second in zip(before, after, strict=True))


@BY_NIGHT
def test_retraining_ends_in_a_decision_and_recommendations(place: Place) -> None:
    """Follows the test above: the last hour is filled, and judges the candidates.

    By day the DAG runs with a stand-in, whose commands the command line must know:
    `test_approval_runs`; and the commands hand on to one another without Airflow: `test_catch_up`.
    """
    place.run_dag("retrain")
    assert list((place.work / "decisions").glob("**/*.json"))
    settings = load_settings(place.work.parent / "hourglass.yaml")
    lake = Lake(settings.resolved_catalog_uri, settings.resolved_warehouse)
    recommended = lake.arrow(RECOMMENDATIONS)
    assert recommended.num_rows
    assert set(recommended["rank"].to_pylist()) >= {1}


@BY_NIGHT
def test_a_refusal_fails_its_task_and_stops_the_run(place: Place) -> None:
    """`validate` is not tried again, so the run ends at once; nothing may pass for done.

    That Airflow stops where a command fails is shown with a stand-in in `test_approval_runs`.
    """
    suites = place.work.parent / "suites"
    suites.mkdir()
    (suites / "events.yaml").write_text("suite: events\nexpectations: none\n", encoding="utf-8")
    variables = place.environment | {"HOURGLASS_QUALITY__SUITES": str(suites)}
    strict = replace(place, environment=variables)
    done = strict.airflow("dags", "test", "sessions_hourly", HOUR)
    assert done.returncode != 0
    assert "events.yaml" in done.stdout
    assert "filled 2026" not in done.stdout
