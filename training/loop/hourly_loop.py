"""The loop of one hour: what came in, what is learned of it, who is proven better, who is live.

At the end of hour H: ingest, validate, sessionize; freeze a data set as of the start of the hours
that judge; look whether retraining is worth it; train; score everybody on the same events; roll
back what fell below the baseline; gate; refit; promote; recommend.  Each step is what the command
of its name does, so that a person, Airflow and this loop end in the same state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import HourglassError, NothingHappenedError
from pipeline.hours import Hour, HourRange, parse_duration_h
from pipeline.quality.checks.results import refuse_critical
from pipeline.quality.validate_hours import validate
from pipeline.quality.verdicts import Kind, refuse_critical_hours
from pipeline.text.wording import counted
from pipeline.workspace import CommandContext
from training.gate.judged_hours import QUIET, note_judged
from training.registry.mlflow_registry import registry_of
from training.steps.evaluate import evaluate_step
from training.steps.gate import run_gate
from training.steps.hour_data import HourData
from training.steps.monitor import monitor_champion
from training.steps.promote import promote_step
from training.steps.result import StepResult, Steps
from training.steps.take_in import sessionize_step
from training.steps.train import train_step

if TYPE_CHECKING:
    from training.evaluation.evaluate import Evaluation

_EVENTS: tuple[Kind, ...] = ("events",)
_SESSIONS: tuple[Kind, ...] = ("sessions",)
# The steps that every hour has, in order; what nobody trains or promotes has fewer.
HOUR_STEPS = (
    "validate", "sessionize", "dataset", "train", "evaluate", "monitor", "gate", "recommend",
)  # fmt: skip
# By what the version before called them; the next version leaves these out.
_FORMER_STEPS = {"watch": "monitor"}


@dataclass
class HourDone:
    """What became of an hour; ``outcome`` is the gate's, or skipped, quiet or failed."""

    dataset_id: str = ""
    outcome: str = "failed"
    sentence: str = ""
    leaderboard: StepResult[Evaluation] | None = None
    champion: str = ""
    recommendations: Path | None = None
    seconds: dict[str, float] = field(default_factory=dict)


def run_hour(
    ctx: CommandContext, stop: Hour, steps: Steps, catch_up: bool = False
) -> StepResult[HourDone]:
    """The whole loop at the end of the hour before ``stop``; running it again changes nothing.

    All that has arrived is taken in before (`training.steps.take_in.take_in`).  With
    ``catch_up`` the hours before that ended unjudged are judged first.

    Raises:
        HourglassError: a step refuses or fails; what was done before it stands.
    """
    settings, lake = ctx.settings, ctx.lake
    judged = HourRange(stop - parse_duration_h(settings.evaluation.horizon), stop)
    with steps("validate") as done:
        refuse_critical_hours(
            validate(lake, settings, judged, _EVENTS, None, ctx.act(), ctx.writing)
        )
        done(f"{judged}: no critical expectation failed")
    with steps("sessionize") as done:
        done(sessionize_step(ctx, stop).line)
    refuse_critical_hours(validate(lake, settings, judged, _SESSIONS, None, ctx.act(), ctx.writing))
    hour = learn(ctx, stop, steps, catch_up)
    facts = {
        "hour": str(stop - 1),
        "dataset_id": hour.dataset_id,
        "outcome": hour.outcome,
        "sentence": hour.sentence,
        "champion": hour.champion,
        "recommendations": hour.recommendations,
        "seconds": _with_former_names(hour.seconds),
    }
    return StepResult(hour, f"{stop - 1}: {hour.outcome}; {hour.champion} is live", facts)


def learn(ctx: CommandContext, stop: Hour, steps: Steps, catch_up: bool = False) -> HourDone:
    """From sessions to recommendations as of ``stop``.

    Whatever fails among the challengers, and even where there is no data set to judge them on, the
    live model recommends.

    Raises:
        HourglassError: the first step that failed; those that do not need it are done.
    """
    from training.steps.recommend import champion_at, recommend_step

    tries, hour = _Tries(steps), HourDone()
    as_of = stop - parse_duration_h(ctx.settings.evaluation.horizon)
    if catch_up:
        with tries("judge") as done:
            done(_caught_up(ctx, as_of, steps))
    try:
        _challenge(ctx, stop, tries, hour)
    except NothingHappenedError as error:
        hour.outcome, hour.sentence = QUIET, str(error)
        note_judged(ctx.settings, as_of, QUIET, hour.sentence)
    try:
        with steps("recommend") as done:
            live = champion_at(registry_of(ctx), stop)
            published = recommend_step(ctx, live, stop.start)
            done(published.line)
    except HourglassError as error:
        steps.print_line("recommend", f"failed: {error}")
        tries.refuse_failed()
        raise
    tries.refuse_failed()
    hour.champion, hour.recommendations = live.model_id, published.value.path
    hour.seconds = dict(steps.seconds)
    return hour


def _challenge(ctx: CommandContext, stop: Hour, tries: _Tries, hour: HourDone) -> None:
    """Freeze, train, evaluate, monitor, gate and promote, as far as each can be done.

    Raises:
        NothingHappenedError: the hours hold nothing to judge anybody on.
    """
    data = None
    with tries("dataset") as done:
        data, sentence = _frozen(ctx, stop)
        hour.dataset_id = data.folder.name
        done(sentence)
    if data is None:
        return
    with tries("train") as done:
        done(_trained(ctx, data))
    with tries("evaluate") as done:
        hour.leaderboard = evaluate_step(ctx, data)
        done(hour.leaderboard.line)
    if hour.leaderboard is None:
        return
    with tries("monitor") as done:
        done(monitor_champion(ctx, data).line)
    with tries("gate") as done:
        decided = run_gate(ctx, data)
        verdict = decided.value
        hour.outcome = "block" if verdict.blocks else verdict.outcome
        hour.sentence = verdict.sentence
        done(decided.line)
    if hour.outcome == "promote" and verdict.path is not None:
        with tries("promote") as done:
            done(_promoted(ctx, verdict.path))


def _caught_up(ctx: CommandContext, newest: Hour, steps: Steps) -> str:
    """Judge the hours before ``newest`` that ended unjudged.

    Raises:
        HourglassError: one of them could not be judged; the others were.
    """
    from training.loop.catch_up import beyond_sentence, catch_up, refuse_left_out

    done = catch_up(ctx, newest, lambda line: steps.print_line("judge", line))
    if beyond := beyond_sentence(done.waiting.beyond):
        steps.print_line("judge", beyond)
    refuse_left_out(done)
    return ", ".join(str(hour) for hour, *_ in done.judged) or "no earlier hour waits"


def _frozen(ctx: CommandContext, stop: Hour) -> tuple[HourData, str]:
    """The data set that the hours before ``stop`` judge, and what is in it."""
    from pipeline.dataset.freeze import freeze_and_validate

    as_of = stop - parse_duration_h(ctx.settings.evaluation.horizon)
    folder, outcome = freeze_and_validate(ctx, ctx.settings, as_of)
    refuse_critical([outcome])
    data = HourData(ctx, folder)
    manifest = data.manifest
    return data, (
        f"{folder.name} as of {as_of}: {counted(manifest.n_targets, 'event')}, "
        f"{counted(manifest.n_users, 'user')}, {counted(manifest.n_items, 'item')}"
    )


def _promoted(ctx: CommandContext, decision: Path) -> str:
    from training.steps.retrain import refit_step

    if ctx.settings.gate.approval:
        return f"waits for `hourglass approve --decision {decision.name} --by NAME`"
    refit = refit_step(ctx, decision).value if ctx.settings.retrain.refit else None
    return promote_step(ctx, decision, refit.model_id if refit else None).line


def _trained(ctx: CommandContext, data: HourData) -> str:
    from training.fit.train import TrainOptions
    from training.steps.retrain import models_to_train, retrain_step

    worth = retrain_step(ctx, data)
    lines = models_to_train(ctx.settings, worth.value)
    options = TrainOptions(anew=worth.value.reasons_by_entry)
    names = ", ".join(model.line for model in train_step(ctx, data, lines, options))
    is_told = ctx.settings.retrain.skip or worth.value.anew
    return f"{names}; {worth.line}" if is_told else names


def _with_former_names(seconds: Mapping[str, float]) -> dict[str, float]:
    """Seconds by step; one that was renamed stands there under its former name too, for now."""
    former = {old: seconds[new] for old, new in _FORMER_STEPS.items() if new in seconds}
    return {**seconds, **former}


class _Tries:
    """Steps that are allowed to fail; the first that did is told at the end."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._failed: list[HourglassError] = []

    @contextmanager
    def __call__(self, name: str) -> Iterator[Callable[[str], None]]:
        try:
            with self._steps(name) as done:
                yield done
        except NothingHappenedError:
            raise
        except HourglassError as error:
            self._failed.append(error)
            self._steps.print_line(name, f"failed: {error}")

    def refuse_failed(self) -> None:
        """Let an hour pass of which every step was done.

        Raises:
            HourglassError: the first that failed.
        """
        if self._failed:
            raise self._failed[0]
