"""``hourglass report``: the page, and its lights for machines."""

from __future__ import annotations

from dataclasses import asdict

import typer

from pipeline.workspace import CommandContext
from training.registry.mlflow_registry import registry_of


def report(context: typer.Context) -> None:
    """Write the HTML report of data quality and model health."""
    from training.report.build import make_report

    ctx: CommandContext = context.obj
    with ctx.status("writing the report"):
        path, lights = make_report(ctx, registry_of(ctx))
    acting = [light.name for light in lights if light.colour == "red"]
    to_do = f"; act on: {', '.join(acting)}" if acting else ""
    ctx.print_result(
        f"report: {path}{to_do}", {"report": path, "lights": [asdict(light) for light in lights]}
    )
