"""The loop of one hour: what came in, what is learned of it, who is proven better, who is live.

At the end of hour H: ingest, validate, sessionize; freeze a data set as of the start of the hours
that judge; look whether retraining is worth it; train; score everybody on the same events; take
back what fell below its floor; gate; refit; promote; recommend.  Each step is what the command of
its name does, so that a person, Airflow and this loop end in the same state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import HourglassError, NothingHappenedError
from pipeline.hours import Hour, HourRange, parse_duration_h
from pipeline.verdicts import Kind
from pipeline.workspace import Workspace
from training.registry import Registry, registry_of
from training.steps import Steps

if TYPE_CHECKING:
    from training.evaluation import Evaluation


_EVENTS: tuple[Kind, ...] = ("events",)
_SESSIONS: tuple[Kind, ...] = ("sessions",)


@dataclass(frozen=True)
class HourDone:
    """What became of an hour; ``outcome`` is the gate's, or skipped, quiet or failed."""

    stop: Hour
    dataset_id: str
    outcome: str
    sentence: str
    champion: str
    recommendations: Path
    evaluation: Evaluation | None
    seconds: dict[str, float] = field(default_factory=dict)


def run_hour(space: Workspace, stop: Hour, steps: Steps) -> HourDone:
    """The whole loop at the end of the hour before ``stop``; running it again changes nothing.

    Raises:
        HourglassError: a step refuses or fails; what was done before it stands.
    """
    take_in(space, stop, steps)
    return learn(space, frozen_until(space, stop, steps), stop, steps)


def take_in(space: Workspace, stop: Hour, steps: Steps) -> None:
    """Everything that arrived before ``stop``, validated and in sessions.

    Raises:
        HourglassError: the hours that are to judge are critical, or sessions cannot be made.
    """
    from pipeline import ingest
    from pipeline.metadata import load_metadata
    from pipeline.quality.outcomes import refuse_critical
    from pipeline.sessionize import sessionize
    from pipeline.staleness import stale_hours
    from pipeline.validation import validate

    settings, lake = space.settings, space.lake
    judged = HourRange(stop - parse_duration_h(settings.evaluation.horizon), stop)
    with steps("ingest") as done, space.writing():
        load_metadata(lake, settings)
        arrived = HourRange(Hour(0), stop)
        taken = ingest.ingest(space.spark, lake, settings, space.clock, arrived)
        done(f"{taken.accepted:,} new events from {taken.files:,} files")
    with steps("validate") as done, space.writing():
        outcomes = validate(lake, settings, judged, _EVENTS)
        refuse_critical(outcomes)
        done(f"{judged}: no critical expectation failed")
    with steps("sessionize") as done, space.writing():
        stale = stale_hours(lake, settings, stop)
        if stale:
            made = sessionize(space.spark, lake, settings, HourRange(stale[0], stop))
            done(f"{made.events:,} events of {len(stale):,} hours in sessions")
        else:
            done("all hours are filled already")
        refuse_critical(validate(lake, settings, judged, _SESSIONS))


def frozen_until(space: Workspace, stop: Hour, steps: Steps) -> Path:
    """The data set that the hours before ``stop`` judge.

    Raises:
        HourglassError: an hour that it learns from, or it itself, is critical.
    """
    from pipeline.dataset import freeze, read_manifest
    from pipeline.dataset_quality import judge_dataset
    from pipeline.quality.outcomes import refuse_critical
    from pipeline.verdicts import refuse_learning_from

    rules = space.settings.dataset
    as_of = stop - parse_duration_h(space.settings.evaluation.horizon)
    reach_h = parse_duration_h(rules.window) + parse_duration_h(rules.history)
    with steps("dataset") as done:
        refuse_learning_from(space.lake, HourRange(as_of - reach_h, as_of))
        folder = freeze(space.spark, space.lake, space.settings, as_of)
        refuse_critical([judge_dataset(space.lake, space.settings, folder)])
        manifest = read_manifest(folder)
        done(
            f"{folder.name} as of {as_of}: {manifest['n_targets']:,} events, "
            f"{manifest['n_users']:,} users, {manifest['n_items']:,} items"
        )
    return folder


def learn(space: Workspace, dataset: Path, stop: Hour, steps: Steps) -> HourDone:
    """From a data set to recommendations as of ``stop``.

    Whatever fails among the challengers, the live model is watched and recommends.

    Raises:
        HourglassError: a step failed; the others are done.
    """
    from training.commands import evaluate_all
    from training.decision import read_decision
    from training.gate_command import decide
    from training.promote_command import promoted
    from training.recommend_command import live_at, recommend_all
    from training.retraining import refitted
    from training.watch_command import watched

    settings, registry = space.settings, registry_of(space)
    tries = _Tries(steps)
    outcome, sentence, found = "failed", "", None
    with tries("train") as done:
        done(_trained(space, registry, dataset))
    with tries("evaluate") as done:
        found = evaluate_all(space, dataset)
        done(f"{found.n_targets:,} next events from {found.start} on")
    if found is not None:
        with tries("watch") as done:
            done(watched(space, dataset).sentence)
        with tries("gate") as done:
            verdict = decide(space, dataset)
            outcome = "block" if verdict.blocks else verdict.outcome
            sentence = verdict.sentence
            done(f"{outcome}: {sentence}")
        if outcome == "promote" and verdict.path is not None:
            with tries("promote") as done:
                if settings.gate.approval:
                    done(f"waits for `hourglass approve --decision {verdict.path.name} --by NAME`")
                else:
                    refit = refitted(space, registry, read_decision(verdict.path))
                    made = promoted(space, verdict.path, refit.model_id if refit else None)
                    done(made.sentence)
    elif tries.quiet:
        outcome, sentence = "quiet", tries.quiet
    with steps("recommend") as done:
        live = live_at(registry, stop)
        published = recommend_all(space, live, stop.start)
        done(f"{published.rows:,} rows for {published.users:,} users by {live.model_id}")
    tries.refuse_failed()
    return HourDone(
        stop=stop,
        dataset_id=dataset.name,
        outcome=outcome,
        sentence=sentence,
        champion=live.model_id,
        recommendations=published.path,
        evaluation=found,
        seconds=dict(steps.seconds),
    )


def _trained(space: Workspace, registry: Registry, dataset: Path) -> str:
    from training.retraining import lines_to_train, look
    from training.train import TrainOptions
    from training.train_command import train_all

    worth = look(space, registry, dataset)
    lines = lines_to_train(space.settings, worth)
    names = ", ".join(one.name for one in train_all(space, dataset, lines, TrainOptions()))
    return f"{names}; {worth.sentence}" if space.settings.retrain.skip else names


class _Tries:
    """Steps that are allowed to fail; the first that did is told at the end."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._failed: list[HourglassError] = []
        self.quiet = ""

    @contextmanager
    def __call__(self, name: str) -> Iterator[Callable[[str], None]]:
        try:
            with self._steps(name) as done:
                yield done
        except NothingHappenedError as error:
            self.quiet = str(error)
        except HourglassError as error:
            self._failed.append(error)
            self._steps.say(name, f"failed: {error}")

    def refuse_failed(self) -> None:
        """Let an hour pass of which every step was done.

        Raises:
            HourglassError: the first that failed.
        """
        if self._failed:
            raise self._failed[0]
