"""The commands of the data side; what they do lives in the modules they call."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.errors import HourglassError, UsageError
from pipeline.hours import Hour, HourRange
from pipeline.workspace import Workspace

app = typer.Typer()

From = Annotated[str, typer.Option("--from", help="first hour, like 2016-03-14T13")]
To = Annotated[str, typer.Option("--to", help="hour after the last, like 2016-03-15T00")]
MaybeFrom = Annotated[str | None, typer.Option("--from", help="first hour; default: the earliest")]
MaybeTo = Annotated[str | None, typer.Option("--to", help="hour after the last; default: the end")]


@app.command()
def doctor(
    context: typer.Context,
    fix: Annotated[bool, typer.Option("--fix", help="install Java where that is allowed")] = False,
) -> None:
    """Say what is missing on this machine, and the command that mends it."""
    from pipeline.doctor import render, run_doctor

    space: Workspace = context.obj
    checks = run_doctor(space.settings.work, fix)
    if space.as_json:
        space.say("", {"checks": [vars(check) for check in checks]})
    else:
        space.console.print(render(checks))
    failed = [check for check in checks if check.status == "fail"]
    if failed:
        raise HourglassError(
            f"{failed[0].name}: found {failed[0].found}, need {failed[0].needed}: {failed[0].mend}"
        )


@app.command()
def simulate(
    context: typer.Context,
    hours: Annotated[int | None, typer.Option(help="how many hours, from simulator.start")] = None,
    seed: Annotated[int | None, typer.Option(help="of the simulated world")] = None,
) -> None:
    """Let the built-in news shop write its hourly logs into the landing zone (source.path)."""
    from pipeline.simulator import simulate as run

    space: Workspace = context.obj
    world = space.settings.simulator
    if seed is not None:
        world = world.model_copy(update={"seed": seed})
    first = Hour.parse(world.start)
    landing = space.settings.source.path
    truth = landing.with_name(landing.name + "-truth")
    with space.status("simulating"):
        made = run(world, landing, truth, HourRange(first, first + (hours or world.hours)))
    space.say(
        f"{made.records:,} records of {made.users:,} users on {made.items:,} items in "
        f"{made.files} files below {landing}; the truth about them is in {truth}",
        {"landing": landing, "truth": truth, "records": made.records, "files": made.files},
    )


@app.command()
def ingest(context: typer.Context, first: MaybeFrom = None, stop: MaybeTo = None) -> None:
    """Take new raw files in: raw files -> events, quarantine."""
    from pipeline.ingest import ingest as run
    from pipeline.metadata import load_metadata

    space: Workspace = context.obj
    hours = _maybe_range(first, stop)
    with space.writing():
        load_metadata(space.lake, space.settings)
        spark = space.spark
        with space.status("ingesting"):
            done = run(spark, space.lake, space.settings, space.clock, hours)
    if done.files == 0:
        sentence = f"nothing new: all {done.known_files} files are ingested already"
    else:
        sentence = (
            f"{done.files} files, {done.records:,} records = {done.accepted:,} accepted + "
            f"{done.duplicates:,} duplicates + {done.quarantined:,} quarantined"
        )
    facts = {key: value for key, value in vars(done).items() if key != "hours"}
    space.say(sentence, {**facts, "hours": [str(part) for part in done.hours]})


@app.command()
def validate(context: typer.Context, first: From, stop: To) -> None:
    """Hold hours to their expectations and write Data Docs; exit 1 on a critical failure."""
    from pipeline.quality.outcomes import refuse_critical
    from pipeline.validation import validate as run

    space: Workspace = context.obj
    hours = HourRange.parse(first, stop)
    with space.writing(), space.status("validating"):
        outcomes = run(space.lake, space.settings, hours)
    failed = [r for outcome in outcomes for r in outcome.results if not r.success]
    checked = sum(len(outcome.results) for outcome in outcomes)
    docs = space.settings.path("data_docs") / "index.html"
    for result in failed:
        space.console.print(f"{result.severity}: {result.sentence}", markup=False)
    space.say(
        f"{checked} expectations, {len(failed)} failed; Data Docs: {docs}",
        {
            "checked": checked,
            "failed": [{"severity": r.severity, "sentence": r.sentence} for r in failed],
            "data_docs": docs,
        },
    )
    refuse_critical(outcomes)


@app.command()
def sessionize(context: typer.Context, first: From, stop: To) -> None:
    """Compute sessions, open sessions, item hours and dwell hours of a range."""
    space: Workspace = context.obj
    _sessionize(space, space.past(HourRange.parse(first, stop)))


@app.command()
def backfill(
    context: typer.Context,
    first: MaybeFrom = None,
    stop: MaybeTo = None,
    plan: Annotated[bool, typer.Option("--plan", help="only show what would be done")] = False,
) -> None:
    """Ingest what is new, then sessionize the hours that are missing or whose events changed.

    Hours follow from one another: what is missing before the range is filled with it.
    """
    from pipeline.hours import contiguous
    from pipeline.ingest import ingest as run_ingest
    from pipeline.ingest import waiting_files
    from pipeline.metadata import load_metadata
    from pipeline.staleness import stale_hours

    space: Workspace = context.obj
    asked = _maybe_range(first, stop)
    arrivals = HourRange(Hour(0), asked.stop) if asked else None
    waiting = waiting_files(space.lake, space.settings, space.clock, arrivals) if plan else []
    if not plan:
        with space.writing():
            load_metadata(space.lake, space.settings)
            spark = space.spark
            with space.status("ingesting"):
                run_ingest(spark, space.lake, space.settings, space.clock, arrivals)
    end = space.past(asked).stop if stop and asked else _after_last_event(space, plan)
    stale = stale_hours(space.lake, space.settings, end)
    earlier = [hour for hour in stale if asked and hour < asked.first]
    shown = "; ".join(str(part) for part in contiguous(stale)) or "none"
    if plan or not stale:
        space.say(
            f"{len(stale)} hours before {end} are missing or have changed: {shown}"
            + (f"; {len(earlier)} of them are before --from" if earlier else "")
            + (f"; {len(waiting)} files wait to be ingested" if waiting else ""),
            {
                "hours": len(stale),
                "ranges": [str(part) for part in contiguous(stale)],
                "waiting_files": [file.source_file for file in waiting],
            },
        )
        return
    _sessionize(space, contiguous(stale)[-1])


def _sessionize(space: Workspace, hours: HourRange) -> None:
    from pipeline.sessionize import sessionize as run

    with space.writing():
        spark = space.spark
        with space.status(f"sessionizing {hours}"):
            done = run(spark, space.lake, space.settings, hours)
    filled = ", ".join(str(part) for part in done.filled) or "nothing"
    also = f"; {done.missing_or_changed} earlier ones were missing or had changed"
    on = f"; {done.carried_on} later ones followed from them"
    space.say(
        f"filled {filled}: {done.events:,} events in, {done.closed_events:,} in closed sessions"
        + (also if done.missing_or_changed else "")
        + (on if done.carried_on else ""),
        {
            "filled": [str(part) for part in done.filled],
            "events": done.events,
            "closed_events": done.closed_events,
            "missing_or_changed": done.missing_or_changed,
            "carried_on": done.carried_on,
        },
    )


@app.command()
def dataset(
    context: typer.Context,
    as_of: Annotated[str, typer.Option(help="hour at whose start the data set freezes")] = "last",
    window: Annotated[str | None, typer.Option(help="hours to learn from, like 10h")] = None,
    extend: Annotated[
        str | None, typer.Option(help="data set whose vocabulary comes first")
    ] = None,
) -> None:
    """Freeze what a model may know at an hour into Parquet shards."""
    from pipeline.dataset import freeze, read_manifest
    from pipeline.settings import DatasetSettings

    space: Workspace = context.obj
    settings = space.settings
    if window is not None:
        from pipeline.hours import parse_duration_h

        parse_duration_h(window)
        rules = DatasetSettings(**{**settings.dataset.model_dump(), "window": window})
        settings = settings.model_copy(update={"dataset": rules})
    time = space.as_of(as_of)
    base = space.dataset(extend) if extend else None
    spark = space.spark
    with space.status(f"freezing a data set as of {time}"):
        folder = freeze(spark, space.lake, settings, time, base)
    manifest = read_manifest(folder)
    space.say(
        f"data set {folder.name} as of {time}: {manifest['n_targets']:,} events of "
        f"{manifest['n_users']:,} users on {manifest['n_items']:,} items, in {folder}",
        {
            "dataset_id": folder.name,
            "as_of": str(time),
            "folder": folder,
            **{name: manifest[name] for name in ("n_targets", "n_users", "n_items")},
        },
    )


def _maybe_range(first: str | None, stop: str | None) -> HourRange | None:
    if first is None and stop is None:
        return None
    return HourRange.parse(first or "1970-01-01T00", stop or "9999-01-01T00")


def _after_last_event(space: Workspace, plan: bool) -> Hour:
    from pipeline import ingest as ingest_step

    arrived = space.lake.filled(ingest_step.STEP)
    if not arrived and not plan:
        raise UsageError("no event was ingested yet: see source.path in the settings")
    return max(arrived, default=Hour.of(space.clock) - 1) + 1


def own_config() -> Path | None:
    """The settings file used when none is named: of this folder, or of the last demo."""
    for path in (Path("hourglass.yaml"), Path("work/hourglass.yaml")):
        if path.is_file():
            return path
    return None
