"""The page about the last hours: data quality and model health."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from pipeline.workspace import CommandContext
from training.registry.mlflow_registry import registry_of
from training.steps.result import StepResult


def report_step(ctx: CommandContext) -> StepResult[Path]:
    """Write ``reports/report.html``.

    Raises:
        HourglassError: no hour is ingested yet.
    """
    from training.report.build import make_report

    path, lights = make_report(ctx, registry_of(ctx))
    acting = [light.name for light in lights if light.colour == "red"]
    line = f"report: {path}"
    return StepResult(
        path,
        line,
        {"report": path, "lights": [asdict(light) for light in lights]},
        f"{line}; act on: {', '.join(acting)}" if acting else None,
    )
