"""The report: gathers data quality from the lake and model health from decisions and ranks."""

from __future__ import annotations

import json
import os
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.catalog import NAMESPACE
from pipeline.errors import HourglassError
from pipeline.hours import HourRange
from pipeline.ingest import STEP as INGEST
from pipeline.report.gather import data_facts
from pipeline.report.lights import dataset_light, gate_light, support_light
from pipeline.report.render import render_report
from pipeline.report.values import GateDecision, Interval, Link
from pipeline.schemas import QUARANTINE
from pipeline.verdicts import STEPS
from pipeline.workspace import Workspace
from training.decision import latest_decision, read_decision
from training.judgement import Evaluation, standing
from training.leaderboard import leaderboard_rows, note
from training.registry import Registry, champion, ui_command


def write_report(space: Workspace, registry: Registry) -> Path:
    """Write ``reports/report.html`` about the last hours, and return its path."""
    lake, settings = space.lake, space.settings
    arrived, judged = lake.filled(INGEST), lake.filled(STEPS["events"])
    if not arrived:
        raise HourglassError("no hour is ingested yet: run `hourglass ingest`")
    # An hour that stopped the loop is judged but not filled, and the one to look at.  What was
    # judged after the last event was most likely asked for, or is the silence to look at.
    last = max(*arrived, *judged) + 1
    first = max(last - settings.quality.report_hours, min(arrived))
    out = settings.path("reports") / "report.html"
    data = data_facts(
        lake,
        f"Hourglass: {settings.source.name}",
        HourRange(first, last),
        space.clock,
        settings.path("data_docs"),
        out,
    )
    gate = _last_decision(space)
    evaluation = _last_evaluation(space)
    dataset = _last_dataset(space)
    steps = _read(dataset, "manifest.json").get("steps", [])
    quality = _read(dataset, "quality.json") or None
    facts = replace(
        data,
        lights=(*data.lights, support_light(steps), dataset_light(quality), gate_light(gate)),
        filter_steps=steps,
        leaderboard=_leaderboard(evaluation),
        leaderboard_note=note(evaluation) if evaluation else "",
        gate=gate,
        links=_links(space, registry, out),
    )
    return render_report(facts, out)


def _last_decision(space: Workspace) -> GateDecision | None:
    try:
        decision = read_decision(latest_decision(space.settings.path("decisions")))
    except HourglassError:
        return None
    return GateDecision(
        outcome=str(decision.outcome),
        sentence=decision.sentence,
        as_of=str(decision.as_of),
        candidate=decision.candidate_id,
        champion=decision.champion_id,
    )


def _last_evaluation(space: Workspace) -> Evaluation | None:
    """The newest evaluation, from the frozen part that its ranks lie under."""
    settings = space.settings
    parts = sorted(settings.path("evaluations").glob("*"), key=lambda path: path.stat().st_mtime_ns)
    if not parts:
        return None
    frozen = settings.path("frozen") / parts[-1].name
    try:
        manifest = json.loads((frozen / "manifest.json").read_text("utf-8"))
        return standing(settings, settings.path("shards") / manifest["base_dataset_id"], frozen)
    except (OSError, HourglassError):
        return None


def _leaderboard(found: Evaluation | None) -> list[dict[str, object]]:
    if found is None:
        return []
    return [
        {
            key: Interval(*value) if isinstance(value, tuple) else value
            for key, value in row.items()
            if key != "model_id"
        }
        for row in leaderboard_rows(found)
    ]


def _last_dataset(space: Workspace) -> Path | None:
    try:
        return space.dataset("last")
    except HourglassError:
        return None


def _read(dataset: Path | None, name: str) -> dict[str, Any]:
    """A file of the data set; empty where it has none."""
    path = None if dataset is None else dataset / name
    if path is None or not path.is_file():
        return {}
    content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return content


def _links(space: Workspace, registry: Registry, out: Path) -> list[Link]:
    settings = space.settings
    live = champion(registry)
    docs = os.path.relpath(settings.path("data_docs") / "index.html", out.parent)
    recommendations = os.path.relpath(settings.path("recommendations"), out.parent)
    mlflow_uri = _shown(settings.resolved_mlflow_uri)
    return [
        Link("Data Docs: every validation", href=docs),
        Link("Recommendations", href=recommendations),
        Link("Quarantine by reason and file", command=_quarantine_command(space)),
        Link(
            f"Runs and models in MLflow ({live.model_id if live else 'none'} is live)",
            command=ui_command(mlflow_uri, settings.path("mlflow")),
        ),
        Link("Runs of the hours in Airflow (sessions_hourly, retrain)", command="make airflow"),
    ]


def _quarantine_command(space: Workspace) -> str:
    """A command that counts what was refused, for a shell in the project's environment."""
    uri = _shown(space.settings.resolved_catalog_uri)
    code = (
        "from pyiceberg.catalog.sql import SqlCatalog; "
        f"catalog = SqlCatalog('hourglass', uri={uri!r}); "
        f"refused = catalog.load_table('{NAMESPACE}.{QUARANTINE.name}').scan().to_pandas(); "
        "print(refused.groupby(['reason', 'source_file']).size().to_string())"
    )
    return f"python -c {shlex.quote(code)}"


def _shown(uri: str) -> str:
    """An address fit for a page: without its password."""
    from sqlalchemy.engine import make_url

    return make_url(uri).render_as_string(hide_password=True)
