"""Turn report facts into one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
from markupsafe import Markup

from pipeline.errors import HourglassError
from pipeline.files import write_text
from pipeline.report import charts, format, popularity, session_charts
from pipeline.report.failures import failed_sentence
from pipeline.report.intake import LaterFiles, intake_sentence
from pipeline.report.page_data import ReportFacts
from pipeline.text.wording import counted

if TYPE_CHECKING:
    import pandas as pd

_TEMPLATES = Path(__file__).with_name("templates")
_CHARTS = (
    charts.hours_chart,
    charts.intake_chart,
    charts.attrition_chart,
    charts.drift_chart,
    session_charts.dwell_chart,
    session_charts.length_chart,
    session_charts.per_user_chart,
    session_charts.repeat_chart,
    session_charts.spread_chart,
    popularity.popularity_chart,
    popularity.overlap_chart,
    popularity.stays_chart,
)
_SHOWN_HOURS = 12
# A table of a year would weigh more than all the rest of the page.
_TABLE_HOURS = 14 * 24
# The lights that tell of broken promises and not of expectations on hours.
_PROMISES = ("Conservation", "Data set")
_CLOSE, _ROUGH = 0.05, 0.15


def render_report(facts: ReportFacts, out: Path) -> Path:
    """Write the report and return its path; the same facts give the same bytes.

    Raises:
        HourglassError: the file cannot be written.
    """
    page = report_html(facts)
    try:
        return write_text(out, page)
    except OSError as error:
        raise HourglassError(f"{out}: cannot write the report: {error.strerror}") from error


def report_html(facts: ReportFacts) -> str:
    """The page as text: styles and charts inline, every value escaped."""
    hours = facts.hours if facts.hours is not None and len(facts.hours) else None
    newest = [] if hours is None else hours.iloc[::-1].to_dict("records")
    broken = [
        light.name
        for light in facts.lights
        if light.name in _PROMISES and light.colour in ("red", "amber")
    ]
    return (
        templates()
        .get_template("report.html")
        .render(
            facts=facts,
            hours=hours,
            columns=[] if hours is None else list(hours.columns),
            totals=_totals(hours, facts.later),
            later=asdict(facts.later),
            intake_sentence=intake_sentence(hours, facts.later),
            failed_sentence=failed_sentence(
                facts.validated, facts.to_validate, facts.unexplained, broken
            ),
            newest=newest[:_SHOWN_HOURS],
            older=newest[_SHOWN_HOURS:_TABLE_HOURS],
            untold=max(0, len(newest) - _TABLE_HOURS),
        )
    )


@cache
def templates(
    folder: Path = _TEMPLATES, drawings: tuple[Callable[..., str], ...] = _CHARTS
) -> jinja2.Environment:
    """Templates and what they may call: the formats, and each drawing by its name.

    Args:
        folder: of the templates; those of this package can be imported from there too.
        drawings: functions that return an SVG element whose texts are escaped.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, _TEMPLATES]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {name: getattr(format, name) for name in format.__all__}
    environment.filters |= {"counted": counted, "fit_word": fit_word}
    environment.globals |= {
        draw.__name__: lambda *values, draw=draw: _chart(draw, *values) for draw in drawings
    }
    return environment


def fit_word(ks: float) -> str:
    """How well a distribution fits, by its Kolmogorov-Smirnov distance."""
    return "closely" if ks < _CLOSE else "roughly" if ks < _ROUGH else "badly"


def _chart(draw: Callable[..., str], *values: object) -> Markup:
    return Markup(draw(*values))  # noqa: S704 - our own SVG


def _totals(hours: pd.DataFrame | None, later: LaterFiles) -> list[tuple[str, Any]]:
    """Sums of the columns that may be added up: a user of two hours is still one user.

    They are those of the table, with what arrived after its hours.
    """
    if hours is None:
        return []
    names = [name for name in hours.columns if name not in ("hour", "users", "items")]
    more = asdict(later)
    return [
        ("hours", len(hours)),
        *((name, int(hours[name].sum()) + more.get(name, 0)) for name in names),
    ]
