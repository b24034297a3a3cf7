"""A real Airflow, as `make airflow` starts it, and what its API says."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import httpx

ROOT = Path(__file__).resolve().parents[2]
DAGS = ("sessions_hourly", "retrain")
# What `standalone` starts, and does not start again.
COMPONENTS = ("scheduler", "dag-processor", "api-server", "triggerer")
_PATIENCE_S = 180.0
_MOMENT_S = 1.0
_PAGE = 100


@dataclass
class Airflow:
    """Its processes, in sessions of their own, and its API."""

    environment: Mapping[str, str]
    port: int
    log: IO[str]
    processes: list[subprocess.Popen[str]]
    token: str = ""

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start `dags/airflow.sh` with these words; it ends with `stop`."""
        process = subprocess.Popen(  # noqa: S603 - our own script
            ["bash", str(ROOT / "dags" / "airflow.sh"), *words],  # noqa: S607
            cwd=ROOT,
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.processes.append(process)
        return process

    def wait_until_it_answers(self) -> None:
        """Until people could log in.

        Raises:
            TimeoutError: it takes too long.
        """
        ends_s = time.monotonic() + _PATIENCE_S
        home = Path(self.environment["AIRFLOW_HOME"])
        passwords = home / "simple_auth_manager_passwords.json.generated"
        while time.monotonic() < ends_s:
            try:
                password = json.loads(passwords.read_text(encoding="utf-8"))["admin"]
                body = {"username": "admin", "password": password}
                answer = httpx.post(f"{self._address}/auth/token", json=body, timeout=10)
                self.token = answer.json()["access_token"]
                known = {dag["dag_id"] for dag in self.get("/dags")["dags"]}
            except (httpx.HTTPError, OSError, ValueError, KeyError):
                known = set()
            if known.issuperset(DAGS):
                return
            time.sleep(_MOMENT_S)
        raise TimeoutError(f"Airflow has not come up: {self.log.name}")

    def switch_on(self) -> None:
        """Its DAGs start paused."""
        for dag in DAGS:
            self._call("PATCH", f"/dags/{dag}", json={"is_paused": False})

    def trigger(self, dag: str, logical_date: str) -> None:
        """Start a run, as the form of the user interface does."""
        body = {"logical_date": logical_date, "conf": {}}
        self._call("POST", f"/dags/{dag}/dagRuns", json=body, fine=(409,))

    def backfill(self, first: str, last: str) -> None:
        """Have hours run one by one, as the guide says; both ends are inclusive.

        Raises:
            subprocess.CalledProcessError: it is refused.
        """
        dates = ["--from-date", first, "--to-date", last]
        words = ["backfill", "create", "--dag-id", "sessions_hourly", "--max-active-runs", "1"]
        process = self.start(*words, *dates)
        if code := process.wait():
            raise subprocess.CalledProcessError(code, process.args)

    def has_backfilled(self) -> bool:
        """Whether no run of a backfill waits or goes on."""
        query = {"run_type": "backfill", "state": ["queued", "running"], "limit": 1}
        return not self.get("/dags/sessions_hourly/dagRuns", **query)["dag_runs"]

    def dismiss_scheduled(self) -> None:
        """End the runs of the real hours, of which this site has no logs."""
        query = {"run_type": "scheduled", "state": ["queued", "running"]}
        for run in self.get("/dags/sessions_hourly/dagRuns", **query)["dag_runs"]:
            path = f"/dags/sessions_hourly/dagRuns/{run['dag_run_id']}"
            self._call("PATCH", path, json={"state": "failed"})

    def get(self, path: str, **query: Any) -> Any:  # noqa: ANN401 - it is JSON
        """What the API answers."""
        return self._call("GET", path, params=query)

    def tasks(self) -> list[dict[str, Any]]:
        """All task instances, as they ended last."""
        found: list[dict[str, Any]] = []
        while True:
            query = {"limit": _PAGE, "offset": len(found), "order_by": "id"}
            page = self.get("/dags/~/dagRuns/~/taskInstances", **query)
            found += page["task_instances"]
            if not page["task_instances"] or len(found) >= page["total_entries"]:
                return found

    def runs(self) -> list[dict[str, Any]]:
        """All runs of the two DAGs."""
        return [
            run for dag in DAGS for run in self.get(f"/dags/{dag}/dagRuns", limit=1000)["dag_runs"]
        ]

    def _call(
        self,
        method: str,
        path: str,
        fine: tuple[int, ...] = (),
        **more: Any,  # noqa: ANN401 - httpx's own
    ) -> Any:  # noqa: ANN401 - it is JSON
        """Ask until it answers: whoever kills the API server waits for the next one."""
        ends_s = time.monotonic() + _PATIENCE_S
        headers = {"Authorization": f"Bearer {self.token}"}
        while True:
            try:
                address = f"{self._address}/api/v2{path}"
                answer = httpx.request(method, address, headers=headers, timeout=30, **more)
                if answer.status_code not in fine:
                    answer.raise_for_status()
                return answer.json()
            except (httpx.TransportError, httpx.HTTPStatusError) as error:
                asked_wrongly = (
                    isinstance(error, httpx.HTTPStatusError) and error.response.status_code < 500
                )
                if asked_wrongly or time.monotonic() > ends_s:
                    raise
                time.sleep(_MOMENT_S)

    @property
    def _address(self) -> str:
        return f"http://127.0.0.1:{self.port}"
