"""``hourglass train``: what people ask for, turned into models and options."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pipeline.errors import UsageError
from pipeline.workspace import CommandContext
from training.cli.options import DataSet, decision_file
from training.model_types import Continuation
from training.steps.hour_data import HourData
from training.steps.result import print_result
from training.steps.train import train_step, trained_model

_CONTINUATIONS = {
    None: Continuation.AS_DUE,
    False: Continuation.STEP,
    True: Continuation.ANEW,
}


class Device(StrEnum):
    """Where to train."""

    CPU = "cpu"
    CUDA = "cuda"
    AUTO = "auto"


def train(
    context: typer.Context,
    dataset: DataSet = "last",
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="a configured model, one of training/configs, or a YAML file; may be repeated; "
            "default: all configured"
        ),
    ] = None,
    system: Annotated[str | None, typer.Option(help="the configured models of one system")] = None,
    seed: Annotated[int, typer.Option(help="of everything random", min=0)] = 0,
    device: Annotated[
        Device | None, typer.Option(help="where to train; default: as the models say")
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume/--fresh", help="go on with what a killed run of the same fit left, or not"
        ),
    ] = True,
    init_from: Annotated[
        str | None,
        typer.Option(
            help="continue from champion, previous or a model id, for models of its system; none: "
            "begin anew; default: as each model's init_from says"
        ),
    ] = None,
    as_needed: Annotated[
        bool,
        typer.Option(
            "--as-needed",
            help="as `hourglass stale` found: entries anew that it named; only the baselines where "
            "little changed and retrain.skip is set",
        ),
    ] = False,
    anew: Annotated[
        bool | None,
        typer.Option(
            "--anew/--continue",
            help="make continued models anew, or take a step on, whatever their age; default: as "
            "anew_h and --as-needed say",
        ),
    ] = None,
    processes: Annotated[int, typer.Option(help="train in so many processes", min=1)] = 1,
) -> None:
    """Fit the configured models on a data set and register them."""
    from pipeline.dataset.by_time import dataset_folder
    from training.fit.launch import is_one_of_several, launch
    from training.fit.model_check import Facts, check_models
    from training.fit.model_configs import chosen
    from training.fit.model_lines import check_candidate_names
    from training.fit.parent_model import NONE
    from training.fit.retrain_signals import recorded_retrain_decision
    from training.fit.train import ModelsFailedError, TrainOptions
    from training.steps.retrain import models_to_train

    ctx: CommandContext = context.obj
    models = chosen(ctx.settings, model or [], system)
    # Also those that are not chosen: a wrong setting is wrong whatever is asked for.  How much the
    # data set knows is checked with it: it may be older than the settings.
    check_models(ctx.settings, Facts())
    if "candidate" in ctx.settings.model_fields_set:  # its default need not be configured
        check_candidate_names(ctx.settings)
    folder = dataset_folder(ctx.settings.path("shards"), dataset)
    if anew is not None and init_from == NONE:
        raise UsageError(
            f"{'--anew' if anew else '--continue'} is about models that go on from another, and "
            "--init-from none lets none do so: leave one of the two out"
        )
    anew_by_need: dict[str, tuple[str, ...]] = {}
    if as_needed:
        if model or system:
            raise UsageError(
                "--as-needed chooses the models itself: leave --model and --system out"
            )
        worth = recorded_retrain_decision(ctx.settings, folder.name)
        models = models_to_train(ctx.settings, worth)
        anew_by_need = worth.reasons_by_entry if worth else {}
    if processes > 1:
        if is_one_of_several():
            raise UsageError("--processes starts torchrun itself: leave one of the two out")
        launch(processes, _without_processes(context, folder.name))
        return
    options = TrainOptions(
        seed, device and device.value, not resume, init_from, _CONTINUATIONS[anew], anew_by_need
    )
    try:
        results = train_step(ctx, HourData(ctx, folder), models, options)
    except ModelsFailedError as error:
        for trained in error.trained:
            print_result(ctx, trained_model(trained))
        raise
    for result in results:
        print_result(ctx, result)


def _without_processes(context: typer.Context, dataset: str) -> list[str]:
    """The command line of this call for one of several processes."""
    whole = context.parent.params if context.parent else {}
    options = context.params
    line: list[str] = []
    if whole.get("config") is not None:
        line += ["--config", str(whole["config"])]
    line += [flag for flag, name in (("--json", "as_json"),) if whole.get(name)]
    line += ["train", "--dataset", dataset, "--seed", str(options["seed"])]
    for name in options["model"] or ():
        line += ["--model", name]
    for option in ("system", "device", "init_from"):
        if options[option] is not None:
            line += [f"--{option.replace('_', '-')}", str(options[option])]
    line += ["--as-needed"] if options["as_needed"] else []
    if options["anew"] is not None:
        line += ["--anew" if options["anew"] else "--continue"]
    return [*line, "--resume" if options["resume"] else "--fresh"]


# ``hourglass stale`` and ``hourglass refit``: what comes before and after a retraining.


def stale(context: typer.Context, dataset: DataSet = "last") -> None:
    """Say whether a data set needs nothing, a step or models made anew, by signs of little cost."""
    from pipeline.dataset.by_time import dataset_folder
    from training.steps.retrain import retrain_step

    ctx: CommandContext = context.obj
    folder = dataset_folder(ctx.settings.path("shards"), dataset)
    print_result(ctx, retrain_step(ctx, HourData(ctx, folder)))


def refit(
    context: typer.Context,
    decision: Annotated[
        Path | None, typer.Option(help="decision file; default: the latest one")
    ] = None,
) -> None:
    """Let the model of a decision learn from the judged hours too, where `retrain.refit` is set."""
    from training.gate.decision_file import latest_decision
    from training.steps.retrain import refit_step

    ctx: CommandContext = context.obj
    folder = ctx.settings.path("decisions")
    file = decision_file(folder, decision) if decision else latest_decision(folder)
    print_result(ctx, refit_step(ctx, file))
