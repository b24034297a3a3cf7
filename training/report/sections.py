"""The sections about models, as HTML that goes into the page of the report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from pipeline.report.format import Light
from pipeline.report.page_data import ExtraSections
from pipeline.report.render import templates
from training.report import model_charts
from training.report.model_values import ModelHealth

_TEMPLATES = Path(__file__).with_name("templates")
_CHARTS = (model_charts.curves_chart, model_charts.growth_chart, model_charts.served_chart)
_CONTENTS = (
    ("live", "Live model"),
    ("metric", "Metric by hour"),
    ("decisions", "Decisions"),
    ("slices", "Slices"),
)


def model_sections(health: ModelHealth, lights: Sequence[Light] = ()) -> ExtraSections:
    """What the page of the report says about models, every value escaped."""
    columns = dict.fromkeys(column for row in health.leaderboard for column in row)
    template = templates(_TEMPLATES, _CHARTS).get_template("models.html")
    html = template.render(
        health=health, leaderboard_columns=list(columns), turns=model_charts.TURNS
    )
    return ExtraSections("Models", Markup(html), lights, _CONTENTS)  # noqa: S704 - escaped there
