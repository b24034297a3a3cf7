"""Runs DAGs in Airflow with a stand-in for `hourglass`, and answers when one asks.

For each line of its input, approve, reject, silence or nobody, and the name of a DAG unless it is
`retrain`, the end of its hour unless it is this one, and its configuration as JSON without spaces,
it runs the DAG once and prints the state of every task as JSON.  Answers go through the route of
Airflow's API; silence through the scheduler's own check of what is overdue.  For `start`, one of
the ways of `starting`, the name of a DAG and a date, if any, it starts the run in that way.
"""

from __future__ import annotations

import json
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import airflow.models
from airflow import settings

airflow.models.import_all_models()

from airflow.api_fastapi.app import create_app, get_auth_manager  # noqa: E402
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser  # noqa: E402
from airflow.dag_processing.dagbag import BundleDagBag  # noqa: E402
from airflow.jobs.job import Job  # noqa: E402
from airflow.jobs.scheduler_job_runner import SchedulerJobRunner  # noqa: E402
from airflow.models.dagrun import DagRun  # noqa: E402
from airflow.models.taskinstance import TaskInstance  # noqa: E402
from airflow.sdk import DAG  # noqa: E402
from airflow.utils.db import upgradedb  # noqa: E402
from airflow.utils.session import create_session  # noqa: E402
from airflow.utils.state import TaskInstanceState  # noqa: E402
from fastapi.testclient import TestClient  # noqa: E402
from sqlalchemy import select  # noqa: E402
from starting import start  # noqa: E402

ANSWERED = "ANSWERED"
_MOMENT_S = 0.01


def waiting() -> str | None:
    """The run whose task waits for a person."""
    with create_session() as session:
        state = TaskInstance.state == TaskInstanceState.AWAITING_INPUT
        return session.scalar(select(TaskInstance.run_id).where(state))


def answer(client: TestClient, run_id: str, choice: str) -> None:
    path = f"/api/v2/dags/retrain/dagRuns/{run_id}/taskInstances/approval/-1/hitlDetails"
    done = client.patch(path, json={"chosen_options": [choice], "params_input": {}})
    assert done.status_code == 200, done.text


def respond(what: str, client: TestClient, run_id: str) -> None:
    if what == "silence":
        time.sleep(0.5)
        SchedulerJobRunner(Job()).check_awaiting_input_timeouts()
    else:
        answer(client, run_id, what.capitalize())


def prepared() -> tuple[TestClient, dict[str, DAG]]:
    """Airflow's API as an administrator sees it, and the DAGs."""
    app = create_app(apps="core")
    admin = SimpleAuthManagerUser(username="ann'; rm -rf $HOME; '", role="ADMIN")
    token = get_auth_manager().generate_jwt(admin, expiration_time_in_seconds=3600)
    client = TestClient(app, headers={"Authorization": f"Bearer {token}"})
    folder = Path("dags").resolve()
    bag = BundleDagBag(folder, bundle_path=folder, bundle_name="dags-folder")
    assert not bag.import_errors, bag.import_errors
    for dag in bag.dags.values():
        for task in dag.tasks:
            # Between two tries lie minutes; who takes a refusal for final shows it by a second try.
            task.retries = int(getattr(task, "final_refusal", False))
            task.retry_delay, task.retry_exponential_backoff = timedelta(0), 0
    return client, dict(bag.dags)


class Clock:
    """The module `time`, but whoever sleeps while a person is asked gives that person's answer.

    The run sleeps when nothing is left to do but to wait.  An answer from elsewhere could come
    while the state is written down that asks for it.  Where nobody is asked nothing else is at
    work either, and what cannot go on yet can when the run looks again.
    """

    def __init__(self, client: TestClient) -> None:
        self.client, self.what, self.asked = client, "", 0

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def sleep(self, seconds: float) -> None:
        run_id = waiting()
        if run_id is None:
            time.sleep(min(seconds, _MOMENT_S))
        else:
            self.asked += 1
            respond(self.what, self.client, run_id)


def run_once(what: str, clock: Clock, dag: DAG, end: str, conf: str) -> dict[str, Any]:
    """States of the run and of its tasks."""
    clock.what, clock.asked = what, 0
    logical = {"logical_date": datetime.fromisoformat(end)} if end else {}
    run = dag.test(**logical, run_conf=json.loads(conf) if conf else None)
    assert bool(clock.asked) == (what != "nobody")
    return facts(run)


def start_once(clock: Clock, way: str, dag: DAG, date: str) -> dict[str, Any]:
    """As above, of a run that nobody is asked in."""
    clock.what = ""
    return facts(start(way, clock.client, dag, date))


def facts(run: DagRun) -> dict[str, Any]:
    with create_session() as session:
        of_run = (TaskInstance.dag_id == run.dag_id, TaskInstance.run_id == run.run_id)
        tasks = {
            task.task_id: str(task.state)
            for task in session.scalars(select(TaskInstance).where(*of_run))
        }
    return {"run": str(run.state), "tasks": tasks, "run_after": run.run_after.isoformat()}


if __name__ == "__main__":
    assert settings.engine is not None
    upgradedb()
    client, dags = prepared()
    clock = Clock(client)
    sys.modules["time"] = clock  # type: ignore[assignment]  # a run imports it for itself
    for line in sys.stdin:
        answered, *words = line.split()
        if answered == "start":
            way, name, *dates = words
            states = start_once(clock, way, dags[name], "".join(dates))
        else:
            name, end, conf = [*words, *("retrain", "", "")[len(words) :]]
            states = run_once(answered, clock, dags[name], end, conf)
        print(ANSWERED + json.dumps(states), flush=True)
