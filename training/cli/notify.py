"""``hourglass notify`` and ``hourglass deadline``: people are told."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.errors import HourglassError, UsageError
from pipeline.hours import Hour
from pipeline.settings.folders import plain_name
from pipeline.text.wording import verb
from pipeline.workspace import CommandContext
from training.steps.result import print_result


def notify(
    context: typer.Context,
    failed: Annotated[
        str | None, typer.Option(help="a task that failed, to tell of; default: a test message")
    ] = None,
    hour: Annotated[
        str | None, typer.Option(help="with --failed: its hour; default: the last filled one")
    ] = None,
    no_hour: Annotated[
        bool, typer.Option("--no-hour", help="with --failed: it was to work on what is no hour")
    ] = False,
    dataset: Annotated[
        str | None, typer.Option(help="with --failed: the data set whose hour it worked on")
    ] = None,
    page: Annotated[
        str | None, typer.Option(help="with --failed: address of its log; default: the report")
    ] = None,
) -> None:
    """Send a test message to every address of notify.to; exit 1 where one is not reached.

    With --failed, as Airflow calls it, people are told of a task that failed; each failure is told
    once an hour's task (without an hour each time), and the exit code is 0 whoever was reached.
    """
    from training.steps.notices import notify_failed

    ctx: CommandContext = context.obj
    if failed is not None:
        plain_name("--failed", failed)
        if no_hour and (hour or dataset):
            raise UsageError("--no-hour: leave out --hour and --dataset")
        about = None if no_hour else _hour_of(ctx, hour, dataset)
        what = f"The task {failed} failed, after its retries if it has any. Its log says why."
        unreached = notify_failed(ctx, failed, about, what, page)
        step = f"{failed} of hour {about}" if about else failed
        sentence = f"{step} failed: {_outcome(ctx, unreached)}"
        ctx.print_result(sentence, {"unreached": unreached})
        return
    if hour or no_hour or dataset or page:
        raise UsageError(
            "--hour, --no-hour, --dataset and --page say more of --failed TASK: name the task"
        )
    if not ctx.settings.notify.to:
        raise UsageError("notify.to names nobody: see Notifications in docs/operations.md")
    # By the second, so that a second test is sent too.
    unreached = ctx.notify(
        f"test-{ctx.now():%Y%m%dT%H%M%S%f}",
        "test message",
        "This is a test: failures, blocked gates, rollbacks and missed deadlines come this way.",
        "nothing",
    )
    ctx.print_result(_outcome(ctx, unreached), {"unreached": unreached})
    if unreached:
        raise HourglassError(unreached[0])


def deadline(context: typer.Context) -> None:
    """Say whether the newest hour's recommendations were published in time; exit 1 if not.

    People of notify.to are told once, until hours are published again.
    """
    from training.steps.deadline import deadline_step

    ctx: CommandContext = context.obj
    done = deadline_step(ctx)
    print_result(ctx, done)
    if done.value is not None:
        raise HourglassError(f"deadline missed: {done.value.sentence}")


def _hour_of(ctx: CommandContext, hour: str | None, dataset: str | None) -> Hour:
    """The hour that a failed task worked on; where nothing tells it, the one before now."""
    from pipeline.dataset.by_time import dataset_folder
    from pipeline.dataset.manifest import read_manifest

    if hour is not None:
        return Hour.parse(hour)
    try:
        if dataset is not None:
            folder = dataset_folder(ctx.settings.path("shards"), dataset)
            return ctx.horizon_from(read_manifest(folder).as_of).stop - 1
        return ctx.last_filled()
    except HourglassError:
        return Hour.of(ctx.clock) - 1


def _outcome(ctx: CommandContext, unreached: list[str]) -> str:
    everybody = len(ctx.settings.notify.to)
    addresses = verb(everybody, "address", "addresses")
    return f"{everybody - len(unreached)} of {everybody} {addresses} told"
