"""Both DAGs run whole, by Airflow, on a small simulated lake.

In `make test` Airflow is imported once for all its commands, and those that its tasks start are
answered in the test's process; `make test-all` repeats it with programs of their own.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace

import pyarrow as pa
import pytest
from answering import Airflow, Commands, forked_airflow
from workplace import Workplace, workplace

from pipeline.hours import HourRange
from pipeline.lake.compute import Compute
from pipeline.lake.lake import Lake
from pipeline.lake.tables import EVENTS, OPEN_SESSIONS, RECOMMENDATIONS, SESSIONS, TableSpec
from pipeline.settings.settings import load_settings

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
# `airflow dags test` takes the end of the hour, when Airflow's scheduler would start it.
END = "2026-01-05T05:00:00"

HERE, PROGRAMS = "here", "programs"

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Place(Workplace):
    """Where Airflow's tasks find `hourglass`: in the test's process, or as it is."""

    commands: Commands | None = None
    warm: Airflow | None = None

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        if self.commands is None:
            return super().run(*command)
        return self.commands.run(command, self.environment)

    def airflow(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        if self.warm is None:
            return super().airflow(*arguments)
        return self.warm.run(arguments, self.environment)


@pytest.fixture(scope="module", params=[HERE, pytest.param(PROGRAMS, marks=pytest.mark.nightly)])
def place(
    request: pytest.FixtureRequest,
    compute: Compute,
    mlflow_tables: None,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Place]:
    """A lake with four of five simulated hours filled, and Airflow beside it."""
    folder = tmp_path_factory.mktemp("a lake")
    settings = folder / "hourglass.yaml"
    settings.write_text(SETTINGS.format(folder=folder), encoding="utf-8")
    usual = workplace(folder / "work", HOURGLASS_CONFIG=str(settings))
    place = Place(usual.work, usual.environment)
    fill = ("backfill", "--from", "2026-01-05T00", "--to", "2026-01-05T04")
    with ExitStack() as closing:
        done = [place.run("hourglass", "simulate", "--hours", "5", "--seed", "1")]
        if request.param == HERE:
            commands = closing.enter_context(Commands(folder))
            path = f"{commands.folder}:{usual.environment['PATH']}"
            variables = usual.environment | {"PATH": path}
            warm = closing.enter_context(forked_airflow(commands, variables))
            place = Place(usual.work, variables, commands, warm)
        done.append(place.run("hourglass", *fill))
        done.append(place.airflow("db", "migrate"))
        for command in done:
            assert command.returncode == 0, command.stdout
        yield place


def rows(place: Place, spec: TableSpec) -> pa.Table:
    """The table's rows of the last hour, in an order of their own."""
    settings = load_settings(place.work.parent / "hourglass.yaml")
    table = Lake(settings.resolved_catalog_uri, settings.resolved_warehouse).arrow(spec, LAST_HOUR)
    return table.sort_by([(name, "ascending") for name in ("user_id", "event_time", "item_id")])


def fill(place: Place) -> list[pa.Table]:
    """The tables of the last hour after Airflow filled it."""
    done = place.airflow("dags", "test", "sessions_hourly", END)
    assert done.returncode == 0, done.stdout
    return [rows(place, spec) for spec in TABLES]


def test_airflow_fills_an_hour(place: Place) -> None:
    assert {rows(place, spec).num_rows for spec in TABLES} == {0}
    assert all(table.num_rows for table in fill(place))


@pytest.mark.nightly
def test_filling_an_hour_again_changes_nothing(place: Place) -> None:
    """Follows the test above; that commands change nothing twice is shown without Airflow too."""
    before = [rows(place, spec) for spec in TABLES]
    after = fill(place)
    assert all(first.equals(second) for first, second in zip(before, after, strict=True))


@pytest.mark.nightly
def test_retraining_ends_in_a_decision_and_recommendations(place: Place) -> None:
    """Follows the test above: the last hour is filled, and judges the candidates.

    By day the DAG runs with a stand-in whose commands the command line reads:
    `test_approval_runs`; what they do after one another is shown without Airflow: `test_catch_up`.
    """
    done = place.airflow("dags", "test", "retrain", END)
    assert done.returncode == 0, done.stdout
    assert list((place.work / "decisions").glob("**/*.json"))
    settings = load_settings(place.work.parent / "hourglass.yaml")
    lake = Lake(settings.resolved_catalog_uri, settings.resolved_warehouse)
    recommended = lake.arrow(RECOMMENDATIONS)
    assert recommended.num_rows
    assert set(recommended["rank"].to_pylist()) >= {1}


@pytest.mark.nightly
def test_a_refusal_fails_its_task_and_stops_the_run(place: Place) -> None:
    """`validate` is not tried again, so the run ends at once; nothing may pass for done.

    That Airflow stops where a command fails is shown with a stand-in in `test_approval_runs`.
    """
    suites = place.work.parent / "suites"
    suites.mkdir()
    (suites / "events.yaml").write_text("suite: events\nexpectations: none\n", encoding="utf-8")
    variables = place.environment | {"HOURGLASS_QUALITY__SUITES": str(suites)}
    strict = replace(place, environment=variables)
    done = strict.airflow("dags", "test", "sessions_hourly", END)
    assert done.returncode != 0
    assert "events.yaml" in done.stdout
    assert "filled 2026" not in done.stdout
