"""A published protocol, run on raw files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import SomeFailedError
from pipeline.text.wording import counted
from pipeline.workspace import CommandContext
from training.steps.result import StepResult

if TYPE_CHECKING:
    from training.protocols.run import Result


def protocol_step(
    ctx: CommandContext, name: str, raw: Path, n_seeds: int, models: Sequence[str]
) -> StepResult[list[Result]]:
    """Run a protocol; its figures are said as they come.

    Raises:
        UsageError: there is no such protocol, model or file, or the log is too small.
        HourglassError: a file cannot be read.
    """
    from rich.console import Console

    from training.protocols.protocol import read_protocol
    from training.protocols.run import chosen_models, run_protocol
    from training.protocols.table import facts, text

    protocol = read_protocol(name)
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    results = run_protocol(
        protocol,
        raw,
        range(n_seeds),
        chosen_models(protocol, models),
        ctx.status,
        lambda line: console.print(line, markup=False),
    )
    return StepResult(
        results,
        f"{protocol.id} on {counted(len(results), 'log')}",
        {
            "protocol": protocol.id,
            "paper": protocol.paper,
            "seeds": n_seeds,
            "tables": [facts(result) for result in results],
        },
        text="\n\n".join(text(result) for result in results),
    )


def refuse_failed(results: Sequence[Result]) -> None:
    """Say after the tables that some models failed.

    Raises:
        SomeFailedError: naming them.
    """
    failed = [row.name for result in results for row in result.rows if row.failed]
    if failed:
        raise SomeFailedError(
            f"{counted(len(failed), 'model')} failed: {', '.join(failed)}: the table says why"
        )
