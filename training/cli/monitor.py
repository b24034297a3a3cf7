"""``hourglass watch``: judge the model that was live, and take it back where it must be."""

from __future__ import annotations

from dataclasses import asdict

import typer

from pipeline.workspace import Workspace
from training.cli.options import DataSet
from training.fit.model_lines import judged_dataset
from training.steps.monitor import watched


def watch(context: typer.Context, dataset: DataSet = "last") -> None:
    """Judge the model that was live during the hours after the data set's time.

    Surely below the floor, or unable to score, it is replaced by the previous one or by the floor.
    """
    space: Workspace = context.obj
    said = watched(space, judged_dataset(space, dataset))
    found = said.found
    if found is None:
        space.say(said.sentence, {"outcome": None, "sentence": said.sentence})
        return
    space.say(
        f"{found.outcome}: {said.sentence}\n{said.record}",
        {
            "outcome": str(found.outcome),
            "reason": found.reason,
            "sentence": said.sentence,
            "model_id": found.model.model_id,
            "replaced_by": found.replaced_by,
            "numbers": asdict(found.numbers) if found.numbers else None,
            "record": said.record,
        },
    )
