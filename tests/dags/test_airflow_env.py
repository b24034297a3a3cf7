"""``dags/airflow.env``: settings that must fit each other, and the limits of our own."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from workplace import Workplace, workplace

from pipeline.process.fork_server.server import KILL_S
from pipeline.settings.notify import NotifySettings

# What Airflow's processes see of both.
DESCRIBE = """
import json, sys
from airflow.configuration import conf
sys.path.append("dags")
import hourglass_tasks
print("DESCRIBED" + json.dumps({
    "notify_s": hourglass_tasks.NOTIFY_S,
    "overtime_s": conf.getfloat("core", "task_success_overtime"),
    "missed_s": conf.getfloat("scheduler", "task_instance_heartbeat_timeout"),
    "heartbeat_s": conf.getfloat("workers", "min_heartbeat_interval"),
}))
"""


@pytest.fixture(scope="module")
def limits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """Seconds, by what they limit."""
    folder = tmp_path_factory.mktemp("limits")
    (folder / "describe.py").write_text(DESCRIBE)
    airflow = folder / "airflow"
    airflow.write_text(f"#!/bin/sh\nexec '{sys.executable}' '{folder / 'describe.py'}'\n")
    airflow.chmod(0o755)
    place = workplace(folder / "work")
    path = f"{folder}:{place.environment['PATH']}"
    done = Workplace(place.work, place.environment | {"PATH": path}).airflow()
    assert "DESCRIBED" in done.stdout, done.stdout
    described: dict[str, float] = json.loads(done.stdout.partition("DESCRIBED")[2])
    return described


def test_a_failed_task_has_the_time_to_tell_people(limits: dict[str, float]) -> None:
    assert limits["overtime_s"] >= limits["notify_s"] + KILL_S + 10
    slowest_s = max(
        bound.le
        for bound in NotifySettings.model_fields["timeout_s"].metadata
        if hasattr(bound, "le")
    )
    assert limits["notify_s"] >= slowest_s + 20


def test_a_failed_task_is_not_missed_while_it_tells_people(limits: dict[str, float]) -> None:
    """It shows no more that it lives, and one that is missed would be tried again."""
    assert limits["overtime_s"] + limits["heartbeat_s"] < limits["missed_s"]


def test_services_of_docker_read_the_same_settings() -> None:
    compose = (Path(__file__).parents[2] / "docker" / "compose.yaml").read_text()
    assert "env_file: ../dags/airflow.env" in compose
    assert "TASK_SUCCESS_OVERTIME" not in compose
