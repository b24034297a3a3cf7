"""``hourglass leaderboard``: all systems on one data set, or a published protocol on raw files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.errors import SomeFailedError, UsageError
from pipeline.settings.folders import path_option
from pipeline.text.wording import counted
from pipeline.workspace import CommandContext
from training.cli.options import DataSet
from training.fit.model_lines import judged_dataset
from training.steps.evaluate import leaderboard_step
from training.steps.hour_data import HourData
from training.steps.result import StepResult, print_result

if TYPE_CHECKING:
    from training.protocols.run import Result

_SEEDS = 3


def leaderboard(
    context: typer.Context,
    dataset: DataSet = "last",
    protocol: Annotated[
        str | None,
        typer.Option(help="a published protocol, like P1, or the path of a file of one's own"),
    ] = None,
    raw: Annotated[
        Path | None,
        typer.Option(
            parser=path_option,
            metavar="PATH",
            help="of a protocol: file or folder of the raw log; default: source.path",
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(help="of a protocol: how often models begin anew; default: 3", min=1),
    ] = None,
    models: Annotated[
        str | None, typer.Option(help="of a protocol: only these, like pop,fmc; default: all")
    ] = None,
) -> None:
    """Show every system on one data set, one protocol, with confidence intervals.

    With ``--protocol`` a published protocol is run on the raw files of its log, from the data to
    the paper's table, with the published figures beside those reached here.
    """
    ctx: CommandContext = context.obj
    if protocol is None:
        for option, value in (("--raw", raw), ("--seeds", seeds), ("--models", models)):
            if value is not None:
                raise UsageError(f"{option} is of a protocol: give --protocol too")
        print_result(ctx, leaderboard_step(ctx, HourData(ctx, judged_dataset(ctx, dataset))))
        return
    folder = raw or ctx.settings.source.path
    names = models.split(",") if models else []
    tables = _protocol(ctx, protocol, folder, seeds or _SEEDS, names)
    print_result(ctx, tables)
    _refuse_failed(tables.value)


def _protocol(
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


def _refuse_failed(results: Sequence[Result]) -> None:
    """Say after the tables that some models failed.

    Raises:
        SomeFailedError: naming them.
    """
    failed = [row.name for result in results for row in result.rows if row.failed]
    if failed:
        raise SomeFailedError(
            f"{counted(len(failed), 'model')} failed: {', '.join(failed)}: the table says why"
        )
