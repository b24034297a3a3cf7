"""A decision is carried out: the live model changes, or stays."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.workspace import CommandContext
from training.registry.mlflow_registry import registry_of
from training.steps.result import StepResult

if TYPE_CHECKING:
    from training.deployment.promote import Promotion


def promote_step(
    ctx: CommandContext, decision: Path, refit: str | None = None
) -> StepResult[Promotion]:
    """Carry a decision out under the workspace's settings and clock.

    Raises:
        HourglassError: as `training.deployment.promote.promote`.
    """
    from training.data.reader import read_dataset
    from training.deployment.promote import promote as run
    from training.evaluation.evaluate import BOOTSTRAP_SEED, with_current_popularity
    from training.gate.artefact_checks import ArtefactReport, check_artefact
    from training.gate.decision_file import read_decision
    from training.registry.artefact import load_model

    settings = ctx.settings

    def probed(folder: Path) -> ArtefactReport:
        """A refit met no gate: it is asked what the gate asks of every candidate."""
        frozen_id = read_decision(decision).record.content["evaluation_id"]
        test_set = read_dataset(settings.path("frozen") / frozen_id)
        return check_artefact(
            folder,
            test_set,
            settings.evaluation,
            lambda path: with_current_popularity(load_model(path), test_set),
            seed=BOOTSTRAP_SEED,
        )

    done = run(
        registry_of(ctx),
        decision,
        refit,
        check_artefact=probed,
        at=ctx.now_iso(),
        gate=settings.gate,
    )
    live = done.champion.model_id if done.champion else None
    facts = {"changed": done.changed, "champion": live, "decision": decision}
    return StepResult(done, done.sentence, facts)
