"""The report and the Data Docs as web pages, for people who are logged in to Airflow.

Nothing is served but HTML files of two folders, and nobody sees them who may not read the logs of
the tasks that made them: both show raw records of the same hours.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated
from urllib.parse import quote, urlencode

from airflow.api_fastapi.app import API_ROOT_PATH
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.security import bearer_scheme, get_user, requires_access_dag
from airflow.models import DagModel, DagRun
from airflow.sdk.exceptions import AirflowFailException
from fastapi import Depends, FastAPI, HTTPException, Request, Response, status
from fastapi.exception_handlers import http_exception_handler
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.security import HTTPAuthorizationCredentials
from hourglass_hours import hours_of
from jinja2 import Environment, FileSystemLoader
from sqlalchemy import select
from starlette.exceptions import HTTPException as AnyHTTPException

# The DAG whose tasks write these pages, and the tag of all DAGs of the project.
_WRITER = "sessions_hourly"
_TAG = "hourglass"
_FRESH_S = 30.0
_ASKING = "page folders"
_BATCH = re.compile(r"(\d{4}-\d{2}-\d{2}T\d{2})(?:\+(\d+)h)?")
_HOUR = "%Y-%m-%dT%H"
# The pages hold styles and drawings and need nothing else.  Raw records in them are escaped; were
# one not, no script would run and nothing could be sent anywhere.
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none';"
        " form-action 'none'; frame-ancestors 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "private, no-cache",
}
_MISSING = {
    "reports/report.html": "There is no report yet: `hourglass report` writes it.",
    "data_docs/index.html": "There are no Data Docs yet: `hourglass validate` writes them, and so"
    " does every run of sessions_hourly.",
}
_NO_PAGE = "There is no such page: Data Docs keep the hours that were validated last."
_TEMPLATES = Environment(autoescape=True, loader=FileSystemLoader(Path(__file__).parent))


class Folders:
    """Where the pages lie, as the command line says it for the settings in force.

    It is asked when the server starts, so that no request waits for a command to start, and half a
    minute after that again: whoever asks then is answered with what was said before.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._known: dict[str, Path] | None = None
        self._until_s = 0.0
        threading.Thread(target=self._ask_again, name=_ASKING, daemon=True).start()

    def __call__(self) -> Mapping[str, Path]:
        """``reports`` and ``data_docs``.

        Raises:
            HTTPException: 503, with what the command says is wrong.
        """
        known = self._known
        if known is None:
            with self._lock:
                if self._known is None:
                    self._known = self._ask()
                return self._known
        if time.monotonic() >= self._until_s:
            self._until_s = time.monotonic() + _FRESH_S
            threading.Thread(target=self._ask_again, name=_ASKING, daemon=True).start()
        return known

    def _ask_again(self) -> None:
        with self._lock:
            try:
                self._known = self._ask()
            except (HTTPException, OSError, subprocess.SubprocessError):
                self._known = None  # the next request asks itself, and is told why
            self._until_s = time.monotonic() + _FRESH_S

    def _ask(self) -> dict[str, Path]:
        program = shutil.which("hourglass")
        if program is None:
            raise HTTPException(503, "The command `hourglass` is not on the API server's PATH.")
        done = subprocess.run(  # noqa: S603 - fixed words, no shell
            [program, "where", "--json"],
            cwd=self._root,
            # By itself: a process that stays would take longer to start than this takes.
            env={**os.environ, "HOURGLASS_FORK_SERVER_IDLE_S": ""},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode:
            raise HTTPException(503, done.stderr.strip() or "`hourglass where` failed.")
        return {name: Path(folder) for name, folder in json.loads(done.stdout).items()}


def pages_app(folders: Callable[[], Mapping[str, Path]]) -> FastAPI:
    """The application; ``folders`` tells where the pages lie."""
    app = FastAPI(
        openapi_url=None,
        # Nobody who is not logged in learns so much as which pages exist.
        dependencies=[
            Depends(logged_in),
            Depends(requires_access_dag("GET", DagAccessEntity.TASK_LOGS, _WRITER)),
        ],
    )

    @app.middleware("http")
    async def guard(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await answer(request)
        response.headers.update(_HEADERS)
        return response

    @app.exception_handler(AnyHTTPException)
    async def refuse(request: Request, error: AnyHTTPException) -> Response:
        if "text/html" not in request.headers.get("accept", ""):
            return await http_exception_handler(request, error)
        if error.status_code == status.HTTP_401_UNAUTHORIZED:
            after = urlencode({"next": quote(request.scope["path"])})
            return RedirectResponse(f"{API_ROOT_PATH}api/v2/auth/login?{after}", 303)
        return _page(request, error.status_code, title="Data quality", sentence=error.detail)

    @app.get(
        "/runs/{dag_id}/{run_id}",
        dependencies=[Depends(requires_access_dag("GET", DagAccessEntity.RUN))],
    )
    def run(request: Request, dag_id: str, run_id: str, session: SessionDep) -> Response:
        found = session.scalar(
            select(DagRun).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)
        )
        if found is None:
            raise HTTPException(404, f"There is no run {run_id} of {dag_id}.")
        dag = session.get(DagModel, dag_id)
        if dag is None or _TAG not in {tag.name for tag in dag.tags}:
            sentence = f"{dag_id} is not one of Hourglass's DAGs: none of its pages belong to it."
            return _page(request, title="Data quality", sentence=sentence)
        hour = hour_of(found)
        if hour is None:
            sentence = "This run is not about an hour of its own."
            return _page(request, title="Data quality", sentence=sentence)
        pages = pages_of(hour, folders()["data_docs"])
        span = f"--from {hour:{_HOUR}} --to {hour + timedelta(hours=1):{_HOUR}}"
        missing = f"Data Docs have no page of this hour: `hourglass validate {span}` writes it."
        sentence = "" if pages else missing
        return _page(request, title=f"{hour:{_HOUR}} (UTC)", sentence=sentence, pages=pages)

    @app.get("/{page:path}")
    def page(page: str) -> Response:
        name, _, inner = page.partition("/")
        folder = folders().get(name)
        path = folder and file_below(folder, inner)
        if not path:
            raise HTTPException(404, _MISSING.get(page, _NO_PAGE))
        # Whole, so that a page that is replaced meanwhile is not sent in two halves.
        return HTMLResponse(path.read_bytes())

    return app


async def logged_in(
    request: Request,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer_scheme)],
) -> None:
    """Whoever Airflow's own pages and API would let in: by the browser's session or a token.

    Raises:
        HTTPException: 401, also for a token that is forged or worn out.
    """
    try:
        await get_user(request, None, credentials)
    except HTTPException as error:
        challenge = {"WWW-Authenticate": "Bearer"}
        raise HTTPException(401, "Log in to Airflow first.", challenge) from error


def file_below(folder: Path, asked: str) -> Path | None:
    """The HTML file of that name below the folder, if it is one.

    A path that leads anywhere but straight down is no name of a page: links, ``..``, absolute
    paths, hidden files and backslashes are all refused.
    """
    parts = asked.split("/")
    if any(part in ("", "..") or part.startswith(".") for part in parts):
        return None
    if not asked.endswith(".html") or "\\" in asked or not asked.isprintable():
        return None
    try:
        path = folder.resolve().joinpath(*parts)
        straight = path.resolve() == path
        return path if straight and path.is_file() else None
    except OSError:
        return None


def hour_of(run: DagRun) -> datetime | None:
    """Start of the hour that a run computed, or of the newest hour that triggered it."""
    runs = [run, *(event.source_dag_run for event in run.consumed_asset_events)]
    return max((hour for each in runs if each and (hour := _own_hour(each))), default=None)


def _own_hour(run: DagRun) -> datetime | None:
    if run.dag_id != _WRITER:
        return None
    try:
        return hours_of(run)[0]
    except AirflowFailException:
        return None


def pages_of(hour: datetime, docs: Path) -> list[dict[str, str]]:
    """The pages of Data Docs about an hour, those about the fewest hours first."""
    found = []
    for folder in (docs / "validations").glob("*/*"):
        match = _BATCH.fullmatch(folder.name)
        if match is None:
            continue
        first = datetime.strptime(match[1], _HOUR).replace(tzinfo=UTC)
        span_h = int(match[2] or 1)
        if first <= hour < first + timedelta(hours=span_h):
            found += [
                (span_h, folder.parent.name, folder.name, page.relative_to(docs))
                for page in folder.glob("*/*.html")
            ]
    return [
        {"suite": suite, "batch": batch, "href": f"data_docs/{quote(page.as_posix())}"}
        for _, suite, batch, page in sorted(found)
    ]


def _page(
    request: Request,
    status_code: int = 200,
    *,
    title: str,
    sentence: str,
    pages: list[dict[str, str]] | None = None,
) -> Response:
    text = _TEMPLATES.get_template("hourglass_page.html").render(
        root=request.scope["root_path"], title=title, sentence=sentence, pages=pages or []
    )
    return HTMLResponse(text, status_code)
