"""The commands of the model side; what they do lives in the modules they call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.errors import HourglassError, UsageError
from pipeline.workspace import Workspace
from training.registry import registry_of
from training.train_command import train

if TYPE_CHECKING:
    from pipeline.upkeep import TrainedFrom
    from training.evidence import Outcome
    from training.judgement import Evaluation

app = typer.Typer()
app.command()(train)

_Advance = Callable[[float], None]
_Describe = Callable[[str], None]
DataSet = Annotated[str, typer.Option("--dataset", help="id of a data set; last: the latest")]


def frozen_part(space: Workspace, dataset: Path) -> Path:
    """The events that judge a data set's models, frozen on first use."""
    from pipeline.dataset import hold_out, read_manifest
    from pipeline.hours import Hour

    hours = space.horizon_from(Hour.parse(read_manifest(dataset)["as_of"]))
    with space.status(f"freezing the events of {hours}"):
        return hold_out(space.spark, space.lake, space.settings, dataset, hours)


@app.command()
def evaluate(context: typer.Context, dataset: DataSet = "last") -> None:
    """Rank the events after the data set's time by every candidate and by the champion."""
    space: Workspace = context.obj
    show_leaderboard(space, evaluate_all(space, space.dataset(dataset)))


def evaluate_all(space: Workspace, dataset: Path) -> Evaluation:
    """Evaluate with a progress bar."""
    from training.judgement import evaluate as run

    part = frozen_part(space, dataset)
    with bar(space, "evaluating") as (advance, describe):

        def report(name: str, done: int, total: int) -> None:
            describe(f"evaluating {name}: {done:,} of {total:,} events")
            advance(done / max(1, total))

        found = run(space.settings, registry_of(space), dataset, part, report)
    for sentence in found.failures.values():
        space.console.print(f"failed: {sentence}", markup=False)
    return found


@app.command()
def leaderboard(context: typer.Context, dataset: DataSet = "last") -> None:
    """Show every system on one data set, one protocol, with confidence intervals."""
    from training.judgement import standing

    space: Workspace = context.obj
    folder = space.dataset(dataset)
    show_leaderboard(space, standing(space.settings, folder, frozen_part(space, folder)))


def show_leaderboard(space: Workspace, found: Evaluation) -> None:
    """Print the table of an evaluation."""
    from training.leaderboard import leaderboard_rows, render

    if space.as_json:
        space.say("", {"frozen_id": found.frozen_id, "rows": leaderboard_rows(found)})
    else:
        space.console.print(render(found))


@app.command()
def gate(context: typer.Context, dataset: DataSet = "last") -> None:
    """Decide whether the candidate goes live; exit 1 when it is blocked."""
    space: Workspace = context.obj
    outcome, sentence, path = decide(space, space.dataset(dataset))
    space.say(
        f"{outcome}: {sentence}\n{path}",
        {"outcome": str(outcome), "sentence": sentence, "decision": path},
    )
    if outcome == "block":
        raise HourglassError(f"blocked: {sentence}")


def decide(space: Workspace, dataset: Path) -> tuple[Outcome, str, Path]:
    """Run the gate on the configured candidate."""
    from pipeline.dataset_quality import dataset_verdict
    from pipeline.hours import HourRange
    from pipeline.verdicts import quality_passed
    from training.judgement import ensure_champion, hours_judged
    from training.judgement import gate as run
    from training.reader import read_dataset

    part = frozen_part(space, dataset)
    registry = registry_of(space)
    at = space.clock.isoformat(timespec="seconds")
    ensure_champion(space.settings, registry, dataset, at)
    learned = read_dataset(dataset).manifest
    passed = quality_passed(
        space.lake,
        HourRange(learned.window_start, learned.as_of),
        hours_judged(read_dataset(part)),
    )
    if dataset_verdict(dataset)[0] == "critical":
        passed = False
    with space.status("deciding"):
        decision, path = run(space.settings, registry, dataset, part, passed, at)
    return decision.outcome, decision.sentence, path


@app.command()
def promote(
    context: typer.Context,
    decision: Annotated[
        Path | None, typer.Option(help="decision file; default: the latest one")
    ] = None,
) -> None:
    """Do what a decision says: move the champion alias, or leave it."""
    from training.decision import latest_decision
    from training.promotion import promote as run

    space: Workspace = context.obj
    file = decision or latest_decision(space.settings.path("decisions"))
    done = run(registry_of(space), file)
    live = done.champion.model_id if done.champion else None
    space.say(done.sentence, {"changed": done.changed, "champion": live, "decision": file})


@app.command()
def rollback(
    context: typer.Context,
    reason: Annotated[str, typer.Option(help="kept in the record")] = "by hand",
) -> None:
    """Go back to the previous model."""
    from training.promotion import rollback as run

    space: Workspace = context.obj
    at = space.clock.isoformat(timespec="seconds")
    done = run(registry_of(space), space.settings.path("decisions"), reason, at)
    space.say(
        f"{done.champion.model_id} is live again, {done.left.model_id} is not; {done.record}",
        {"champion": done.champion.model_id, "left": done.left.model_id, "record": done.record},
    )


@app.command()
def recommend(
    context: typer.Context,
    as_of: Annotated[
        str, typer.Option(help="hour at whose start to recommend; last: after the last filled one")
    ] = "last",
) -> None:
    """Write the live model's top items for every known user."""
    from pipeline.dataset import histories_at
    from pipeline.hours import Hour
    from training.artefact import load_model
    from training.recommend import recommend as run
    from training.registry import champion

    space: Workspace = context.obj
    live = champion(registry_of(space))
    if live is None:
        raise UsageError("no model is live yet: run `hourglass gate`, which installs the floor")
    time = space.last_filled() + 1 if as_of == "last" else Hour.parse(as_of)
    base = space.dataset(load_model(live.folder).card.dataset_id)
    with space.status(f"reading the histories as of {time}"):
        known = histories_at(space.spark, space.lake, space.settings, base, time)
    with bar(space, "recommending") as (advance, _), space.writing():
        done = run(
            space.settings, space.lake, live, known, time,
            lambda users, total: advance(users / max(1, total)),
        )  # fmt: skip
    space.say(
        f"{done.rows:,} recommendations for {done.users:,} users by {live.model_id} "
        f"(version {live.version}) as of {time}: {done.path}",
        {"users": done.users, "rows": done.rows, "path": done.path, "model_id": live.model_id},
    )


@app.command()
def report(context: typer.Context) -> None:
    """Write the HTML report of data quality and model health."""
    from training.health import write_report

    space: Workspace = context.obj
    with space.status("writing the report"):
        path = write_report(space, registry_of(space))
    space.say(f"report: {path}", {"report": path})


@app.command()
def maintain(
    context: typer.Context,
    plan: Annotated[bool, typer.Option("--plan", help="only show what would be done")] = False,
    forget_models: Annotated[
        bool,
        typer.Option(
            "--forget-models",
            help="keep only what the live and the previous model were trained from",
        ),
    ] = False,
) -> None:
    """Expire old snapshots, join small files, remove what no reader and no model needs."""
    from pipeline.upkeep import maintain as run
    from pipeline.upkeep import survey
    from training.lineage import trained_from

    space: Workspace = context.obj
    settings = space.settings

    def needed() -> TrainedFrom:
        return trained_from(
            settings.resolved_mlflow_uri,
            settings.registered_model,
            settings.path("models"),
            settings.path("mlflow"),
            live_only=forget_models,
        )

    if plan:
        with space.status("looking"):
            found = survey(space.lake, settings, needed(), space.clock)
        said = f"would do: {found.sentence}" if found.sentence else "nothing to do"
    else:
        with space.writing(), space.status("maintaining"):
            found = run(space.lake, settings, needed(), space.clock)
        said = found.sentence or "nothing to do: everything is needed"
    space.say(said, {**found.facts, "plan": plan})


@app.command()
def demo(
    context: typer.Context,
    source: Annotated[str, typer.Option(help="a source with a preset")] = "simulator",
    raw: Annotated[Path | None, typer.Option(help="file or folder of the raw logs")] = None,
    hours: Annotated[
        int | None, typer.Option(help="hours to simulate, or of real logs to learn from", min=2)
    ] = None,
    work: Annotated[Path, typer.Option(help="its lake goes in a folder of the source's name")] = (
        Path("work")
    ),
) -> None:
    """Run the whole loop on one data source, end to end."""
    from training.demo import run_demo

    run_demo(context.obj, source, raw, hours, work)


@contextmanager
def bar(space: Workspace, doing: str) -> Iterator[tuple[_Advance, _Describe]]:
    """A progress bar in a terminal, nothing but the title elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn as Bar
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        with space.status(doing):
            yield (lambda _fraction: None), (lambda _text: None)
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), Bar(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(doing, total=1.0)
        yield (
            lambda fraction: progress.update(task, completed=fraction),
            lambda text: progress.update(task, description=text),
        )
