"""Airflow's own API server with the plugin, asked over HTTP as browsers ask.

It runs in a process of its own, because Airflow sets up logging and a database for the whole
process; requests are written by hand, because well-behaved clients tidy up hostile paths.
"""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from workplace import ROOT, workplace

# Airflow's application as `airflow api-server` makes it, on a database with a few runs in it.
SERVE = """
import json, sys
from datetime import UTC, datetime, timedelta
import airflow.models
from airflow import settings
airflow.models.import_all_models()
from airflow.models.base import Base
Base.metadata.create_all(settings.engine)
from airflow.models import DagModel, DagRun, DagTag
from airflow.models.asset import AssetEvent, AssetModel
from airflow.models.dagbundle import DagBundleModel
from airflow.utils.session import create_session
start = datetime(2016, 3, 14, 13, tzinfo=UTC)
def dag(dag_id, *tags):
    tags = [DagTag(name=tag, dag_id=dag_id) for tag in tags]
    return DagModel(dag_id=dag_id, bundle_name="here", tags=tags, timetable_summary="")
def run(dag_id, run_id, first=None, hours=1, hour=None):
    ends = None if first is None else (first, first + timedelta(hours=hours))
    return DagRun(dag_id, run_id, logical_date=first, data_interval=ends,
                  run_after=start + timedelta(days=1), run_type="manual",
                  conf={"hour": hour} if hour else None)
with create_session() as session:
    session.add(DagBundleModel(name="here"))
    session.flush()
    session.add_all([dag("sessions_hourly", "hourglass"), dag("retrain", "hourglass")])
    session.add(dag("other"))
    session.flush()
    asset = AssetModel(name="sessions", uri="hourglass://lake/sessions")
    session.add(asset)
    retrain = run("retrain", "by_asset")
    session.add_all([
        run("sessions_hourly", "scheduled__2016-03-14T13:00:00+00:00", start),
        run("sessions_hourly", "large+batch", start - timedelta(hours=10)),
        run("sessions_hourly", "not_validated", start + timedelta(hours=1)),
        run("sessions_hourly", "no_hour", start + timedelta(hours=2), hours=0),
        run("sessions_hourly", "named", start + timedelta(hours=5), hour="2016-03-14T13"),
        run("sessions_hourly", "no_day", start + timedelta(hours=6), hour="2016-02-31T13"),
        run("retrain", "by_hand"),
        run("other", "elsewhere", start),
        retrain,
    ])
    session.flush()
    for run_id in ("scheduled__2016-03-14T13:00:00+00:00", "large+batch"):
        retrain.consumed_asset_events.append(AssetEvent(
            asset_id=asset.id, source_dag_id="sessions_hourly", source_run_id=run_id))

from airflow.api_fastapi.app import create_app, get_auth_manager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
app = create_app(apps="core")
def token(role, expires_s=600):
    user = SimpleAuthManagerUser(username="someone", role=role)
    return get_auth_manager().generate_jwt(user, expiration_time_in_seconds=expires_s)
tokens = {"viewer": token("VIEWER"), "expired": token("VIEWER", -3600), "nobody": token(None)}
from airflow.utils.file import list_py_file_paths
dags = [str(path) for path in list_py_file_paths(sys.argv[3])]
with open(sys.argv[2], "w") as file:
    json.dump({"tokens": tokens, "dag_files": dags}, file)
import socket
import uvicorn
listening = socket.socket(fileno=int(sys.argv[1]))
uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[listening])
"""
PAGE = {"Accept": "text/html,application/xhtml+xml"}


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    text: str


@dataclass(frozen=True)
class Server:
    """A running API server, its work folder, and tokens by the name of who holds them."""

    port: int
    work: Path
    tokens: dict[str, str]
    dag_files: set[str]

    def get(self, path: str, who: str | None = "viewer", **headers: str) -> Answer:
        """What a browser in which ``who`` is logged in gets for a path, sent as it stands."""
        cookie = {"Cookie": f"_token={self.tokens[who]}"} if who else {}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.putrequest("GET", path, skip_accept_encoding=True)
        for name, value in {**PAGE, **cookie, **headers}.items():
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, text)


@contextmanager
def api_server(folder: Path) -> Iterator[Server]:
    """Serve the pages of ``folder/work``, as the settings ``folder/hourglass.yaml`` say."""
    work = folder / "work"
    # Bound here and handed on: a port that is let go may be another's when the server comes to it.
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    port = bound.getsockname()[1]
    place = workplace(
        work,
        HOURGLASS_CONFIG=str(folder / "hourglass.yaml"),
        AIRFLOW_HOME=str(work / "airflow"),
        AIRFLOW__CORE__PLUGINS_FOLDER=str(ROOT / "dags" / "plugins"),
        AIRFLOW__CORE__LOAD_EXAMPLES="False",
        AIRFLOW__API__BASE_URL=f"http://127.0.0.1:{port}",
    )
    facts, said = folder / "facts.json", folder / "server.log"
    with said.open("w") as log, bound:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE, str(bound.fileno()), str(facts), str(ROOT / "dags")],
            cwd=folder,
            env=place.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=(bound.fileno(),),
        )
    try:
        patience = time.monotonic() + 120
        while not (facts.is_file() and answers(port)):
            assert process.poll() is None, said.read_text()
            assert time.monotonic() < patience, said.read_text()
            time.sleep(0.1)
        read = json.loads(facts.read_text())
        files = {Path(path).name for path in read["dag_files"]}
        yield Server(port, work, forge(read["tokens"]), files)
    finally:
        process.kill()
        process.wait()


def answers(port: int) -> bool:
    with socket.socket() as trial:
        return trial.connect_ex(("127.0.0.1", port)) == 0


def forge(tokens: dict[str, str]) -> dict[str, str]:
    """Add tokens that nobody issued: with another signature, and with none."""
    header, claims, signature = tokens["viewer"].split(".")
    unsigned = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0"  # {"alg":"none","typ":"JWT"}
    swapped = "".join(reversed(signature))
    forged = {"resigned": f"{header}.{claims}.{swapped}", "unsigned": f"{unsigned}.{claims}."}
    return {**tokens, **forged, "nonsense": "nonsense"}
