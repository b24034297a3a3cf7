"""The report: gathers data quality from the lake and model health from decisions and ranks."""

from __future__ import annotations

import json
import os
from pathlib import Path

from pipeline.errors import HourglassError
from pipeline.hours import HourRange
from pipeline.report.facts import (
    GateDecision,
    Interval,
    Light,
    Link,
    ReportFacts,
    dwell_times,
    gate_light,
    hour_table,
    popularity,
    quarantine_reasons,
    session_lengths,
)
from pipeline.report.render import render_report
from pipeline.schemas import (
    DWELL_HOURS,
    EVENTS,
    ITEM_HOURS,
    QUARANTINE,
    SESSIONS,
    SOURCE_FILES,
)
from pipeline.validation import STEP as VALIDATE
from pipeline.workspace import Workspace
from training.decision import latest_decision, read_decision
from training.judgement import Evaluation, standing
from training.leaderboard import leaderboard_rows, note
from training.registry import Registry, champion, ui_command


def write_report(space: Workspace, registry: Registry) -> Path:
    """Write ``reports/report.html`` about the last hours, and return its path."""
    lake, settings = space.lake, space.settings
    last = space.last_filled() + 1
    first = max(last - settings.quality.report_hours, min(lake.filled("sessionize")))
    hours = HourRange(first, last)
    event_columns = ("hour", "user_id", "item_id", "source_file")
    sessions = lake.arrow(SESSIONS, hours, columns=("hour", "session_id", "dwell_s"))
    files = lake.arrow(SOURCE_FILES)
    quarantine = lake.arrow(QUARANTINE)
    gate = _last_decision(space)
    evaluation = _last_evaluation(space)
    steps = _filter_steps(space)
    out = settings.path("reports") / "report.html"
    facts = ReportFacts(
        title=f"Hourglass: {settings.source.name}",
        generated_for=str(hours),
        lights=[_quality(space, hours), _conservation(files.to_pylist()), gate_light(gate)],
        hours=hour_table(
            hours, lake.arrow(EVENTS, hours, columns=event_columns), sessions, files, quarantine
        ),
        reasons=quarantine_reasons(quarantine),
        dwell=dwell_times(lake.arrow(DWELL_HOURS, hours), sessions),
        lengths=session_lengths(sessions),
        popularity=popularity(lake.arrow(ITEM_HOURS, hours)),
        filter_steps=steps,
        leaderboard=_leaderboard(evaluation),
        leaderboard_note=note(evaluation) if evaluation else "",
        gate=gate,
        links=_links(space, registry, out),
    )
    return render_report(facts, out)


def _quality(space: Workspace, hours: HourRange) -> Light:
    verdicts = space.lake.filled(VALIDATE, hours)
    bad = sorted(h for h, verdict in verdicts.items() if verdict.output_digest == "critical")
    odd = [h for h, verdict in verdicts.items() if verdict.output_digest == "warning"]
    name = "Data quality"
    if bad:
        return Light(
            name, "red", f"{len(bad)} hours failed a critical expectation, first {bad[0]}."
        )
    if not verdicts:
        return Light(name, "grey", "No hour of the report was validated.")
    return Light(
        name,
        "amber" if odd or len(verdicts) < len(hours) else "green",
        f"{len(verdicts)} of {len(hours)} hours validated: {len(odd)} warned, none critical.",
    )


def _conservation(files: list[dict[str, int]]) -> Light:
    names = ("records", "accepted", "duplicates", "quarantined")
    totals = {name: sum(row[name] for row in files) for name in names}
    held = totals["records"] == totals["accepted"] + totals["duplicates"] + totals["quarantined"]
    return Light(
        "Conservation",
        "green" if held else "red",
        f"{totals['records']:,} records = {totals['accepted']:,} accepted + "
        f"{totals['duplicates']:,} duplicates + {totals['quarantined']:,} quarantined.",
    )


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


def _filter_steps(space: Workspace) -> list[dict[str, object]]:
    try:
        folder = space.dataset("last")
    except HourglassError:
        return []
    steps: list[dict[str, object]] = json.loads((folder / "manifest.json").read_text())["steps"]
    return steps


def _links(space: Workspace, registry: Registry, out: Path) -> list[Link]:
    settings = space.settings
    live = champion(registry)
    docs = os.path.relpath(settings.path("data_docs") / "index.html", out.parent)
    recommendations = os.path.relpath(settings.path("recommendations"), out.parent)
    return [
        Link("Data Docs: every validation", href=docs),
        Link("Recommendations", href=recommendations),
        Link(
            f"Runs and models in MLflow ({live.model_id if live else 'none'} is live)",
            command=ui_command(settings.resolved_mlflow_uri, settings.path("mlflow")),
        ),
    ]
