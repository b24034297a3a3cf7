"""The commands of the data side; what they do lives in the modules they call."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.errors import HourglassError, UsageError
from pipeline.hours import Hour, HourRange, parse_duration_h
from pipeline.ingest.summary import (
    and_ignored,
    and_no_arrival,
    detail_lines,
    first_of,
    metadata_facts,
    metadata_lines,
    not_read_again,
    of_other_settings,
)
from pipeline.settings.folders import WorkFolder, path_option
from pipeline.text.wording import counted, verb
from pipeline.workspace import CommandContext

if TYPE_CHECKING:
    from pipeline.ingest.ingest import IngestSummary
    from pipeline.ingest.metadata.item_user_tables import LoadedMetadata
    from pipeline.quality.verdicts import Kind
    from pipeline.sessions.backfill import BackfillPlan
    from pipeline.sessions.sessionize import SessionizeSummary

app = typer.Typer()
_MOST_RANGES = 3  # in a sentence; --json has them all

From = Annotated[str, typer.Option("--from", help="first hour, like 2016-03-14T13")]
To = Annotated[str, typer.Option("--to", help="hour after the last, like 2016-03-15T00")]
MaybeFrom = Annotated[str | None, typer.Option("--from", help="first hour; default: the earliest")]
MaybeTo = Annotated[str | None, typer.Option("--to", help="hour after the last; default: the end")]


@app.command()
def doctor(
    context: typer.Context,
    fix: Annotated[
        bool,
        typer.Option(
            "--fix", help="install Java where that is allowed, keep Spark's classes ready"
        ),
    ] = False,
) -> None:
    """Say what is missing on this machine, and the command that mends it."""
    from pipeline.doctor import render, run_doctor

    ctx: CommandContext = context.obj
    checks = run_doctor(ctx.settings.work, fix)
    if ctx.as_json:
        ctx.print_result("", {"checks": [vars(check) for check in checks]})
    else:
        ctx.console.print(render(checks))
    failed = [check for check in checks if check.status == "fail"]
    if failed:
        raise HourglassError(
            f"{failed[0].name}: found {failed[0].found}, need {failed[0].needed}: {failed[0].mend}"
        )


@app.command()
def where(context: typer.Context) -> None:
    """Say where the pages for people lie: the report and the Data Docs."""
    ctx: CommandContext = context.obj
    names: tuple[WorkFolder, ...] = ("reports", "data_docs")
    folders = {str(name): ctx.settings.path(name) for name in names}
    pages = (
        ("report", folders["reports"] / "report.html", "hourglass report"),
        ("Data Docs", folders["data_docs"] / "index.html", "hourglass validate"),
    )
    lines = [
        f"{name}: {page}" + ("" if page.exists() else f" (not made yet: run {command})")
        for name, page, command in pages
    ]
    ctx.print_result("\n".join(lines), folders)


@app.command()
def source(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Option(help="a log that is known by its name; default: source.name")
    ] = None,
) -> None:
    """Print what a known log's name stands for, as settings to begin with.

    A log that differs a little from a known one is read by these settings, changed where it does.
    """
    import yaml

    from pipeline.sources import source_section

    ctx: CommandContext = context.obj
    known_name = name or ctx.settings.source.name
    section = {"source": source_section(known_name)}
    text = yaml.safe_dump(section, sort_keys=False, default_flow_style=None, width=100)
    ctx.print_result(
        f"# What source.name: {known_name} stands for; source.path is yours to add.\n"
        f"{text.rstrip()}",
        section,
    )


@app.command()
def simulate(
    context: typer.Context,
    hours: Annotated[int | None, typer.Option(help="how many hours, from simulator.start")] = None,
    seed: Annotated[int | None, typer.Option(help="of the simulated world")] = None,
    scenario: Annotated[
        str | None, typer.Option(help="what goes wrong; see docs/data-quality.md#try-it-on-faults")
    ] = None,
    scenario_from: Annotated[str | None, typer.Option(help="its first hour")] = None,
    scenario_hours: Annotated[int | None, typer.Option(help="how long it lasts", min=1)] = None,
) -> None:
    """Let the built-in news site write its hourly logs into the landing zone (source.path)."""
    from pipeline.simulator import SCENARIOS
    from pipeline.simulator import simulate as run

    ctx: CommandContext = context.obj
    if ctx.settings.source.name != "simulator":
        raise UsageError(
            f"source.name is {ctx.settings.source.name}: the simulated site would write among its "
            "logs: use settings whose source.name is simulator"
        )
    if scenario is not None and scenario not in SCENARIOS:
        raise UsageError(f"--scenario {scenario!r} is none of {', '.join(SCENARIOS)}")
    options = {
        "seed": seed,
        "scenario": scenario,
        "scenario_from": scenario_from,
        "scenario_hours": scenario_hours,
    }
    overrides = {name: value for name, value in options.items() if value is not None}
    world = ctx.settings.simulator.model_copy(update=overrides)
    first = Hour.parse(world.start)
    landing = ctx.settings.source.path
    truth = landing.with_name(landing.name + "-truth")
    with ctx.status("simulating"):
        summary = run(world, landing, truth, HourRange(first, first + (hours or world.hours)))
    ctx.print_result(
        f"{counted(summary.records, 'record')} of {counted(summary.users, 'user')} on "
        f"{counted(summary.items, 'item')} in {counted(summary.files, 'file')} below {landing}; "
        f"the truth about them is in {truth}",
        {"landing": landing, "truth": truth, "records": summary.records, "files": summary.files},
    )


@app.command()
def ingest(context: typer.Context, first: MaybeFrom = None, stop: MaybeTo = None) -> None:
    """Take new raw files in: raw files -> events, quarantine."""
    from pipeline.ingest.ingest import ingest as run
    from pipeline.ingest.metadata.item_user_tables import load_metadata

    ctx: CommandContext = context.obj
    hours = _maybe_range(first, stop)
    with ctx.writing():
        metadata = load_metadata(ctx.lake, ctx.settings)
    compute = ctx.compute_for(hours)
    with ctx.status("ingesting"):
        done = run(compute, ctx.lake, ctx.settings, ctx.clock, hours, alone=ctx.writing)
    ctx.print_result(
        _ingest_sentence(done) + detail_lines(done) + metadata_lines(metadata),
        {**_ingest_facts(done), **metadata_facts(metadata)},
    )
    _refuse_left_out(done, metadata)


@app.command()
def validate(
    context: typer.Context,
    first: From,
    stop: To,
    only: Annotated[
        str | None,
        typer.Option(help="events (and what is known of the hour) or sessions; default: both"),
    ] = None,
    accept: Annotated[
        str | None, typer.Option(help="let critical hours pass, and keep this reason with them")
    ] = None,
    by: Annotated[
        str | None, typer.Option(help="who validates or accepts; default: the user of the system")
    ] = None,
) -> None:
    """Hold hours to their expectations and write Data Docs; exit 1 on a critical failure."""
    from pipeline.quality.checks.results import failure_lines
    from pipeline.quality.validate_hours import validate as run
    from pipeline.quality.verdicts import refuse_critical_hours

    ctx: CommandContext = context.obj
    hours = ctx.refuse_future(HourRange.parse(first, stop))
    kinds = _kinds(only)
    with ctx.status("validating"):
        outcomes = run(ctx.lake, ctx.settings, hours, kinds, accept, ctx.act(by), ctx.writing)
    failed = [r for outcome in outcomes for r in outcome.results if not r.success]
    checked = sum(len(outcome.results) for outcome in outcomes)
    docs = ctx.settings.path("data_docs") / "index.html"
    for sentence in failure_lines(outcomes):
        ctx.console.print(sentence, markup=False)
    ctx.print_result(
        f"{counted(checked, 'expectation')}, {len(failed)} failed; Data Docs: {docs}",
        {
            "checked": checked,
            "failed": [
                {"severity": r.severity, "sentence": r.sentence, "accepted": r.accepted}
                for r in failed
            ],
            "data_docs": docs,
        },
    )
    refuse_critical_hours(outcomes)


def _kinds(only: str | None) -> tuple[Kind, ...]:
    kinds: tuple[Kind, ...] = ("events", "sessions")
    chosen = tuple(kind for kind in kinds if only in (None, kind))
    if not chosen:
        raise UsageError(f"--only {only}: use events or sessions")
    return chosen


@app.command()
def sessionize(context: typer.Context, first: From, stop: To) -> None:
    """Compute sessions, open sessions, item hours and dwell hours of a range."""
    ctx: CommandContext = context.obj
    _sessionize(ctx, ctx.refuse_future(HourRange.parse(first, stop)))


@app.command()
def backfill(
    context: typer.Context,
    first: MaybeFrom = None,
    stop: MaybeTo = None,
    plan: Annotated[bool, typer.Option("--plan", help="only show what would be done")] = False,
    accept_late: Annotated[
        bool,
        typer.Option("--accept-late", help="let in what came later than ingest.max_lateness"),
    ] = False,
) -> None:
    """Ingest what is new, then fill the hours that are missing or whose inputs changed.

    Hours follow from one another: what is missing before the range is filled with it.
    """
    from pipeline.ingest.metadata.item_user_tables import load_metadata
    from pipeline.sessions.backfill import backfill as run

    ctx: CommandContext = context.obj
    requested = _maybe_range(first, stop)
    if stop and requested:
        ctx.refuse_future(requested)
    if plan:
        _show_plan(ctx, requested, accept_late)
        return
    with ctx.writing():
        metadata = load_metadata(ctx.lake, ctx.settings)
    compute = ctx.compute_for(requested)
    with ctx.progress("backfilling") as report:
        summary, done = run(
            compute,
            ctx.lake,
            ctx.settings,
            ctx.clock,
            requested,
            accept_late,
            report,
            ctx.writing,
        )
    facts = {**_ingest_facts(summary), **metadata_facts(metadata)}
    if done is None:
        ctx.print_result(
            f"{_ingest_sentence(summary)}; no hour is missing or has changed"
            + detail_lines(summary)
            + metadata_lines(metadata),
            {"ingest": facts, "filled": []},
        )
    else:
        ctx.print_result(
            f"{_ingest_sentence(summary)}; "
            f"{_sessionize_sentence(done, earlier=requested is not None)}"
            f"{detail_lines(summary)}{metadata_lines(metadata)}",
            {"ingest": facts, **_sessionize_facts(done)},
        )
        _refuse_failed(done)
    _refuse_left_out(summary, metadata)


def _show_plan(ctx: CommandContext, requested: HourRange | None, accept_late: bool) -> None:
    from rich.table import Table

    from pipeline.ingest.people.load import people_have_changed
    from pipeline.sessions.backfill import plan_backfill

    planned = plan_backfill(ctx.lake, ctx.settings, ctx.clock, requested, accept_late)
    people = people_have_changed(ctx.lake, ctx.settings)
    if planned.ranges and not ctx.as_json:
        table = Table("from", "to", "hours", "events", "why")
        for planned_range in planned.ranges:
            ends = str(planned_range.hours.first), str(planned_range.hours.stop)
            table.add_row(
                *ends,
                f"{len(planned_range.hours):,}",
                f"{planned_range.events:,}",
                planned_range.why,
            )
        ctx.console.print(table)
    ctx.print_result(
        _plan_sentence(planned, people, ctx.settings.source.people_path is None),
        {
            "hours": planned.hours,
            "people_changed": people,
            "refused": list(map(str, planned.refused)),
            "ranges": [
                {"from": p.hours.first, "to": p.hours.stop, "events": p.events, "why": p.why}
                for p in planned.ranges
            ],
            "waiting_files": planned.waiting_files,
            "unreadable": planned.unreadable,
            "read_again": planned.read_again,
            "outdated": planned.outdated,
            "unknown_settings": planned.unknown_settings,
            "no_arrival": planned.no_arrival,
        },
    )


def _plan_sentence(
    planned: BackfillPlan, people_changed: bool = False, people_withdrawn: bool = False
) -> str:
    """What would be done, in the order in which it would be."""
    from pipeline.quality.verdicts import how_to_go_on

    waiting, again = len(planned.waiting_files), planned.read_again
    sentences = []
    if waiting:
        them = verb(again, "it", "them")
        others = f" ({again:,} again, since other settings read {them})" if again else ""
        sentences.append(
            f"{counted(waiting, 'file')} would be taken in first, "
            f"{_from_to(planned.waiting_files)}{others}, and may change more hours"
        )
    if people_changed:
        done = "source.people_path would be loaded"
        if people_withdrawn:
            done = "source.people_path is not set any more: all people would be withdrawn"
        sentences.append(f"{done} first, and may change more hours")
    if planned.hours:
        has = verb(planned.hours, "is missing or has", "are missing or have")
        sentences.append(f"{counted(planned.hours, 'hour')} {has} changed and would be filled")
    else:
        beside = "beside that, " if sentences else ""
        sentences.append(f"{beside}no hour is missing or has changed")
    if refused := planned.refused:
        sentences.append(
            f"{counted(len(refused), 'hour')} failed a critical expectation and would not "
            f"be filled, nor what follows from {verb(len(refused), 'it', 'them')}: "
            f"{how_to_go_on(refused[0])}"
        )
    sentences += [f"unreadable: {name}" for name in planned.unreadable]
    return "; ".join(sentences) + not_read_again(planned) + and_no_arrival(planned.no_arrival)


def _from_to(files: Sequence[str]) -> str:
    return files[0] if len(files) == 1 else f"from {files[0]} to {files[-1]}"


def _sessionize(ctx: CommandContext, hours: HourRange) -> None:
    from pipeline.sessions.sessionize import sessionize as run

    compute = ctx.compute_for(hours)
    with ctx.progress(f"sessionizing {hours}") as report:
        done = run(compute, ctx.lake, ctx.settings, hours, report, alone=ctx.writing)
    ctx.print_result(_sessionize_sentence(done), _sessionize_facts(done))
    _refuse_failed(done)


@app.command()
def dataset(
    context: typer.Context,
    as_of: Annotated[str, typer.Option(help="hour at whose start the data set freezes")] = "last",
    judged_until: Annotated[
        str | None,
        typer.Option(help="instead of --as-of: the end of the hours whose events are to judge it"),
    ] = None,
    window: Annotated[str | None, typer.Option(help="hours to learn from, like 10h")] = None,
    extend: Annotated[
        str | None, typer.Option(help="data set whose vocabulary comes first")
    ] = None,
    as_known: Annotated[
        bool | None,
        typer.Option(
            "--as-known/--as-happened",
            help="whether to leave out what arrived after the hour; default: dataset.as_known",
        ),
    ] = None,
) -> None:
    """Freeze what a model may know at an hour into Parquet shards."""
    from pipeline.dataset.build import delays_before
    from pipeline.dataset.by_time import dataset_folder
    from pipeline.dataset.freeze import freeze_and_validate
    from pipeline.dataset.manifest import read_manifest
    from pipeline.lake.stale_hours import stale_hours
    from pipeline.quality.checks.results import refuse_critical
    from pipeline.settings.tables import DatasetSettings

    ctx: CommandContext = context.obj
    settings = ctx.settings
    if window is not None:
        parse_duration_h(window)
    changed = {
        name: value
        for name, value in (("window", window), ("as_known", as_known))
        if value is not None
    }
    rules = DatasetSettings(**{**settings.dataset.model_dump(), **changed})
    settings = settings.model_copy(update={"dataset": rules})
    if judged_until is not None and as_of != "last":
        raise UsageError("--as-of and --judged-until say one time in two ways: use one of them")
    time = ctx.as_of(as_of)
    if judged_until not in (None, "last"):
        time = Hour.parse(str(judged_until)) - parse_duration_h(settings.evaluation.horizon)
    base = dataset_folder(settings.path("shards"), extend, "--extend") if extend else None
    folder, outcome = freeze_and_validate(ctx, settings, time, base)
    for result in outcome.results:
        if not result.success:
            ctx.console.print(f"{result.severity}: {result.sentence}", markup=False)
    manifest = read_manifest(folder)
    if rules.as_known and (delays := delays_before(ctx.lake, settings, time)).loaded_hours:
        ctx.console.print(delays.sentences[-1], markup=False)
    if unknown := manifest.unknown_events:
        ctx.console.print(
            f"as known: {counted(unknown, 'event')} of before {time} "
            f"{verb(unknown, 'is', 'are')} not in it: {verb(unknown, 'it', 'they')} arrived later",
            markup=False,
        )
    if waiting := stale_hours(ctx.lake, settings, time):
        ctx.console.print(
            f"late events of {counted(len(waiting), 'hour')} before {time} are not in it: they "
            "wait for `hourglass sessionize`",
            markup=False,
        )
    ctx.print_result(
        f"data set {folder.name} as of {time}: {counted(manifest.n_targets, 'event')} "
        f"of {counted(manifest.n_users, 'user')} on {counted(manifest.n_items, 'item')}, in "
        f"{folder}",
        {
            "dataset_id": folder.name,
            "as_of": str(time),
            "folder": folder,
            "quality": outcome.verdict,
            "hours_waiting": len(waiting),
            **manifest.model_dump(include={"n_targets", "n_users", "n_items"}),
        },
    )
    refuse_critical([outcome])


@app.command()
def drill(
    context: typer.Context,
    scenario: Annotated[
        list[str] | None, typer.Option(help="one of them, repeatable; default: all")
    ] = None,
    quiet_days: Annotated[int, typer.Option(help="days in which nothing is wrong", min=1)] = 30,
    seed: Annotated[int | None, typer.Option(help="of the simulated world")] = None,
    work: Annotated[
        Path | None,
        typer.Option(parser=path_option, metavar="PATH", help="a folder for the drill alone"),
    ] = None,
) -> None:
    """Try validation on simulated faults; exit 1 where one is missed or a false alarm raised."""
    from pipeline.simulator import SCENARIOS
    from pipeline.simulator.drill import Drill
    from pipeline.simulator.drill_tables import complaint, drill_facts, drill_sentence, tables

    ctx: CommandContext = context.obj
    names = scenario or list(SCENARIOS)
    if unknown := [name for name in names if name not in SCENARIOS]:
        raise UsageError(f"--scenario {unknown[0]!r} is none of {', '.join(SCENARIOS)}")
    settings = ctx.settings
    if seed is not None:
        world = settings.simulator.model_copy(update={"seed": seed})
        settings = settings.model_copy(update={"simulator": world})
    folder = (work or settings.path("drill")).absolute()
    run = Drill(ctx.compute_for(None), settings, folder, quiet_days, status=ctx.status)
    done = run.run([SCENARIOS[name] for name in names])
    if not ctx.as_json:
        ctx.console.print(*tables(done), sep="\n")
    ctx.print_result(drill_sentence(done), drill_facts(done))
    if wrong := complaint(done):
        raise HourglassError(wrong)


def _maybe_range(first: str | None, stop: str | None) -> HourRange | None:
    if first is None and stop is None:
        return None
    return HourRange.parse(first or "1970-01-01T00", stop or "9999-01-01T00")


def _ingest_sentence(done: IngestSummary) -> str:
    if done.files == 0 and not done.unreadable:
        sentence = f"nothing new: {counted(done.known_files, 'file')} known already"
        return sentence + of_other_settings(done)
    late = f", {done.late:,} of them too late by ingest.max_lateness" if done.late else ""
    return (
        f"{counted(done.files, 'file')}, {counted(done.records, 'record')} = "
        f"{done.accepted:,} accepted{late} + "
        f"{counted(done.duplicates, 'duplicate')} + {done.quarantined:,} quarantined"
        + and_ignored(done)
        + of_other_settings(done)
    )


def _ingest_facts(done: IngestSummary) -> dict[str, Any]:
    facts = {**vars(done), "hours": [str(hour_range) for hour_range in done.hours]}
    del facts["refusals"]
    refusals = done.refusals
    return {
        **facts,
        "reasons": refusals.reasons,
        "without_events": refusals.by_file,
        "damaged": refusals.damaged,
        "unknown_types": refusals.types,
    }


def _refuse_left_out(done: IngestSummary, metadata: LoadedMetadata) -> None:
    """Exit 1 where a file, or a line of metadata, could not be taken in; all else was.

    So too where a file is damaged and what follows in it is lost, and where records were refused
    and there is no event yet, of this run or of one before: the settings are wrong then.  Later on
    a file may be refused as a whole for what is in it.  Lines of a metadata file that is as it was
    are said again, but were an error before.

    Raises:
        HourglassError: naming the first of them with their reasons.
    """
    left_out = [*done.unreadable, *(f"{name}: no longer there" for name in done.missing)]
    sentences = []
    if left_out:
        sentences.append(
            f"{counted(len(left_out), 'file')} left out, all others were taken in; "
            f"{first_of(left_out)}"
        )
    if damaged := [f"{name}: {how}" for name, how in done.refusals.damaged.items()]:
        sentences.append(
            f"{counted(len(damaged), 'file')} not read to the end, and what follows is lost until "
            f"delivered whole; {first_of(damaged)}"
        )
    if done.unfit:
        sentences.append(
            f"{counted(len(done.unfit), 'file')} in quarantine as a whole; {first_of(done.unfit)}"
        )
    elif done.quarantined and done.no_event_yet:
        were = verb(done.quarantined, "was", "were")
        sentences.append(
            f"{counted(done.quarantined, 'record')} {were} read and there is no event yet: see the "
            "reasons, and source in the settings"
        )
    if metadata.faults:
        sentences.append(f"items, users, people: left out: {first_of(metadata.faults)}")
    if sentences:
        raise HourglassError("; ".join(sentences))


def _sessionize_sentence(done: SessionizeSummary, earlier: bool = True) -> str:
    """What was filled; ``earlier``: whether hours before those asked for are told of apart."""
    filled = ", ".join(map(str, done.filled[:_MOST_RANGES])) or "nothing"
    if len(done.filled) > _MOST_RANGES:
        filled += f" and {counted(len(done.filled) - _MOST_RANGES, 'other range')}"
    sentence = (
        f"filled {filled}: {counted(done.events, 'event')} in, {done.closed_events:,} in closed "
        "sessions"
    )
    if done.robot_events:
        are = verb(done.robot_events, "is", "are")
        sentence += f", of which {done.robot_events:,} {are} marked as robots'"
    if done.filled and not done.events:
        sentence += "; no event of these hours was taken in: see hourglass ingest"
    if done.missing_or_changed and earlier:
        before = counted(done.missing_or_changed, "earlier hour")
        were = verb(done.missing_or_changed, "was", "were")
        sentence += f"; {before} {were} filled too, because missing or changed"
    if done.closing:
        later = counted(done.closing, "later hour")
        were = verb(done.closing, "was", "were")
        sentence += f"; {later} {were} filled too, because sessions close there"
    if done.carried_on:
        later = counted(done.carried_on, "later hour")
        sentence += f"; {later} {verb(done.carried_on, 'was', 'were')} done again after a change"
    if done.settled_at:
        hours = ", ".join(map(str, done.settled_at))
        sentence += f"; stopped at {hours}, where the sessions carried in came out as they were"
    return sentence


def _sessionize_facts(done: SessionizeSummary) -> dict[str, Any]:
    return {
        **vars(done),
        "filled": [str(hour_range) for hour_range in done.filled],
        "settled_at": [str(hour) for hour in done.settled_at],
        "failed": [{"hour": str(hour), "reason": reason} for hour, reason in done.failed],
    }


def _refuse_failed(done: SessionizeSummary) -> None:
    """Exit 1 where an hour could not be computed; what does not follow from it was.

    Raises:
        HourglassError: naming the first of them and its reason.
    """
    if done.failed:
        hour, reason = done.failed[0]
        waiting = f", {counted(done.waiting, 'hour')} after that waiting" if done.waiting else ""
        raise HourglassError(
            f"{counted(len(done.failed), 'hour')} left out{waiting}, the rest is done; "
            f"hour {hour}: {reason}"
        )


def own_config() -> Path | None:
    """The settings file used when none is named: of this folder, or of the last demo."""
    for path in (Path("hourglass.yaml"), Path("work/hourglass.yaml")):
        if path.is_file():
            return path
    return None
