"""What people are told of an hour, and when: each thing once, by `CommandContext.notify`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pipeline.hours import Hour
from pipeline.process.interrupts import is_interrupted
from pipeline.workspace import CommandContext

if TYPE_CHECKING:
    from training.deployment.monitor_record import MonitorResult
    from training.steps.gate import Verdict

# By the step that failed; a blocked gate has the key of a failed one, so that only one is told.
_GATE = "gate"


def notify_failed(
    ctx: CommandContext, step: str, hour: Hour | None, what: str, page: str | None = None
) -> list[str]:
    """A step failed for good; where it is of no hour, nothing tells whether people know already."""
    return ctx.notify(
        f"{hour or f'{ctx.now():%Y%m%dT%H%M%S%f}'}-{step}",
        f"{step} failed, hour {hour}" if hour else f"{step} failed, no hour",
        what,
        "mend what the log names and run the step again; until then the live model serves",
        page,
    )


def notify_blocked(ctx: CommandContext, hour: Hour, verdict: Verdict) -> None:
    """The gate blocked a candidate of an hour, and none goes live."""
    ctx.notify(
        f"{hour}-{_GATE}",
        f"gate blocked, hour {hour}",
        f"{verdict.sentence.rstrip('.')}. The live model stays.",
        "read the checks under Decisions in the report",
    )


def notify_rolled_back(ctx: CommandContext, result: MonitorResult) -> None:
    """The monitor replaced the live model."""
    ctx.notify(
        f"{result.stop - 1}-rollback",
        f"rolled back, hour {result.stop - 1}",
        f"{result.sentence.rstrip('.')}. Live now: {result.replaced_by}.",
        "see in the report what the model was worth, and keep its entry from coming back",
    )


@contextmanager
def notifying_failure(ctx: CommandContext, step: str, hour: Hour) -> Iterator[None]:
    """Tell of whatever goes wrong inside, which is raised all the same; Ctrl-C is no failure."""
    try:
        yield
    except Exception as error:
        if not is_interrupted():
            notify_failed(ctx, step, hour, f"{step} ended with: {error}")
        raise
