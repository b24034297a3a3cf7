"""Turn report facts into one HTML file that needs nothing else."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import jinja2
from markupsafe import Markup

from pipeline.errors import HourglassError
from pipeline.report import charts, format, model_charts, popularity, session_charts
from pipeline.report.failures import failed_sentence
from pipeline.report.intake import LaterFiles, intake_sentence
from pipeline.report.model_values import ModelHealth
from pipeline.report.page_data import ReportFacts
from pipeline.text.wording import counted

if TYPE_CHECKING:
    import pandas as pd

_TEMPLATES = Path(__file__).with_name("templates")
_SHOWN_HOURS = 12
# A table of a year would weigh more than all the rest of the page.
_TABLE_HOURS = 14 * 24
# The lights that tell of broken promises and not of expectations on hours.
_PROMISES = ("Conservation", "Data set")
_CLOSE, _ROUGH = 0.05, 0.15
T = TypeVar("T")


def render_report(facts: ReportFacts, out: Path) -> Path:
    """Write the report and return its path; the same facts give the same bytes.

    Raises:
        HourglassError: the file cannot be written.
    """
    page = report_html(facts)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=out.parent, suffix=".html")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(page)
        # A temporary file is private; a report is for whoever may read the folder.
        Path(name).chmod(0o644)
        Path(name).replace(out)
    except OSError as error:
        raise HourglassError(f"{out}: cannot write the report: {error.strerror}") from error
    return out


def report_html(facts: ReportFacts) -> str:
    """The page as text: styles and charts inline, every value escaped."""
    hours = facts.hours if facts.hours is not None and len(facts.hours) else None
    newest = [] if hours is None else hours.iloc[::-1].to_dict("records")
    leaderboard_columns = list(dict.fromkeys(key for row in facts.leaderboard for key in row))
    return (
        _environment()
        .get_template("report.html")
        .render(
            facts=facts,
            columns=[] if hours is None else list(hours.columns),
            totals=_totals(hours, facts.later),
            later=asdict(facts.later),
            intake_sentence=intake_sentence(hours, facts.later),
            failed_sentence=failed_sentence(
                facts.validated,
                facts.to_validate,
                facts.unexplained,
                [
                    light.name
                    for light in facts.lights
                    if light.name in _PROMISES and light.colour in ("red", "amber")
                ],
            ),
            newest=newest[:_SHOWN_HOURS],
            older=newest[_SHOWN_HOURS:_TABLE_HOURS],
            untold=max(0, len(newest) - _TABLE_HOURS),
            leaderboard_columns=leaderboard_columns,
            turns=model_charts.TURNS,
            charts=_charts(facts, hours) | _model_charts(facts.health),
            drift_charts=[
                (drift, Markup(charts.drift_chart(drift, place)))  # noqa: S704 - our own SVG
                for place, drift in enumerate(facts.drift.drifted if facts.drift else ())
            ],
        )
    )


@cache
def _environment() -> jinja2.Environment:
    """The templates and what they may call; compiled once."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        name: getattr(format, name)
        for name in (
            "number",
            "cell",
            "signed",
            "odds",
            "stamp",
            "percent",
            "chance",
            "duration",
            "visible",
            "safe_href",
            "plain",
            "significant",
            "words",
        )
    }
    environment.filters |= {"counted": counted, "fit_word": fit_word}
    return environment


def fit_word(ks: float) -> str:
    """How well a distribution fits, by its Kolmogorov-Smirnov distance."""
    return "closely" if ks < _CLOSE else "roughly" if ks < _ROUGH else "badly"


def _charts(facts: ReportFacts, hours: pd.DataFrame | None) -> dict[str, Markup]:
    """The charts by the names that the template knows them by; empty ones for missing facts."""
    times = facts.times
    returns = facts.repeats.returns if facts.repeats else None
    return {
        "hours": _chart(charts.hours_chart, hours),
        "intake": _chart(charts.intake_chart, hours),
        "attrition": _chart(charts.attrition_chart, facts.filter_steps or None),
        "dep_l": _chart(charts.dep_l_chart, facts.dep_l or None),
        "dwell": _chart(session_charts.dwell_chart, facts.dwell),
        "lengths": _chart(session_charts.length_chart, facts.lengths),
        "durations": _chart(session_charts.duration_chart, times.durations if times else None),
        "gaps": _chart(session_charts.gap_chart, times.gaps if times else None),
        "per_user": _chart(session_charts.per_user_chart, times),
        "repeats": _chart(session_charts.repeat_chart, facts.repeats),
        "returns": _chart(session_charts.return_chart, returns),
        "popularity": _chart(popularity.popularity_chart, facts.popularity),
        "overlap": _chart(popularity.overlap_chart, facts.churn),
        "stays": _chart(popularity.stays_chart, facts.churn),
    }


def _model_charts(health: ModelHealth) -> dict[str, Markup]:
    """The charts of models; empty ones where there is nothing to draw."""
    curves = health.curves if health.curves and health.curves.curves else None
    placed = any(one.start is not None for one in health.served)
    return {
        "curves": _chart(model_charts.curves_chart, curves),
        "growth": _chart(model_charts.growth_chart, health if health.growth else None),
        "served": _chart(model_charts.served_chart, health if placed else None),
    }


def _chart(draw: Callable[[T], str], facts: T | None) -> Markup:
    return Markup("" if facts is None else draw(facts))  # noqa: S704 - our own SVG


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
