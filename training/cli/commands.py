"""The commands of the model side; what they do lives in the modules they call."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.dataset.by_time import dataset_folder
from pipeline.settings.folders import path_option
from pipeline.workspace import CommandContext
from training.cli.adopt import adopt
from training.cli.gate import approve, gate
from training.cli.leaderboard import leaderboard
from training.cli.loop import loop
from training.cli.notify import deadline, notify
from training.cli.options import DataSet
from training.cli.promote import promote, rollback
from training.cli.recommend import recommend, tradeoff
from training.cli.replay import replay
from training.cli.train import refit, stale, train
from training.cli.tune import tune
from training.fit.model_lines import judged_dataset
from training.steps.evaluate import evaluate_step
from training.steps.hour_data import HourData
from training.steps.monitor import monitor_champion
from training.steps.report import report_step
from training.steps.result import print_result

if TYPE_CHECKING:
    from pipeline.maintenance.maintain import ModelInputs


def judge(
    context: typer.Context,
    dataset: DataSet = "last",
    plan: Annotated[bool, typer.Option("--plan", help="only show what would be judged")] = False,
) -> None:
    """Judge, in order, every filled hour before a data set's own that nobody judged yet.

    By the models of their time: nothing is trained for them but baselines, and nothing promoted.
    """
    from training.loop.catch_up import judge_step, refuse_left_out

    ctx: CommandContext = context.obj
    folder = dataset_folder(ctx.settings.path("shards"), dataset)
    done = judge_step(ctx, folder, plan, lambda line: ctx.console.print(line, markup=False))
    print_result(ctx, done)
    refuse_left_out(done.value)


def monitor(context: typer.Context, dataset: DataSet = "last") -> None:
    """Judge the model that was live during the hours after the data set's time.

    Surely below a baseline, or unable to score, it is replaced by the previous one or by a
    baseline.
    """
    ctx: CommandContext = context.obj
    print_result(ctx, monitor_champion(ctx, HourData(ctx, judged_dataset(ctx, dataset))))


def watch(context: typer.Context, dataset: DataSet = "last") -> None:
    """The former name of `monitor`."""
    print("hourglass watch is now called hourglass monitor", file=sys.stderr)
    monitor(context, dataset)


def anchor(
    context: typer.Context,
    by: Annotated[str, typer.Option(help="who says so; kept in the chain")],
    why: Annotated[str, typer.Option(help="kept in the chain")],
) -> None:
    """Take the records as they are from here on: after a loss, or to begin to sign them.

    Only where records are lost for good: whatever was decided in them is undone by this.  Decisions
    from before are promoted no more.
    """
    from training.deployment.champion import changing
    from training.registry.mlflow_registry import registry_of
    from training.registry.record_chain import anchor as run

    ctx: CommandContext = context.obj
    registry = registry_of(ctx)
    with changing(registry.records, "accepting the records"):
        sentence = run(registry, by, why, ctx.now_iso())
    ctx.print_result(sentence, {"sentence": sentence, "by": by, "why": why})


def evaluate(context: typer.Context, dataset: DataSet = "last") -> None:
    """Rank the events after the data set's time by every candidate and by the champion."""
    ctx: CommandContext = context.obj
    print_result(ctx, evaluate_step(ctx, HourData(ctx, judged_dataset(ctx, dataset))))


def report(context: typer.Context) -> None:
    """Write the HTML report of data quality and model health."""
    ctx: CommandContext = context.obj
    with ctx.status("writing the report"):
        page = report_step(ctx)
    print_result(ctx, page)


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
    from pipeline.maintenance.maintain import maintain as run
    from pipeline.maintenance.maintain import plan_maintenance
    from training.registry.lineage import trained_from

    ctx: CommandContext = context.obj
    settings = ctx.settings

    def needed() -> ModelInputs:
        return trained_from(
            settings.resolved_mlflow_uri,
            settings.registered_model,
            settings.path("models"),
            settings.path("mlflow"),
            live_only=forget_models,
        )

    if plan:
        with ctx.status("looking"):
            result = plan_maintenance(ctx.lake, settings, needed(), ctx.clock)
        sentence = f"would do: {result.sentence}" if result.sentence else "nothing to do"
    else:
        with ctx.writing(), ctx.status("maintaining"):
            result = run(ctx.lake, settings, needed(), ctx.clock)
        sentence = result.sentence or "nothing to do: everything is needed"
    ctx.print_result(sentence, {**result.facts, "plan": plan})


def demo(
    context: typer.Context,
    source: Annotated[str, typer.Option(help="a source with a preset")] = "simulator",
    raw: Annotated[
        Path | None,
        typer.Option(parser=path_option, metavar="PATH", help="file or folder of the raw logs"),
    ] = None,
    hours: Annotated[
        int | None, typer.Option(help="hours to simulate, or of real logs to learn from", min=2)
    ] = None,
    work: Annotated[
        Path,
        typer.Option(
            parser=path_option,
            metavar="PATH",
            help="its lake goes in a folder of the source's name",
        ),
    ] = (Path("work")),
) -> None:
    """Run the whole loop on one data source, end to end."""
    from training.loop.demo import run_demo

    run_demo(context.obj, source, raw, hours, work)


app = typer.Typer()
# As `hourglass --help` lists them.
_HOURLY = (judge, stale, train, monitor, gate, approve, refit, promote, rollback, anchor, recommend)
_OTHERS = (
    *(loop, replay, tune, report, adopt, evaluate, leaderboard, tradeoff, maintain),
    *(notify, deadline, demo),
)
for command in (*_HOURLY, *_OTHERS):
    app.command()(command)
app.command(hidden=True)(watch)
