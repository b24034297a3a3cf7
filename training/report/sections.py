"""The sections about models, as HTML that goes into the page of the report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from pipeline.report.format import StatusLight
from pipeline.report.page_data import ExtraSections
from pipeline.report.render import templates
from training.evaluation.leaderboard import leaderboard_rows, list_cells, lists_note, note
from training.gate.reasons import check_text, reason_text, reason_texts
from training.report import model_charts
from training.report.decisions import figures
from training.report.gather import ModelHealth

_TEMPLATES = Path(__file__).with_name("templates")
_CHARTS = (model_charts.curves_chart, model_charts.growth_chart, model_charts.served_chart)
_FILTERS = {each.__name__: each for each in (check_text, figures, reason_text, reason_texts)}
_CONTENTS = (
    ("live", "Live model"),
    ("metric", "Metric by hour"),
    ("decisions", "Decisions"),
    ("slices", "Slices"),
)


def model_sections(health: ModelHealth, lights: Sequence[StatusLight] = ()) -> ExtraSections:
    """What the page of the report says about models, every value escaped."""
    environment = templates(_TEMPLATES, _CHARTS)
    environment.filters |= _FILTERS
    html = environment.get_template("models.html").render(
        health=health,
        leaderboard=leaderboard_rows(health.last) if health.last else [],
        leaderboard_note=note(health.last) if health.last else "",
        lists=list_cells(health.last) if health.last else [],
        lists_note=lists_note(health.last) if health.last else "",
        turns=model_charts.TURNS,
        dashes=tuple(model_charts.DASHES.values()),
    )
    return ExtraSections("Models", Markup(html), lights, _CONTENTS)  # noqa: S704 - escaped there
