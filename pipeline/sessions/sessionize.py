"""Sessionize: events -> ``sessions``, ``open_sessions``, ``item_hours``, ``dwell_hours``.

One code path for one hour and for a range of any length: it reads the range's events and the
sessions that stood open in the hour before, nothing more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

import pyarrow as pa

from pipeline.errors import HourglassError, explaining_full_disk
from pipeline.hours import DAY_H, HOUR_S, Hour, HourRange, contiguous
from pipeline.lake.commits import STEP_PROPERTY
from pipeline.lake.lake import FilledHour, Lake, stable_property
from pipeline.lake.stale_hours import (
    FilledState,
    filled_state,
    input_digest,
    rules_digest,
    stale_hours_of,
    state_digest,
)
from pipeline.lake.steps import EMPTY_DIGEST, SESSIONIZE
from pipeline.lake.tables import FILLED_HOURS
from pipeline.lake.turns import Alone, Turn, in_turn
from pipeline.quality.verdicts import how_to_go_on, refused_hours
from pipeline.sessions.compute_range import Computed, commit, compute_sessions
from pipeline.sessions.in_process import TaskError
from pipeline.sessions.step import first_step
from pipeline.settings.settings import Settings
from pipeline.spark.compute import Compute
from pipeline.spark.session import worker_error
from pipeline.version import code_version

_FORWARD_STEP_H = 24
# A step is what is lost when a run is interrupted.
_EVENTS_PER_STEP = 10_000_000
_HOURS_PER_STEP = 31 * DAY_H


@dataclass(frozen=True)
class SessionizeSummary:
    """What one run wrote, and why it went as far as it did.

    ``filled`` are the hours in order.  Of these ``asked`` were asked for, ``missing_or_changed``
    lay before and were not filled or had other inputs by now, and ``carried_on`` followed from
    changes; ``closing`` hours were filled for the first time because sessions close in them.
    ``settled_at`` are the hours at which following a change ended, because the open sessions came
    out as they were.  ``failed`` names hours that could not be computed, and why; ``waiting``
    counts those that wait for them.  Of ``closed_events`` so many ``robot_events`` are marked as
    robots'.
    """

    filled: tuple[HourRange, ...]
    asked: int
    missing_or_changed: int
    carried_on: int
    events: int
    closed_events: int
    settled_at: tuple[Hour, ...] = ()
    failed: tuple[tuple[Hour, str], ...] = ()
    waiting: int = 0
    robot_events: int = 0
    closing: int = 0


_NOTHING_RECORDED = FilledState(None, {}, {})


@dataclass
class _Run:
    """How far one run has come; ``lake`` are the versions of the tables that it was planned on.

    ``before`` is what the lake had recorded then, ``filled_first`` what it had when it began.
    """

    hours: HourRange
    until: Hour | None
    rules: str
    pending: set[Hour]
    settled: Hour
    last: Hour
    longest: int = field(default_factory=lambda: _HOURS_PER_STEP)
    lake: Mapping[str, str] = field(default_factory=dict)
    before: FilledState = _NOTHING_RECORDED
    filled_first: frozenset[Hour] | None = None
    stale: set[Hour] = field(default_factory=set)
    refused: dict[Hour, str] = field(default_factory=dict)
    states: dict[Hour, FilledHour | str] = field(default_factory=dict)
    plain: bool = False
    done: list[HourRange] = field(default_factory=list)
    stable_from: list[Hour] = field(default_factory=list)
    failed: list[tuple[Hour, str]] = field(default_factory=list)
    given_up: set[Hour] = field(default_factory=set)
    closed_events: int = 0
    robot_events: int = 0


def sessionize(
    compute: Compute,
    lake: Lake,
    settings: Settings,
    hours: HourRange,
    report: Callable[[HourRange, int], None] = lambda _step, _left: None,
    until: Hour | None = None,
    alone: Alone = nullcontext,
) -> SessionizeSummary:
    """Fill a range, what is missing or has changed before it, and what that changes after it.

    Hours follow from one another, so a range can only be right when all before it is.  The
    recomputation goes forward over hours that were filled before, until the sessions left open
    at an hour's end come out as they were.  Silence is stepped over: a step takes in hours that
    lie far apart, and with each those in which its sessions close.  A step that fails is halved
    until the hour is found that cannot be computed; what does not follow from it is still done.
    Hours whose events validation found critical are left out like those.  ``report`` is told of
    each step before it is taken, and how many hours are left with it.  What the range leaves open
    is followed to its close as far as hours were filled before, or up to ``until``.

    ``alone`` takes the lake's lock, which is held for the commits of a step (see
    `pipeline.lake.turns`); by default the caller holds it.  Where another process committed
    between two steps, what is left is planned anew.

    Raises:
        HourglassError: the disk is full, Spark has ended, or another program wrote to the lake.
    """
    run = _Run(hours, until, rules_digest(settings), set(hours), hours.stop, hours.stop)
    while in_turn(lake, alone, lambda turn: _next_step(compute, turn, settings, run, report)):
        pass
    return _summary(run)


def _next_step(
    compute: Compute,
    turn: Turn,
    settings: Settings,
    run: _Run,
    report: Callable[[HourRange, int], None],
) -> bool:
    """Compute and commit the next hours; whether any are left after them."""
    lake, gap_s = turn.lake, settings.sessions.gap_s
    if run.lake != turn.base:
        _plan(run, turn, settings)
    while run.pending:
        hour = min(run.pending)
        if hour in run.refused:
            _give_up(run, turn, hour, run.refused[hour], gap_s)
            continue
        arrived, refused = run.before.arrived, set(run.refused)
        step = first_step(
            run.pending - refused,
            ({*run.states, *arrived} - run.pending) | refused,
            arrived,
            run.last,
            gap_s,
            run.longest,
            _EVENTS_PER_STEP,
            run.plain,
        )
        report(step.span, len(run.pending))
        try:
            with explaining_full_disk(settings.work, lake.warehouse):
                computed = compute_sessions(compute, lake, settings.sessions, step.reach)
        except Exception as error:
            # What no smaller step would mend: a full disk, a table that is not as it should be.
            failed_here = isinstance(error, TaskError)
            if isinstance(error, HourglassError) or not (failed_here or compute.is_alive):
                raise
            if step.pending > 1:
                run.longest = step.pending // 2
            elif not step.is_plain:
                run.plain = True
            else:
                _give_up(run, turn, step.span.first, worker_error(error), gap_s)
                run.plain = False
            continue
        filled_ranges = step.filled(computed.opened)
        with turn.commits():
            # What was too much once may be again: only what went well makes steps longer.
            run.longest, run.plain = min(2 * run.longest, _HOURS_PER_STEP), False
            _advance(run, filled_ranges, computed, gap_s)
            whole = not run.pending and not run.failed
            with explaining_full_disk(settings.work, lake.warehouse):
                _record(lake, filled_ranges, computed, run, run.settled if whole else None)
        run.lake = turn.base
        return bool(run.pending)
    return False


def _plan(run: _Run, turn: Turn, settings: Settings) -> None:
    """What is to be done by what the lake has recorded now, beside what is left of before."""
    lake, hours = turn.lake, run.hours
    before = filled_state(lake, settings, hours)
    run.settled = max(hours.stop, lake.stable_from(run.rules) or hours.stop)
    stale = set(stale_hours_of(before, run.rules, hours.stop)) - run.given_up
    run.last = max([hours.stop - 1, *before.filled, *([run.until - 1] if run.until else [])])
    run.refused = _refused(lake, before.since or Hour(0))
    # One of which no record could be accepted would else pass for a silent hour.
    unfilled = {hour for hour in run.refused if hour < hours.stop and hour not in before.filled}
    run.pending |= stale | (unfilled - run.given_up)
    run.stale |= stale - set(hours)
    run.before, run.states, run.lake = before, dict(before.filled), turn.base
    if run.filled_first is None:
        run.filled_first = frozenset(before.filled)


def _summary(run: _Run) -> SessionizeSummary:
    filled = {hour for hours_done in run.done for hour in hours_done}
    requested, arrived, before = set(run.hours), run.before.arrived, run.filled_first or frozenset()
    return SessionizeSummary(
        filled=tuple(contiguous(filled)),
        asked=len(requested),
        missing_or_changed=len(run.stale),
        carried_on=len((filled - requested - run.stale) & before),
        closing=len(filled - requested - run.stale - before),
        events=sum(arrived[hour].rows for hour in filled if hour in arrived),
        closed_events=run.closed_events,
        settled_at=tuple(run.stable_from),
        failed=tuple(run.failed),
        waiting=len(run.given_up - {hour for hour, _ in run.failed}),
        robot_events=run.robot_events,
    )


def _refused(lake: Lake, since: Hour) -> dict[Hour, str]:
    """Hours that are not to be computed, because their events are not to be trusted."""
    refused = refused_hours(lake, "events", HourRange(since, Hour.parse("9999-01-01T00")))
    return {hour: f"{why}; {how_to_go_on(hour)}" for hour, why in refused.items()}


def _advance(run: _Run, ranges: Sequence[HourRange], computed: Computed, gap_s: int) -> None:
    """Take a step's outcome in, and see which hours follow from it."""
    before = run.before
    hours = [hour for hour_range in ranges for hour in hour_range]
    run.states.update({hour: computed.opened.get(hour, (EMPTY_DIGEST, 0))[0] for hour in hours})
    changed = any(
        state_digest(run.states, hour) != state_digest(before.filled, hour) for hour in hours
    )
    run.pending.difference_update(hours)
    run.done += ranges
    run.closed_events += sum(rows for _, rows in computed.closed.values())
    run.robot_events += computed.robot_events
    after = ranges[-1].stop
    left_open = state_digest(run.states, after - 1)
    if after in run.pending:
        return
    if after in before.filled:
        if left_open != state_digest(before.filled, after - 1):
            # A day at once: an hour is too little work for a step with commits of its own.
            following = HourRange(after, after + _FORWARD_STEP_H)
            run.pending.update(hour for hour in following if hour in before.filled)
        elif changed:
            run.stable_from.append(after)
    elif left_open != EMPTY_DIGEST and after <= run.last:
        # What stands open closes in hours of silence, which nobody has filled yet.
        close = after + -(-gap_s // HOUR_S) + 1
        run.pending.update(HourRange(after, min(close, run.last + 1)))


def _give_up(run: _Run, turn: Turn, hour: Hour, reason: str, gap_s: int) -> None:
    """Leave an hour that cannot be computed, and those that sessions may reach from it.

    After a silence as long as the gap nothing of it is open any more.

    Raises:
        LakeMovedError: that may be why.
    """
    with turn.commits():
        arrived = run.before.arrived
    run.pending.discard(hour)
    run.failed.append((hour, reason))
    run.given_up.add(hour)
    silent_s = 0
    after = hour + 1
    while silent_s < gap_s and (after in run.pending or after not in run.states):
        if after in run.pending:
            run.pending.discard(after)
            run.given_up.add(after)
        silent_s = 0 if after in arrived else silent_s + HOUR_S
        after += 1


def _record(
    lake: Lake,
    ranges: Sequence[HourRange],
    computed: Computed,
    run: _Run,
    stable_from: Hour | None,
) -> None:
    """Commit a step, ``filled_hours`` last."""
    rules = run.rules
    made_by = {
        STEP_PROPERTY: SESSIONIZE,
        "hourglass.config": rules,
        "hourglass.code": code_version(),
    }
    commit(lake, ranges, computed, made_by)
    rows = []
    for hour in (hour for hour_range in ranges for hour in hour_range):
        digest, count = computed.closed.get(hour, (EMPTY_DIGEST, 0))
        carried = state_digest(run.states, hour - 1)
        rows.append(
            {
                "hour": hour.start,
                "step": SESSIONIZE,
                "input_digest": input_digest(run.before.arrived, hour, carried),
                "output_digest": digest,
                "state_digest": state_digest(run.states, hour),
                "config_digest": rules,
                "code_version": made_by["hourglass.code"],
                "rows": count,
            }
        )
    if stable_from is not None:
        made_by = {**made_by, **stable_property(rules, stable_from)}
    table = pa.Table.from_pylist(rows, FILLED_HOURS.schema)
    lake.record_filled(SESSIONIZE, ranges, table, made_by)
