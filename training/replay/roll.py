"""Rolling history: at each step every arm is fitted on what was known, then all are asked."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.dataset.inputs import Frame, inputs
from pipeline.dataset.rows.arrays import index_of_items
from pipeline.dataset.rows.event_log import FlatLog, start_us
from pipeline.errors import HourglassError, UsageError
from pipeline.hours import HourRange, parse_duration_h
from pipeline.lake.lake import Lake, State
from pipeline.lake.steps import INGEST, first_filled
from pipeline.lake.tables import ITEMS, USERS
from pipeline.settings.settings import Settings
from pipeline.version import code_version
from training.data.in_memory import InMemoryDataset, InMemoryDatasets, ReplayLog, in_memory_test_set
from training.metrics.ranking import rank_targets
from training.replay.arms import (
    Arm,
    ArmState,
    ShouldRetrain,
    always,
    fitted,
    is_due,
    with_current_popularity,
)
from training.replay.store import (
    COLUMNS,
    StepRanks,
    StepResult,
    read_state,
    read_step,
    state_name,
    step_path,
    tidy,
    write_state,
    write_step,
)

_SETTINGS = ("dataset", "sessions", "evaluation")
_THRESHOLDS = ("min_item_events", "min_session_events", "min_user_sessions")
#: Told before each step of each arm: its hours, the arm's name, steps done and steps in all.
Report = Callable[[HourRange, str, int, int], None]


@dataclass(frozen=True)
class Run:
    """One replay: what is rolled, by which rules, and where its results lie."""

    settings: Settings
    hours: HourRange
    step_h: int
    folder: Path
    read_hours: HourRange
    state: State

    @property
    def steps(self) -> list[HourRange]:
        """The hours of each step."""
        return list(self.hours.steps(self.step_h))

    def arm_folder(self, arm: Arm) -> Path:
        """Where the results of an arm lie."""
        return self.folder / "arms" / f"{arm.model.system}-{arm.digest}"


def plan(lake: Lake, settings: Settings, hours: HourRange, arms: Sequence[Arm]) -> Run:
    """The run of these hours; the same settings, events and code make the same run.

    Raises:
        UsageError: the hours begin before the first event, so that nothing is known.
        HourglassError: an hour is missing in the lake, or was filled by other rules.
    """
    lake.refuse_foreign()
    state = {**lake.state(), **{spec.name: lake.snapshot(spec) for spec in (ITEMS, USERS)}}
    if not arms:
        raise UsageError("a replay needs arms: list some under replay.arms")
    first = first_filled(lake, INGEST, state)
    if first is None or first >= hours.first:
        raise UsageError(
            f"--from {hours.first}: no event is known before it: begin later, or run "
            "`hourglass ingest` and `hourglass backfill`"
        )
    # All of it, whatever the arms look at: their results are kept side by side, in one log's codes.
    reached = HourRange(first, hours.stop)
    frame = Frame(first, hours.first, hours.stop)
    went_in = {
        **inputs(lake, settings, frame, reached, state),
        "metadata": [state[spec.name] for spec in (ITEMS, USERS)],
        "settings": {name: getattr(settings, name).model_dump(mode="json") for name in _SETTINGS},
        "seed": settings.replay.seed,
        "step": settings.replay.step,
        "hours": str(hours),
        "code": code_version(),
    }
    digest = hashlib.sha256(json.dumps(went_in, sort_keys=True).encode()).hexdigest()[:16]
    step_h = parse_duration_h(settings.replay.step)
    return Run(settings, hours, step_h, settings.path("replay") / digest, reached, state)


@dataclass(frozen=True)
class _Questions:
    """The frozen events of one step, cut when the first arm asks for them."""

    datasets: InMemoryDatasets
    hours: HourRange

    @cached_property
    def test_set(self) -> InMemoryDataset | None:
        """In a vocabulary of all items seen before the end of the step; None without an event."""
        log, settings = self.datasets.log, self.datasets.settings
        items = np.flatnonzero(log.item_first_us < start_us(self.hours.stop))
        if settings.dataset.cold_items:
            # An arm may recommend what nobody has met yet: it costs it a place as any other.
            items = np.arange(len(log.item_ids))
        base = self._base()
        test_set = (
            None if base is None else in_memory_test_set(log, settings, base, self.hours, items)
        )
        return test_set if test_set is not None and len(test_set.data.histories.item) else None

    def _base(self) -> InMemoryDataset | None:
        """A cut that names event types, contexts, features; models have the rest of their own."""
        rules = self.datasets.settings.dataset
        reach_h = parse_duration_h(rules.window) + parse_duration_h(rules.history)
        wider = {"window": f"{reach_h}h", **dict.fromkeys(_THRESHOLDS, 1)}
        for dataset_rules in (rules, rules.model_copy(update=wider)):
            with suppress(HourglassError):
                return self.datasets.train(dataset_rules, self.hours.first)[0]
        return None


def roll(
    run: Run,
    read: Callable[[], ReplayLog],
    arms: Sequence[Arm],
    report: Report = lambda _hours, _arm, _done, _all: None,
    should_retrain: ShouldRetrain = always,
) -> None:
    """Do all steps that are not done yet.

    Args:
        run: what is rolled.
        read: reads the log, which is needed only where something is left to do.
        arms: side by side.
        report: is told how it goes.
        should_retrain: asked of arms that skip fits.

    Raises:
        HourglassError: an arm's first window holds nothing to learn from, or a fit fails.
    """
    steps = run.steps
    begin = {arm.name: done_steps(run, arm) for arm in arms}
    total = len(steps) * len(arms)
    if sum(begin.values()) == total:
        return
    log = read()
    states = {arm.name: _results_of(run, arm, steps, begin[arm.name], log) for arm in arms}
    done = sum(begin.values())
    cuts = InMemoryDatasets(log, run.settings)
    for number, hours in enumerate(steps):
        questions = _Questions(cuts, hours)
        for arm in arms:
            if number < begin[arm.name]:
                continue
            report(hours, arm.name, done, total)
            states[arm.name] = _run_step(
                run, arm, states[arm.name], number, questions, should_retrain
            )
            done += 1


def _run_step(
    run: Run,
    arm: Arm,
    state: ArmState | None,
    number: int,
    questions: _Questions,
    should_retrain: ShouldRetrain,
) -> ArmState:
    """One step of one arm: fit where it is due, ask, write down."""
    folder, fit = run.arm_folder(arm), None
    cuts, hours = questions.datasets, questions.hours
    if is_due(arm, state, number):
        state, fit = fitted(arm, state, cuts, hours.first, should_retrain)
    if state is None:
        raise AssertionError("the first step is always due")
    weights = state_name(state)
    if fit is not None:
        write_state(folder, state, cuts.log)
    test_set = questions.test_set
    began_s = time.perf_counter()
    step_ranks, n_known = _ranks(arm, state, cuts, hours, test_set)
    facts: dict[str, Any] = {
        "arm": arm.name,
        "hours": str(hours),
        "fitted": fit is not None,
        "fit_s": fit.seconds if fit else 0.0,
        "cut_s": fit.build_s if fit else 0.0,
        "learned_events": fit.learned_events if fit else 0,
        "score_s": time.perf_counter() - began_s,
        "n_items": len(state.encoding.items),
        "model_as_of": str(state.as_of),
        "n_targets_it_knows": n_known,
        "weights": weights,
    }
    write_step(folder, hours.first, StepResult(step_ranks, facts))
    tidy(folder, weights)
    return state


def _ranks(
    arm: Arm,
    state: ArmState,
    datasets: InMemoryDatasets,
    hours: HourRange,
    test_set: InMemoryDataset | None,
) -> tuple[StepRanks, int]:
    """The ranks of the targets, and how many of these the arm has in its vocabulary."""
    if test_set is None:
        return StepRanks(**{name: np.empty(0, kind) for name, kind in COLUMNS.items()}), 0
    log, settings = datasets.log, datasets.settings
    since = hours.first - test_set.data.manifest.popularity_window_h
    with_current_popularity(arm, state, log, hours, since)
    ranks = rank_targets(
        state.model,
        test_set.data,
        settings.evaluation,
        model_id=arm.name,
        item_ids=log.item_ids[state.encoding.items],
    )
    user_codes = np.searchsorted(log.user_ids, test_set.data.histories.user_ids)
    item = test_set.encoding.items[ranks.item - 1]
    # Where there are few items, the last of all would still be one of the first k.
    is_miss = index_of_items(log, state.encoding.items)[item] < 0
    rank = np.where(is_miss, np.maximum(ranks.rank, settings.evaluation.k + 1), ranks.rank)
    step_ranks = StepRanks(
        user=user_codes[ranks.user].astype(np.int32),
        time_us=ranks.time_us,
        item=item.astype(np.int32),
        known=log.item_first_us[item] < start_us(hours.first),
        item_age_us=ranks.time_us - log.item_first_us[item],
        rank=rank.astype(np.int32),
    )
    return step_ranks, int((~is_miss).sum())


def done_steps(run: Run, arm: Arm) -> int:
    """How many steps of an arm are done, from the first on."""
    folder = run.arm_folder(arm)
    for number, hours in enumerate(run.steps):
        if not step_path(folder, hours.first).is_file():
            return number
    return len(run.steps)


def _results_of(
    run: Run, arm: Arm, steps: Sequence[HourRange], done: int, log: FlatLog
) -> ArmState | None:
    """What an arm had learned when it was left."""
    if not done or done == len(steps):
        return None
    folder = run.arm_folder(arm)
    return read_state(folder, read_step(folder, steps[done - 1].first).facts["weights"], arm, log)
