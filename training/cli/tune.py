"""``hourglass tune``: parameters chosen on the latest hours that a model may learn from."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml

from pipeline.text.wording import counted
from pipeline.workspace import CommandContext

if TYPE_CHECKING:
    from pipeline.hours import HourRange
    from training.tuning.search import Tried
    from training.tuning.tune import Tuned

_LOCK_WAIT_S = 10.0
_SHOWN = 10
_FIRST = " (as configured)"


def tune(
    context: typer.Context,
    model: Annotated[
        str,
        typer.Argument(help="a configured model, one of training/configs, or a YAML file"),
    ],
    stop: Annotated[
        str,
        typer.Option(
            "--to", help="end of the hours that trials are judged on; last: the latest data set's"
        ),
    ] = "last",
    hours: Annotated[
        str | None, typer.Option(help="how many before it, like 24h; default: tune.hours")
    ] = None,
    trials: Annotated[
        int | None, typer.Option(help="earlier ones included; default: tune.trials", min=1)
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(help="begin no trial after so long", min=0.0)
    ] = None,
) -> None:
    """Search a model's parameters, on hours before those that judge; goes on after a kill."""
    from pipeline.files import write_text
    from training.fit.model_check import Facts, check_models
    from training.replay.store import run_lock
    from training.tuning.search import Budget
    from training.tuning.tune import tune as search_parameters
    from training.tuning.tune import tuning_run

    ctx: CommandContext = context.obj
    settings = ctx.settings
    check_models(settings, Facts())
    span = _span(ctx, stop, hours or settings.tune.hours)
    run, configured = tuning_run(ctx.lake, settings, span, model)
    ends_s = None if minutes is None else time.monotonic() + 60 * minutes
    budget = Budget(
        trials or settings.tune.trials, lambda: ends_s is not None and time.monotonic() >= ends_s
    )
    with run_lock(run.folder, _LOCK_WAIT_S, lambda line: ctx.console.print(line, markup=False)):
        tuned = search_parameters(ctx.lake, run, configured, budget, _teller(ctx))
        text = yaml.safe_dump(
            {"system": tuned.system, "parameters": tuned.parameters}, sort_keys=False
        )
        # Named by what it says: a file that the settings list never says something else.
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        name = model.rpartition("/")[2].removesuffix(".yaml")
        file = run.folder / f"{name}-{digest}.yaml"
        write_text(file, text)
    facts = {
        "file": file,
        "hours": str(tuned.hours),
        "targets": tuned.n_targets,
        "trials": len(tuned.trials),
        "best": tuned.best.parameters,
        "value": tuned.best.value,
        "gain": None if tuned.gain is None else list(vars(tuned.gain).values()),
    }
    ctx.print_result(f"{_told(tuned, settings.tune.metric, settings.evaluation.k)}\n{file}", facts)


def _span(ctx: CommandContext, stop: str, duration: str) -> HourRange:
    from pipeline.dataset.by_time import dataset_folder
    from pipeline.dataset.manifest import read_manifest
    from pipeline.hours import Hour, HourRange, parse_duration_h

    if stop == "last":
        end = read_manifest(dataset_folder(ctx.settings.path("shards"), stop, "--to")).as_of
    else:
        end = Hour.parse(stop)
    return HourRange(end - parse_duration_h(duration), end)


def _teller(ctx: CommandContext) -> Callable[[Tried], None]:
    def tell(trial: Tried) -> None:
        what = trial.why or f"{trial.value:.4f}"
        ctx.console.print(f"trial {trial.number}: {what}  {_text(trial.parameters)}", markup=False)

    return tell


def _told(tuned: Tuned, metric: str, k: int) -> str:
    """The best trials, and what the best is worth against the model as configured."""
    good = sorted(
        (trial for trial in tuned.trials if not trial.why), key=lambda trial: -trial.value
    )
    lines = [f"{metric}@{k} of {counted(tuned.n_targets, 'event')} in {tuned.hours}, best first:"]
    lines += [
        f"  {trial.value:.4f}  trial {trial.number}{_FIRST if not trial.number else ''}: "
        f"{_text(trial.parameters)}"
        for trial in good[:_SHOWN]
    ]
    if tuned.best.number and tuned.gain is not None:
        gain = tuned.gain
        lines.append(
            f"the best minus the model as configured: {gain.mean:+.4f} "
            f"[{gain.lower:+.4f}, {gain.upper:+.4f}] on the events that it was chosen by: expect "
            "less of new ones"
        )
    elif not tuned.best.number:
        lines.append("nothing that was tried is better than the model as configured")
    return "\n".join(lines)


def _text(parameters: dict[str, Any]) -> str:
    return ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in parameters.items()
    )
