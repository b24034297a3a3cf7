"""Each way to start a run, as people and Airflow do it, and the run brought to its end."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from typing import Any
from unittest.mock import patch

from airflow import settings
from airflow.cli.cli_parser import get_parser
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db
from airflow.jobs.job import Job
from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
from airflow.models import DagModel, DagRun
from airflow.models.asset import AssetModel
from airflow.models.dagbag import DBDagBag
from airflow.sdk import DAG
from airflow.utils.sqlalchemy import prohibit_commit
from airflow.utils.state import DagRunState
from fastapi.testclient import TestClient
from sqlalchemy import select, update

_NUMBERS = itertools.count()
# Nothing ran then: `dag.test` clears what has this date before it begins.
_NOBODYS_DATE = datetime(1980, 1, 1, tzinfo=UTC)

Way = Callable[[TestClient, DAG, str], None]


def start(way: str, client: TestClient, dag: DAG, date: str) -> DagRun:
    """Start a run that way, with that logical date or none (""), and bring it to its end."""
    _sync()
    before = _newest(dag)
    _WAYS[way](client, dag, date)
    run = _newest(dag)
    assert run is not None and (before is None or run.id > before.id), way
    if run.state == DagRunState.QUEUED:
        _finish(dag, run)
    return run


@cache
def _sync() -> None:
    """What the DAG processor does: DAGs are known to Airflow, and their schedule."""
    manager = DagBundlesManager()
    manager.sync_bundles_to_db()
    for bundle in manager.get_all_dag_bundles():
        bundle.initialize()
        bag = BundleDagBag(bundle.path, bundle_path=bundle.path, bundle_name=bundle.name)
        sync_bag_to_db(bag, bundle.name, bundle.version)


def _newest(dag: DAG) -> DagRun | None:
    session = settings.Session()
    session.expire_all()
    query = select(DagRun).where(DagRun.dag_id == dag.dag_id).order_by(DagRun.id.desc())
    return session.scalar(query.limit(1))


def _finish(dag: DAG, run: DagRun) -> None:
    """Run its tasks as `dag.test` runs those of a run that it made itself."""
    session = settings.Session()
    run.dag = DBDagBag().get_latest_version_of_dag(dag.dag_id, session=session)
    run.state, run.start_date = DagRunState.RUNNING, datetime.now(UTC)
    session.commit()
    with patch("airflow.models.dagrun.get_or_create_dagrun", lambda **_: run):
        dag.test(logical_date=_NOBODYS_DATE)


def _command(*words: str) -> None:
    arguments = get_parser().parse_args(words)
    arguments.func(arguments)


def _by_form(client: TestClient, dag: DAG, date: str) -> None:
    """As the form of the user interface calls; "first/stop" chooses the data interval too."""
    first, _, stop = date.partition("/")
    body: dict[str, Any] = {
        "conf": {},
        "logical_date": first or None,
        "data_interval_start": first if stop else None,
        "data_interval_end": stop or None,
    }
    done = client.post(f"/api/v2/dags/{dag.dag_id}/dagRuns", json=body)
    assert done.status_code == 200, done.text


def _by_trigger(client: TestClient, dag: DAG, date: str) -> None:
    dated = ["--logical-date", date] if date else []
    _command("dags", "trigger", dag.dag_id, "--run-id", f"run-{next(_NUMBERS)}", *dated)


def _by_conf(client: TestClient, dag: DAG, date: str) -> None:
    conf = f'{{"hour": "{date}"}}'
    _command("dags", "trigger", dag.dag_id, "--run-id", f"run-{next(_NUMBERS)}", "--conf", conf)


def _by_dags_test(client: TestClient, dag: DAG, date: str) -> None:
    _command("dags", "test", dag.dag_id, *([date] if date else []))


def _by_dag_test(client: TestClient, dag: DAG, date: str) -> None:
    dag.test(logical_date=datetime.fromisoformat(date) if date else None)


def _by_dag_test_now(client: TestClient, dag: DAG, date: str) -> None:
    dag.test()


def _by_backfill(client: TestClient, dag: DAG, date: str) -> None:
    _command("backfill", "create", "--dag-id", dag.dag_id, "--from-date", date, "--to-date", date)


def _by_schedule(client: TestClient, dag: DAG, date: str) -> None:
    session = settings.Session()
    switched = update(DagModel).values(is_paused=DagModel.dag_id != dag.dag_id)
    session.execute(switched)
    session.commit()
    _let_schedule()
    session.execute(update(DagModel).values(is_paused=True))
    session.commit()


def _by_asset(client: TestClient, dag: DAG, date: str) -> None:
    """As the task that fills the asset says so; a run of its own begins where the DAG is on."""
    session = settings.Session()
    session.execute(update(DagModel).values(is_paused=DagModel.dag_id != dag.dag_id))
    session.commit()
    asset = session.scalar(select(AssetModel.id).where(AssetModel.name == "sessions"))
    done = client.post("/api/v2/assets/events", json={"asset_id": asset, "extra": {}})
    assert done.status_code == 200, done.text
    _by_schedule(client, dag, date)


def _let_schedule() -> None:
    """What the scheduler does each second: runs that are due begin."""
    session = settings.Session()
    with prohibit_commit(session) as guard:
        SchedulerJobRunner(Job())._create_dagruns_for_dags(guard, session)


_WAYS: dict[str, Way] = {
    "form": _by_form,
    "trigger": _by_trigger,
    "conf": _by_conf,
    "dags-test": _by_dags_test,
    "dag.test": _by_dag_test,
    "dag.test-now": _by_dag_test_now,
    "backfill": _by_backfill,
    "schedule": _by_schedule,
    "asset": _by_asset,
}
