"""Airflow's part of the pages: where its menus and its runs lead to them.

Every process of Airflow loads plugins, but only the API server needs the web application, which
is therefore imported when it is asked for.
"""

from __future__ import annotations

import sys
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

from airflow.plugins_manager import AirflowPlugin

_ROOT = Path(__file__).resolve().parents[2]
# Strokes of a square of 24: a page with a rising line, and a list with ticks.
_REPORT = "M5 3h14v18H5z M8 16l3-4 2 2 3-5"
_DOCS = "M4 7l1.5 1.5L8 5.5 M11 7h9 M4 13l1.5 1.5L8 11.5 M11 13h9 M4 19l1.5 1.5L8 17.5 M11 19h9"


def _icon(strokes: str, colour: str, halo: str) -> str:
    """A small drawing as an address that holds all of it, so that nothing has to be served.

    A light menu has one dark entry, the chosen one, and cannot repaint its picture: the halo
    keeps the strokes visible there.
    """
    lines = "".join(
        f"<path d='{strokes}' stroke='{stroke}' stroke-width='{width}'/>"
        for stroke, width in ((halo, 4), (colour, 2))
    )
    drawing = (
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24' fill='none'"
        f" stroke-linecap='round' stroke-linejoin='round'>{lines}</svg>"
    )
    return f"data:image/svg+xml,{quote(drawing)}"


def _view(name: str, destination: str, href: str, strokes: str) -> dict[str, Any]:
    return {
        "name": name,
        "destination": destination,
        # Relative, so that it holds below whatever path [api] base_url names.
        "href": f"hourglass/{href}",
        "url_route": f"hourglass-{destination}-{name.lower().replace(' ', '-')}".replace("_", "-"),
        "icon": _icon(strokes, "#1e3a5f", "#ffffff"),
        "icon_dark_mode": _icon(strokes, "#d4d4d8", "none"),
    }


_VIEWS = [
    {**_view("Quality", "nav", "reports/report.html", _REPORT), "nav_top_level": True},
    {**_view("Data Docs", "nav", "data_docs/index.html", _DOCS), "nav_top_level": True},
    _view("Data quality", "dag_run", "runs/{DAG_ID}/{RUN_ID}", _DOCS),
]


class HourglassPlugin(AirflowPlugin):
    """The report and the Data Docs in the menu, and those of its hour on every run."""

    name = "hourglass"
    external_views = _VIEWS

    @cached_property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The application that serves the pages, in the form in which Airflow mounts it."""
        # Of the DAGs, which the API server does not read: what hour a run is about.
        if (dags := str(_ROOT / "dags")) not in sys.path:
            sys.path.append(dags)
        from hourglass_pages import Folders, pages_app

        app = pages_app(Folders(_ROOT))
        return [{"app": app, "url_prefix": "/hourglass", "name": "hourglass"}]
