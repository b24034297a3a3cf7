"""Turn report facts into one HTML file that needs nothing else."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import jinja2
from markupsafe import Markup

from pipeline.errors import HourglassError
from pipeline.report import charts
from pipeline.report.facts import ReportFacts

if TYPE_CHECKING:
    import pandas as pd

_TEMPLATES = Path(__file__).with_name("templates")
_SHOWN_HOURS = 24
_MAX_RAW_CHARS = 300
_INTERVAL_PARTS = 3
_NOTHING = "\N{EN DASH}"


def render_report(facts: ReportFacts, out: Path) -> Path:
    """Write the report and return its path; the same facts give the same bytes.

    Raises:
        HourglassError: the file cannot be written.
    """
    text = report_html(facts)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=out.parent, suffix=".html")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        # A temporary file is private; a report is for whoever may read the folder.
        Path(name).chmod(0o644)
        Path(name).replace(out)
    except OSError as error:
        raise HourglassError(f"{out}: cannot write the report: {error.strerror}") from error
    return out


def report_html(facts: ReportFacts) -> str:
    """The page as text: styles and charts inline, every value escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "number": number,
        "cell": cell,
        "percent": percent,
        "visible": visible,
        "safe_href": safe_href,
    }
    hours = facts.hours if facts.hours is not None and len(facts.hours) else None
    newest = [] if hours is None else hours.iloc[::-1].to_dict("records")
    leaderboard_columns = list(dict.fromkeys(key for row in facts.leaderboard for key in row))
    return environment.get_template("report.html").render(
        facts=facts,
        columns=[] if hours is None else list(hours.columns),
        totals=_totals(hours),
        newest=newest[:_SHOWN_HOURS],
        older=newest[_SHOWN_HOURS:],
        leaderboard_columns=leaderboard_columns,
        hours_chart=_chart(charts.hours_chart, hours),
        dwell_chart=_chart(charts.dwell_chart, facts.dwell),
        length_chart=_chart(charts.length_chart, facts.lengths),
        popularity_chart=_chart(charts.popularity_chart, facts.popularity),
    )


def _totals(hours: pd.DataFrame | None) -> list[tuple[str, object]]:
    """Sums of the columns that may be added up: a user of two hours is still one user."""
    if hours is None:
        return []
    names = [name for name in hours.columns if name not in ("hour", "users", "items")]
    return [("hours", len(hours)), *((name, hours[name].sum()) for name in names)]


def _chart(draw: Callable[[Any], str], facts: object | None) -> Markup:
    return Markup("" if facts is None else draw(facts))  # noqa: S704 - our own SVG


def number(value: object) -> str:
    """A count with separators, a fraction with four digits, anything else as text."""
    if isinstance(value, bool) or value is None:
        return _NOTHING if value is None else "yes" if value else "no"
    if isinstance(value, float) or hasattr(value, "dtype"):
        real = float(value)  # type: ignore[arg-type]
        if not math.isfinite(real):
            return _NOTHING
        if real.is_integer() and abs(real) >= 1:
            return f"{real:,.0f}"
        return f"{real:.4f}" if abs(real) < 1 else f"{real:,.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def cell(value: object) -> str:
    """A leaderboard cell; a triple is a figure and its interval."""
    if isinstance(value, tuple) and len(value) == _INTERVAL_PARTS:
        figure, low, high = value
        return f"{number(figure)} [{number(low)}, {number(high)}]"
    return number(value)


def percent(value: float) -> str:
    """A fraction as a percentage of three digits or so."""
    return f"{100 * value:.3g} %"


def visible(raw: str | None) -> str:
    """Raw text fit to be read: control characters spelt out, length bounded."""
    text = "" if raw is None else raw[: _MAX_RAW_CHARS + 1]
    shown = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[:_MAX_RAW_CHARS])
    return shown + "…" if len(text) > _MAX_RAW_CHARS else shown


def safe_href(address: str | None) -> str | None:
    """The address, where following it can only open a page; None otherwise."""
    if not address:
        return None
    try:
        scheme = urlsplit(address.strip()).scheme
    except ValueError:
        return None
    return address if scheme in ("", "http", "https") else None
