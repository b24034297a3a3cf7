"""Hours that ended while another was worked on: judged later, each by the models of its time.

A run takes the newest filled hour.  Where more than one has ended since the last run, those between
are judged first, in order: the live model by the monitor, and each line's latest fit that knows
nothing of the hour by the gate, whose look counts with those of the hours around it.  Nothing but
baselines is trained for them, and nobody is promoted by them: that is for the newest hour, whose
decision counts their looks.

Example: hours 1 to 4 are filled while the run of hour 1 is busy.  The next run takes hour 4; it
judges 2 and 3 by the fits as of hour 1, then fits as of hour 4 and judges these on hour 4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from pipeline.dataset.manifest import read_manifest
from pipeline.errors import HourglassError, NothingHappenedError
from pipeline.hours import Hour, HourRange, contiguous, parse_duration_h
from pipeline.lake.stale_hours import settled_state
from pipeline.lake.steps import INGEST, SESSIONIZE
from pipeline.quality.checks.results import refuse_critical
from pipeline.quality.validate_hours import validate
from pipeline.quality.verdicts import quality_passed, refuse_critical_hours
from pipeline.settings.settings import Settings
from pipeline.text.wording import counted
from pipeline.workspace import CommandContext
from training.fit.model_configs import configured
from training.fit.model_lines import fit_times_of, latest_model_of
from training.fit.train import TrainOptions
from training.gate.judged_hours import PASSED, QUIET, judged_hours, note_judged
from training.registry.candidates import candidates, remember
from training.registry.mlflow_registry import champion, registry_of
from training.registry.model_card import read_card
from training.registry.model_store import available
from training.steps.evaluate import evaluate_step
from training.steps.gate import run_gate
from training.steps.hour_data import HourData
from training.steps.monitor import monitor_champion
from training.steps.result import StepResult
from training.steps.train import train_step

_DAY_H = 24


@dataclass(frozen=True)
class UnjudgedHours:
    """First hours of what is to be judged, in order, and of what is too long ago for that."""

    hours: tuple[Hour, ...]
    beyond: tuple[Hour, ...]
    due: bool  # whether the newest hours themselves are still to be judged


@dataclass(frozen=True)
class CaughtUp:
    """What became of each hour: its outcome and sentence, or why it could not be judged."""

    waiting: UnjudgedHours
    judged: tuple[tuple[Hour, str, str], ...] = ()
    failed: tuple[tuple[Hour, str], ...] = ()


def unjudged_hours(ctx: CommandContext, newest: Hour) -> UnjudgedHours:
    """The filled hours with events that nobody judged yet, up to those that begin with ``newest``.

    At most `retrain.catch_up` back.  Hours from before the first fit are nobody's to judge, and
    none that was filled before the last judged one is beyond.
    """

    settings = ctx.settings
    span = settings.retrain.catch_up
    limit = newest - (0 if span is None else parse_duration_h(span))
    before = judged_hours(settings, HourRange(min(limit, newest - _DAY_H), newest + 1))
    if not before - {newest}:
        before = judged_hours(settings)  # the last one, however long ago
    last = max((hour for hour in before if hour < newest), default=limit - 1)
    horizon_h = parse_duration_h(settings.evaluation.horizon)
    hours = HourRange(min(limit, last + 1), newest + horizon_h)
    filled = ctx.lake.filled(SESSIONIZE, hours).keys()
    arrived = ctx.lake.filled(INGEST, hours).keys()

    def is_whole(first: Hour) -> bool:
        judging = set(ctx.horizon_from(first))
        return judging <= filled and bool(judging & arrived)

    # What judges the newest hour judges none of these: no event counts twice, and it may decide.
    missing = [
        hour
        for hour in HourRange(hours.first, newest)
        if (newest.index - hour.index) % horizon_h == 0
        and hour not in before
        and (hour >= limit or hour > last)
        and is_whole(hour)
    ]
    since = _first_fit(settings) if missing else None
    missing = [hour for hour in missing if since is not None and hour >= since]
    return UnjudgedHours(
        tuple(hour for hour in missing if hour >= limit),
        tuple(hour for hour in missing if hour < limit),
        newest not in before,
    )


def judge_step(
    ctx: CommandContext, dataset: Path, plan: bool, print_line: Callable[[str], None]
) -> StepResult[CaughtUp]:
    """Judge what waits before a data set's own hours; with ``plan`` only say what that is.

    Raises:
        HourglassError: as `catch_up`.
    """
    newest = read_manifest(dataset).as_of
    done = CaughtUp(unjudged_hours(ctx, newest)) if plan else catch_up(ctx, newest, print_line)
    unjudged = done.waiting
    hours = unjudged.hours if plan else [hour for hour, *_ in done.judged]
    named = ", ".join(str(hour) for hour in hours)
    sentences = [f"{'to be judged' if plan else 'judged'}: {named}"] if named else []
    sentences += [text for text in (beyond_sentence(unjudged.beyond),) if text]
    if not done.failed:
        sentences.append(
            f"{newest} is next" if unjudged.due else f"{newest} was judged already: nothing to do"
        )
    facts = {
        "dataset_id": dataset.name,
        "due": unjudged.due,
        "waiting": [str(hour) for hour in unjudged.hours],
        "judged": [
            {"hour": str(hour), "outcome": outcome, "sentence": sentence}
            for hour, outcome, sentence in done.judged
        ],
        "beyond": [str(hour) for hour in unjudged.beyond],
    }
    return StepResult(done, "; ".join(sentences), facts)


def catch_up(ctx: CommandContext, newest: Hour, print_line: Callable[[str], None]) -> CaughtUp:
    """Judge what waits, in order; one hour that cannot be judged keeps no other from it.

    Done again, it finds nothing left but what could not be judged.

    Args:
        ctx: of the work folder.
        newest: first of the hours that are judged after these, as ever.
        print_line: is told of each hour.

    Raises:
        HourglassError: lake or registry cannot be read.
    """
    unjudged = unjudged_hours(ctx, newest)
    judged: list[tuple[Hour, str, str]] = []
    failed: list[tuple[Hour, str]] = []
    for hour in unjudged.hours:
        try:
            outcome, sentence = judge_hour(ctx, hour)
        except NothingHappenedError as error:
            outcome, sentence = QUIET, str(error)
            note_judged(ctx.settings, hour, outcome, sentence)
        except HourglassError as error:
            failed.append((hour, str(error)))
            print_line(f"{hour}: not judged: {error}")
            continue
        judged.append((hour, outcome, sentence))
        print_line(f"{hour}: {outcome}: {sentence}")
    return CaughtUp(unjudged, tuple(judged), tuple(failed))


def judge_hour(ctx: CommandContext, first: Hour) -> tuple[str, str]:
    """Outcome and sentence of the hours that begin with ``first``, by the models of their time.

    Raises:
        NothingHappenedError: the hours hold no event that anybody could be judged on.
        HourglassError: a step refuses or fails.
    """
    from pipeline.dataset.freeze import freeze_and_validate

    settings = ctx.settings
    registry = registry_of(ctx)
    live = champion(registry)
    if live is not None and read_card(available(registry, live.model_id)).as_of > first:
        sentence = f"{live.model_id}, which is live, learned from {first}: nobody is judged on it"
        note_judged(settings, first, PASSED, sentence)
        return PASSED, sentence
    _validated(ctx, ctx.horizon_from(first))
    dataset, outcome = freeze_and_validate(ctx, settings, first)
    refuse_critical([outcome])
    data = HourData(ctx, dataset)
    baselines = [configured(settings, name) for name in settings.gate.baselines]
    train_step(ctx, data, baselines, TrainOptions())
    fits = _fits_at(settings, first, dataset)
    evaluate_step(ctx, data)
    monitored = monitor_champion(ctx, data).line
    if not fits:
        sentence = f"no candidate has a sound fit from before {first}; {monitored}"
        note_judged(settings, first, PASSED, sentence)
        return PASSED, sentence
    verdict = run_gate(ctx, data, fits).value
    return verdict.outcome, f"{verdict.sentence}; {monitored}"


def _validated(ctx: CommandContext, hours: HourRange) -> None:
    """Hold hours to their expectations that nobody held to them before.

    Raises:
        HourglassError: a critical one failed.
    """
    settled = settled_state(ctx.lake, ctx.settings, hours.stop)
    if quality_passed(ctx.lake, HourRange(hours.first, hours.first), hours, settled) is None:
        refuse_critical_hours(validate(ctx.lake, ctx.settings, hours, alone=ctx.writing))


def _fits_at(settings: Settings, first: Hour, dataset: Path) -> tuple[str, ...]:
    """Have each candidate line's latest fit of that time stand for a data set; names of the lines.

    A line that had none, or none that the gate found sound, is left out.
    """
    own = candidates(settings, dataset.name)
    fits = {
        name: model_id
        for name in settings.candidates
        if name not in own and (model_id := latest_model_of(settings, name, first + 1)) is not None
    }
    remember(settings, dataset.name, fits)
    return tuple(name for name in settings.candidates if name in own or name in fits)


def _first_fit(settings: Settings) -> Hour | None:
    """The time of the first fit of a candidate that still is there; None where there is none."""
    times = [time for name in settings.candidates for time in fit_times_of(settings, name)]
    return min(times, default=None)


def beyond_sentence(hours: Iterable[Hour]) -> str:
    """What is said of hours that are too long ago; empty where there are none."""
    parts = contiguous(hours)
    if not parts:
        return ""
    named = ", ".join(str(period) for period in parts)
    return f"{named} stay unjudged, longer ago than retrain.catch_up: set it higher to judge them"


def refuse_left_out(done: CaughtUp) -> None:
    """Let pass where every hour was judged.

    Raises:
        HourglassError: naming the first that was not.
    """
    if done.failed:
        hour, reason = done.failed[0]
        hours = counted(len(done.failed), "hour")
        raise HourglassError(f"{hours} could not be judged; {hour}: {reason}")
