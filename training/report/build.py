"""The report: gathers data quality from the lake and model health from decisions and ranks."""

from __future__ import annotations

import json
import os
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.dataset.by_time import dataset_folder
from pipeline.dataset.manifest import read_manifest
from pipeline.errors import HourglassError
from pipeline.hours import HourRange
from pipeline.lake.catalog import NAMESPACE
from pipeline.lake.steps import INGEST, SESSIONIZE, first_filled, last_filled
from pipeline.lake.tables import FILLED_HOURS, QUARANTINE
from pipeline.quality.duplicates import equal_records_of
from pipeline.quality.verdicts import STEPS
from pipeline.report.format import Link, StatusLight
from pipeline.report.gather import data_facts
from pipeline.report.render import render_report
from pipeline.report.traffic_lights import dataset_light, support_light
from pipeline.settings.settings import Settings
from pipeline.text.masking import mask
from pipeline.workspace import CommandContext
from training.registry.mlflow_registry import Registry, ui_command
from training.report.gather import model_health
from training.report.sections import model_sections


def make_report(ctx: CommandContext, registry: Registry) -> tuple[Path, list[StatusLight]]:
    """Write ``reports/report.html`` about the last hours; returns its path and the lights."""
    lake, settings = ctx.lake, ctx.settings
    begins, arrived = first_filled(lake, INGEST), last_filled(lake, INGEST)
    if begins is None or arrived is None:
        raise HourglassError("no hour is ingested yet: run `hourglass ingest`")
    # An hour that stopped the loop is judged but not filled, and the one to look at.  What was
    # judged after the last event was most likely asked for, or is the silence to look at.
    last = max(arrived, last_filled(lake, STEPS["events"]) or arrived) + 1
    first = max(last - settings.quality.report_hours, begins)
    hours = HourRange(first, last)
    # The last sessions of the log close after its last event.
    since = lake.filled(SESSIONIZE, HourRange(last, max(last, lake.span(FILLED_HOURS).stop)))
    closed = (hour for hour, filled in since.items() if filled.rows)
    with_closing = HourRange(first, max([last, *(hour + 1 for hour in closed)]))
    out = settings.path("reports") / "report.html"
    data = data_facts(
        lake,
        f"Hourglass: {settings.site_name}",
        with_closing,
        ctx.clock,
        settings.path("data_docs"),
        out,
        hours.stop,
        equal_records_of(settings),
    )
    health, model_lights = model_health(settings, registry, hours, ctx.clock, out)
    dataset = _last_dataset(settings)
    steps = read_manifest(dataset).facts.get("steps", []) if dataset else []
    quality = _quality(dataset)
    facts = replace(
        data,
        lights=(*data.lights, support_light(steps), dataset_light(quality, dataset is not None)),
        dataset_failed=tuple(map(str, (quality or {}).get("failed", ()))),
        filter_steps=steps,
        links=_links(ctx, health.live.period.model_id if health.live else "none", out),
        extra=model_sections(health, model_lights),
    )
    return render_report(facts, out), [*model_lights, *facts.lights]


def _last_dataset(settings: Settings) -> Path | None:
    try:
        return dataset_folder(settings.path("shards"), "last")
    except HourglassError:
        return None


def _quality(dataset: Path | None) -> dict[str, Any] | None:
    """What was said of the data set; None where it was not judged."""
    path = None if dataset is None else dataset / "quality.json"
    if path is None or not path.is_file():
        return None
    content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return content


def _links(ctx: CommandContext, live: str, out: Path) -> list[Link]:
    settings = ctx.settings
    docs = os.path.relpath(settings.path("data_docs") / "index.html", out.parent)
    recommendations = os.path.relpath(settings.path("recommendations"), out.parent)
    return [
        Link("Data Docs: every validation", href=docs),
        Link("Recommendations", href=recommendations),
        Link("Quarantine by reason and file", command=_quarantine_command(ctx)),
        Link(
            f"Runs and models in MLflow ({live} is live)",
            command=ui_command(settings.resolved_mlflow_uri, settings.path("mlflow")),
        ),
        Link("Runs of the hours in Airflow (sessions_hourly, retrain)", command="make airflow"),
    ]


def _quarantine_command(ctx: CommandContext) -> str:
    """A command that counts what was refused, for a shell in the project's environment."""
    uri = mask(ctx.settings.resolved_catalog_uri)
    code = (
        "from pyiceberg.catalog.sql import SqlCatalog; "
        f"catalog = SqlCatalog('hourglass', uri={uri!r}); "
        f"refused = catalog.load_table('{NAMESPACE}.{QUARANTINE.name}').scan().to_pandas(); "
        "print(refused.groupby(['reason', 'source_file']).size().to_string())"
    )
    return f"python -c {shlex.quote(code)}"
