"""``hourglass loop``: whole hours, one after the other, by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from pipeline.errors import HourglassError, UsageError
from pipeline.hours import Hour, HourRange
from pipeline.lake.steps import INGEST, last_filled
from pipeline.text.wording import counted, verb
from pipeline.workspace import CommandContext
from training.fit.model_lines import check_candidates
from training.steps.result import Steps, print_result

_LIVE_H = 24  # of an older log, such as a demo's, no hour is late


def loop(
    context: typer.Context,
    first: Annotated[
        str | None,
        typer.Option("--from", help="first hour; default: the last one with events that is over"),
    ] = None,
    stop: Annotated[
        str | None, typer.Option("--to", help="end, exclusive; default: one hour is done")
    ] = None,
    report: Annotated[bool, typer.Option(help="write the report at the end")] = True,
) -> None:
    """Do all steps of an hour, or of each of a range: from raw files to recommendations.

    Where no range is given, the hours before the last that ended unjudged are judged first.  An
    hour that was done before ends as it did.  A blocked candidate is told at the end, with
    exit code 1: nothing of it went live, and the live model recommended.
    """
    from training.loop.hourly_loop import HOUR_STEPS, run_hour
    from training.steps.deadline import deadline_step
    from training.steps.notices import notifying_failure
    from training.steps.report import report_step
    from training.steps.take_in import take_in

    ctx: CommandContext = context.obj
    check_candidates(ctx.settings)
    requested = _requested_hours(ctx, first, stop)
    steps = Steps(ctx, ("metadata", "ingest", *HOUR_STEPS))
    if requested is not None:
        # Whoever asks first decides how Spark is started: many hours are worth the thorough way.
        ctx.compute_for(requested)
    with notifying_failure(ctx, "ingest", Hour.of(ctx.clock) - 1):
        arrived = take_in(ctx, steps)
    now = Hour.of(ctx.clock)
    hours = _hours(requested, arrived.first, last_filled(ctx.lake, INGEST, now))
    blocked: list[str] = []
    for hour in hours:
        if len(hours) > 1:
            ctx.console.print(f"\nhour {hour}", style="bold")
        with notifying_failure(ctx, "loop", hour):
            result = run_hour(ctx, hour + 1, steps, catch_up=requested is None)
        if result.value.outcome == "block":
            blocked.append(f"hour {hour}: {result.value.sentence}")
        print_result(ctx, result)
        steps = Steps(ctx, HOUR_STEPS)
    if ctx.settings.notify.to and requested is None and hours.stop + _LIVE_H > Hour.of(ctx.clock):
        deadline_step(replace(ctx, clock=ctx.now()))
    if report:
        with Steps(ctx)("report") as done:
            page = report_step(ctx)
            done("written")
        ctx.console.print(page.line, markup=False)
    if blocked:
        raise HourglassError(
            f"{len(blocked)} of {counted(len(hours), 'hour')} "
            f"{verb(len(blocked), 'was', 'were')} blocked; {blocked[0]}"
        )


def _requested_hours(ctx: CommandContext, first: str | None, stop: str | None) -> HourRange | None:
    if first is None and stop is None:
        return None
    begin = Hour.parse(first) if first is not None else Hour.parse(str(stop)) - 1
    return ctx.refuse_future(HourRange(begin, begin + 1 if stop is None else Hour.parse(stop)))


def _hours(requested: HourRange | None, first: Hour, last: Hour | None) -> HourRange:
    """The hours to do: those that were asked for, or ``last``, with events and over.

    Raises:
        HourglassError: no hour with events is over.
        UsageError: hours after the log's end are asked for.
    """
    if last is None:
        raise HourglassError(f"the first hour with events, {first}, is not over yet")
    if requested is None:
        return HourRange(last, last + 1)
    if requested.stop > last + 1:
        raise UsageError(
            f"--to {requested.stop}: the log ends with hour {last} so far: there is nothing to "
            "learn from after it"
        )
    return requested
