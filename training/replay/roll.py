"""Rolling history: at each step every arm is fitted on what was known, then all are asked."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.dataset.as_known.arrivals import arrivals_digest, read_arrivals
from pipeline.dataset.as_known.late_events import read_late_events
from pipeline.dataset.inputs import Frame, inputs
from pipeline.dataset.rows.event_log import FlatLog
from pipeline.errors import UsageError
from pipeline.hours import HourRange, parse_duration_h
from pipeline.lake.lake import Lake, State
from pipeline.lake.steps import INGEST, first_filled
from pipeline.lake.tables import ITEMS, USERS
from pipeline.settings.settings import Settings
from pipeline.version import code_version
from training.data.in_memory import InMemoryDatasets, ReplayLog, read_replay_log
from training.replay.arms import (
    Arm,
    ArmState,
    ShouldRetrain,
    always,
    fitted,
    is_due,
)
from training.replay.known_requests import late_rows
from training.replay.questions import Questions, ranks
from training.replay.store import (
    StepResult,
    read_state,
    read_step,
    state_name,
    step_path,
    tidy,
    write_delays,
    write_state,
    write_step,
)

_SETTINGS = ("dataset", "sessions", "evaluation")
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
        "settings": {
            name: getattr(settings, name).model_dump(mode="json", exclude={"as_known"})
            for name in _SETTINGS
        },
        **_cut(lake, settings, state),
        "seed": settings.replay.seed,
        "step": settings.replay.step,
        "hours": str(hours),
        "code": code_version(),
    }
    digest = hashlib.sha256(json.dumps(went_in, sort_keys=True).encode()).hexdigest()[:16]
    step_h = parse_duration_h(settings.replay.step)
    return Run(settings, hours, step_h, settings.path("replay") / digest, reached, state)


def _cut(lake: Lake, settings: Settings, state: State) -> dict[str, str]:
    """What names the cut: results of one are never taken for those of the other."""
    if not settings.replay.as_known:
        return {}
    return {"as_known": arrivals_digest(read_arrivals(lake, settings, state))}


def read_log(lake: Lake, run: Run) -> ReplayLog:
    """All that a run looks at, and by ``replay.as_known`` what of it came late."""
    settings, hours = run.settings, run.read_hours
    log = read_replay_log(lake, settings.dataset, hours, run.state)
    if not settings.replay.as_known:
        return log
    late = read_late_events(lake, settings, run.state, hours, run.hours.first)
    write_delays(run.folder, late.delays)
    # Where nothing was late both cuts are one, and need no second look at anything.
    return replace(log, late=late) if len(late.user) else log


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
    rows = None if log.late is None else late_rows(log, log.late, run.settings)
    for number, hours in enumerate(steps):
        questions = Questions(cuts, hours, rows)
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
    questions: Questions,
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
    # What is asked is the same for all arms, so the first must not pay for it.
    questions.prepare()
    began_s = time.perf_counter()
    step_ranks, n_known = ranks(arm, state, questions)
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
