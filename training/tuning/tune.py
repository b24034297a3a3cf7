"""Choose a model's parameters on the latest hours that it may learn from (never on what judges).

Each trial is an arm of a replay: fitted once on what was known before those hours, then asked what
came next, hour after hour, with the popularity of each.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.array_types import Floats, Ints32
from pipeline.errors import UsageError
from pipeline.hours import HourRange
from pipeline.lake.lake import Lake
from pipeline.lake.steps import INGEST, first_filled
from pipeline.settings.learning import ArmSettings, EvaluationSettings, TuneSettings
from pipeline.settings.settings import Settings
from training.data.in_memory import ReplayLog
from training.evaluation.evaluate import PredictsValues
from training.fit.model_check import Facts, facts_of
from training.metrics.bootstrap import Interval, paired_difference
from training.metrics.metrics import Metric, target_values
from training.models import build, parameters_class
from training.parameters import parse_parameters
from training.replay.arms import Arm, arm_of
from training.replay.roll import Run, plan, read_log, roll
from training.replay.store import tidy
from training.replay.table import results_of
from training.tuning.search import (
    Budget,
    SearchStoppedError,
    Tried,
    best_of,
    search,
)
from training.tuning.space import Space, space_of


@dataclass(frozen=True)
class Tuned:
    """What came of it: all trials, the best of them, and what it is worth against the first.

    ``gain`` is over the same targets, which the best was chosen by: expect less elsewhere.  None,
    where the model as configured came to nothing.
    """

    trials: list[Tried]
    best: Tried
    gain: Interval | None
    n_targets: int
    hours: HourRange
    parameters: dict[str, Any]
    system: str
    folder: Path


def tuning_run(lake: Lake, settings: Settings, hours: HourRange, model: str) -> tuple[Run, Arm]:
    """The hours that trials are judged on, in a folder of their own, and the model as configured.

    Raises:
        UsageError: there is no such model, or nothing is known before the hours.
    """
    hourly = settings.replay.model_copy(update={"step": "1h", "seed": settings.tune.seed})
    settings = settings.model_copy(update={"replay": hourly})
    arm = arm_of(settings, trial_arm(model, {}), facts_of(settings))
    if isinstance(build(arm.model.system, arm.model.parameters), PredictsValues):
        raise UsageError(
            f"trials are judged by lists, and {arm.model.system} predicts a value alone"
        )
    first = first_filled(lake, INGEST)
    if first is None or first >= hours.first:
        raise UsageError(
            f"nothing is known before {hours.first}: give less --hours, or a later --to"
        )
    run = plan(lake, settings, hours, [arm])
    folder = settings.path("tuning") / f"{arm.model.system}-{run.folder.name}"
    return dataclasses.replace(run, folder=folder), arm


def tune(
    lake: Lake, run: Run, configured: Arm, budget: Budget, report: Callable[[Tried], None]
) -> Tuned:
    """Make trials, those of earlier runs included, and say which is best.

    Raises:
        UsageError: there is nothing to try, or a range is of no parameter of the model.
        HourglassError: no trial came to an end, or nobody is asked anything in these hours.
    """
    settings, system = run.settings, configured.model.system
    rules = settings.tune
    all_parameters = _all_parameters(system, configured.model.parameters)
    space = _served(space_of(system, all_parameters, rules.space), settings, configured)

    @cache
    def log() -> ReplayLog:
        return read_log(lake, run)

    def values_of(parameters: Mapping[str, Any]) -> tuple[Floats, Ints32]:
        arm = arm_of(settings, trial_arm(configured.settings.model, parameters), facts_of(settings))
        roll(run, log, [arm])
        tidy(run.arm_folder(arm), "")  # no later step needs its weights
        return _values(run, arm, rules.metric, settings.evaluation)

    def mean_of(parameters: Mapping[str, Any]) -> float:
        values, _ = values_of(parameters)
        if not len(values):
            raise SearchStoppedError(f"nobody is asked anything in {run.hours}: choose other hours")
        return float(values.mean())

    file = run.folder / f"trials-{_digest(rules, space, configured)}.log"
    trials = search(file, space, all_parameters, mean_of, budget, rules.seed, report)
    best = best_of(trials)
    values, user = values_of(best.parameters)
    gain = None
    if not trials[0].why:
        gain = paired_difference(
            values,
            values_of(trials[0].parameters)[0],
            user,
            samples=settings.evaluation.bootstrap_samples,
            confidence=settings.evaluation.confidence,
            seed=rules.seed,
        )
    return Tuned(
        trials=trials,
        best=best,
        gain=gain,
        n_targets=len(values),
        hours=run.hours,
        parameters={**configured.model.parameters, **best.parameters},
        system=system,
        folder=run.folder,
    )


def _served(space: Space, settings: Settings, configured: Arm) -> Space:
    """Without the choices that the data set cannot serve, such as a window that it lacks."""

    def is_refused(name: str, value: object, data: Facts) -> bool:
        try:
            arm_of(settings, trial_arm(configured.settings.model, {name: value}), data)
        except UsageError:
            return True
        return False

    def serves(name: str, value: object) -> bool:
        # What is refused whatever the data is, is so beside the other values that are configured.
        return is_refused(name, value, Facts()) or not is_refused(name, value, facts)

    facts, served = facts_of(settings), Space()
    for name, tried in space.items():
        chosen = tried
        if isinstance(tried, tuple):
            chosen = tuple(value for value in tried if serves(name, value))
        if chosen != ():
            served[name] = chosen
    return served


def trial_arm(model: str, parameters: Mapping[str, Any]) -> ArmSettings:
    """A model with some parameters: fitted once, and asked with the popularity of each hour."""
    return ArmSettings(name="trial", model=model, parameters=dict(parameters), mode="offline")


def _all_parameters(system: str, own: Mapping[str, Any]) -> dict[str, Any]:
    chosen = parse_parameters(parameters_class(system), system, own)
    return {
        name: getattr(chosen, name)
        for name in sorted(field.name for field in dataclasses.fields(chosen))
    }


def _values(run: Run, arm: Arm, metric: Metric, rules: EvaluationSettings) -> tuple[Floats, Ints32]:
    """What each target (n,) adds to the metric, and whose it is."""
    results = results_of(run, [arm])
    return target_values(metric, results.rank(arm.name), rules.k), results.column("user")


def _digest(rules: TuneSettings, space: Space, configured: Arm) -> str:
    """Of what decides which trials are made, their number apart."""
    document = {
        "space": {
            name: list(tried) if isinstance(tried, tuple) else tried.model_dump()
            for name, tried in space.items()
        },
        "rules": rules.model_dump(mode="json", include={"metric", "seed"}),
        "model": [configured.model.system, configured.model.parameters],
    }
    text = json.dumps(document, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
