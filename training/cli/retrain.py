"""``hourglass stale`` and ``hourglass refit``: what comes before and after a retraining."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from pipeline.workspace import Workspace
from training.cli.options import DataSet, decision_file

_NOT_ASKED = ", since retrain.skip is off"


def stale(context: typer.Context, dataset: DataSet = "last") -> None:
    """Say whether retraining on a data set is worth it, by signs that cost next to nothing."""
    from training.registry.mlflow_registry import registry_of
    from training.steps.retrain import look

    space: Workspace = context.obj
    folder = space.dataset(dataset)
    worth = look(space, registry_of(space), folder)
    skips = space.settings.retrain.skip and not worth.retrain
    what = "skipped" if skips else "all lines are trained" + ("" if worth.retrain else _NOT_ASKED)
    space.say(
        f"{worth.sentence}; {what}",
        {
            "dataset_id": folder.name,
            "retrain": worth.retrain,
            "skip": skips,
            "reasons": worth.reasons,
            "sentence": worth.sentence,
            **asdict(worth.signs),
        },
    )


def refit(
    context: typer.Context,
    decision: Annotated[
        Path | None, typer.Option(help="decision file; default: the latest one")
    ] = None,
) -> None:
    """Let the model of a decision learn from the judged hours too, where `retrain.refit` is set."""
    from training.deployment.approval import refuse_unapproved
    from training.deployment.decision_check import verified_decision
    from training.gate.decision_file import latest_decision
    from training.gate.evidence import Outcome
    from training.registry.mlflow_registry import registry_of
    from training.steps.retrain import refitted

    space: Workspace = context.obj
    folder = space.settings.path("decisions")
    file = decision_file(folder, decision) if decision else latest_decision(folder)
    registry = registry_of(space)
    made = verified_decision(registry, file, "refitting")
    if made.outcome is Outcome.PROMOTE:
        refuse_unapproved(made, space.settings.gate.approval)
    found = refitted(space, registry, made)
    if found is None:
        why = "retrain.refit is off" if not space.settings.retrain.refit else "nothing is promoted"
        space.say(f"no refit: {why}", {"model_id": None, "why": why})
        return
    space.say(
        f"{found.model_id}, version {found.version}, has learned from the judged hours too",
        {"model_id": found.model_id, "why": None, **asdict(found)},
    )
