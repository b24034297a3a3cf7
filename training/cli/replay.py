"""``hourglass replay``: history rolled step by step, and what came of it as table and picture."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.workspace import CommandContext

if TYPE_CHECKING:
    from pipeline.hours import HourRange
    from training.data.in_memory import ReplayLog
    from training.replay.arms import Arm
    from training.replay.roll import Report, Run

_LOCK_WAIT_S = 10.0
_LINE_S = 20.0
_LINE_CHARACTERS = 120  # of the picture


def replay(
    context: typer.Context,
    first: Annotated[str, typer.Option("--from", help="start of the first step")],
    stop: Annotated[str, typer.Option("--to", help="end of the last step")],
    step: Annotated[
        str | None, typer.Option(help="between retrainings, like 1h; default: replay.step")
    ] = None,
    arm: Annotated[
        list[str] | None, typer.Option(help="name of an arm; may be repeated; default: all")
    ] = None,
    as_known: Annotated[
        bool | None,
        typer.Option(
            "--as-known/--as-happened",
            help="whether a step knows only what had arrived by then; default: replay.as_known",
        ),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="forget what an earlier run of the same left")
    ] = False,
) -> None:
    """Roll history with several arms side by side; write table, curves and costs."""
    from pipeline.hours import HourRange, parse_duration_h
    from training.fit.model_check import Facts, check_models
    from training.replay.arms import arms_of, retrain_by_signals
    from training.replay.roll import done_steps, plan, read_log, roll
    from training.replay.store import run_lock

    ctx: CommandContext = context.obj
    settings = ctx.settings
    if step is not None:
        parse_duration_h(step)
    changed = {
        name: value for name, value in (("step", step), ("as_known", as_known)) if value is not None
    }
    own = type(settings.replay)(**{**settings.replay.model_dump(), **changed})
    settings = settings.model_copy(update={"replay": own})
    # What is known of the data is for the arms: not all models need be among them.
    check_models(settings, Facts())
    arms = arms_of(settings, arm or [])
    run = plan(ctx.lake, settings, HourRange.parse(first, stop), arms)
    with run_lock(run.folder, _LOCK_WAIT_S, lambda text: print(text, file=sys.stderr, flush=True)):
        if fresh:
            for each_arm in arms:
                shutil.rmtree(run.arm_folder(each_arm), ignore_errors=True)

        def read() -> ReplayLog:
            return read_log(ctx.lake, run)

        with _shown() as report:
            roll(
                run, read, arms, report, retrain_by_signals(settings.retrain, settings.replay.seed)
            )
        with ctx.status("drawing"):
            # The folder is one run's: its table and picture are never those of a chosen few alone.
            chosen = {each_arm.digest for each_arm in arms}
            configured = arms_of(settings, [])
            ended = [
                each_arm
                for each_arm in configured
                if each_arm.digest in chosen or done_steps(run, each_arm) == len(run.steps)
            ]
            text, document = write_results(
                run, ended, [each_arm.name for each_arm in configured if each_arm not in ended]
            )
    if ctx.as_json:
        ctx.print_result("", {"folder": run.folder, **document})
    else:
        ctx.print_result(f"{text}\n{run.folder}", {})


def write_results(
    run: Run, arms: list[Arm], unfinished: Sequence[str] = ()
) -> tuple[str, dict[str, Any]]:
    """Write table, curves and steps into the run's folder; returns the table as text and values.

    ``unfinished`` names arms that belong there too and are not done; table and picture say so.

    Raises:
        HourglassError: a step is missing or damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from pipeline.files import write_text
    from training.replay.cut import cut_of
    from training.replay.plot import curves_of, draw, smooth_steps
    from training.replay.store import read_delays
    from training.replay.table import markdown, results_of, step_rows, table_of

    rule, seed = run.settings.evaluation, run.settings.replay.seed
    results = results_of(run, arms)
    document = {
        "source": run.settings.source.name,
        **cut_of(run.settings.replay.as_known, read_delays(run.folder)),
        **table_of(results, arms, rule, seed, unfinished),
    }
    text = markdown(document)
    write_text(run.folder / "table.json", json.dumps(document, indent=1) + "\n")
    write_text(run.folder / "table.md", text)
    pq.write_table(pa.table(step_rows(results, rule)), run.folder / "steps.parquet")
    smooth = smooth_steps(len(results.steps), run.step_h)
    curves = curves_of(results, "recall", rule, seed, smooth)
    title = f"{run.settings.source.name}: who finds the next item?"
    subtitle = (
        f"Recall@{rule.k} of all events, {results.steps[0].first} to {results.steps[-1].stop}, "
        f"steps of {run.settings.replay.step}, cut {document['cut']}, mean of the last {smooth};"
        "\nbands: pointwise "
        f"{rule.confidence:.0%} intervals, users resampled: of a single point, not of the curve"
    )
    if unfinished:
        missing = f"Not all arms: {', '.join(unfinished)} not rolled to the end"
        subtitle = f"{subtitle}\n{textwrap.fill(missing, _LINE_CHARACTERS)}"
    files = [run.folder / f"curve.{kind}" for kind in ("png", "svg")]
    draw(curves, title, subtitle, f"Recall@{rule.k}", files)
    return text, document


@contextmanager
def _shown() -> Iterator[Report]:
    """A progress bar in a terminal, a line now and then elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    console = Console(stderr=True)
    if not console.is_terminal:
        last_s = [0.0]

        def line(hours: HourRange, arm: str, done: int, total: int) -> None:
            now_s = time.monotonic()
            if now_s - last_s[0] >= _LINE_S:
                last_s[0] = now_s
                print(f"replay {hours.first}: {arm}, {done:,} of {total:,} ...",
                      file=sys.stderr, flush=True)  # fmt: skip

        yield line
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Remaining())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("reading the lake", total=None)

        def move(hours: HourRange, arm: str, done: int, total: int) -> None:
            description = f"replay {hours.first}: {arm}"
            progress.update(task, description=description, completed=done, total=total)

        yield move
