"""``hourglass loop``: whole hours, one after the other, by hand."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.errors import HourglassError, UsageError
from pipeline.hours import Hour, HourRange
from pipeline.workspace import Workspace
from training.lines import check_lines


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

    An hour that was done before ends as it did.  A blocked candidate is told at the end, with
    exit code 1: nothing of it went live, and the live model recommended.
    """
    from training.health import write_report
    from training.loop import run_hour
    from training.registry import registry_of
    from training.steps import Steps

    space: Workspace = context.obj
    check_lines(space.settings)
    hours = _hours(space, first, stop)
    blocked: list[str] = []
    for hour in hours:
        if len(hours) > 1:
            space.console.print(f"\nhour {hour}", style="bold")
        done = run_hour(space, hour + 1, Steps(space))
        if done.outcome == "block":
            blocked.append(f"hour {hour}: {done.sentence}")
        space.say(
            f"{hour}: {done.outcome}; {done.champion} is live",
            {
                "hour": str(hour),
                "dataset_id": done.dataset_id,
                "outcome": done.outcome,
                "sentence": done.sentence,
                "champion": done.champion,
                "recommendations": done.recommendations,
                "seconds": done.seconds,
            },
        )
    if report:
        with space.status("writing the report"):
            write_report(space, registry_of(space))
    if blocked:
        raise HourglassError(f"{len(blocked)} of {len(hours)} hours were blocked; {blocked[0]}")


def _hours(space: Workspace, first: str | None, stop: str | None) -> HourRange:
    if first is None and stop is None:
        last = _last_arrived(space)
        return HourRange(last, last + 1)
    begin = Hour.parse(first) if first is not None else Hour.parse(str(stop)) - 1
    hours = space.past(HourRange(begin, begin + 1 if stop is None else Hour.parse(stop)))
    last = _last_arrived(space)
    if hours.stop > last + 1:
        raise UsageError(
            f"--to {hours.stop}: the log ends with hour {last} so far: there is nothing to learn "
            "from after it"
        )
    return hours


def _last_arrived(space: Workspace) -> Hour:
    """The last hour with events that is over, of all that lies in the landing zone by now.

    Raises:
        HourglassError: there is none.
    """
    from pipeline import ingest
    from pipeline.metadata import load_metadata

    with space.writing(), space.status("taking in what has arrived"):
        load_metadata(space.lake, space.settings)
        ingest.ingest(space.spark, space.lake, space.settings, space.clock)
    now = Hour.of(space.clock)
    arrived = [hour for hour in space.lake.filled(ingest.STEP) if hour < now]
    if not arrived:
        raise HourglassError("no event has arrived yet: look at source.path and at quarantine")
    return max(arrived)
