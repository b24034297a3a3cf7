"""Validate: hold the events and sessions of hours to their expectations, and record the verdict."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import HourglassError, UsageError
from pipeline.hours import Hour, HourRange, contiguous
from pipeline.lake.lake import Lake
from pipeline.lake.stale_hours import stale_hours
from pipeline.lake.steps import INGEST, first_filled
from pipeline.lake.tables import EVENTS, PROFILES, SESSIONS, SOURCE_FILES, TIMESTAMP
from pipeline.lake.turns import Alone, Turn, in_turn
from pipeline.quality.checks.expectations import Batch, validate_batches
from pipeline.quality.checks.results import ValidationResult, worst
from pipeline.quality.checks.suite import load_suite, suite_values
from pipeline.quality.duplicates import duplicate_cause, equal_records_of
from pipeline.quality.hour_metrics import (
    events_frame,
    files_of,
    hour_facts,
    session_facts,
    sessions_frame,
)
from pipeline.quality.incident_log import NOBODY, Act
from pipeline.quality.verdict_log import SUITES, HourVerdict, Waiver, kind_of, record, waivers
from pipeline.quality.verdicts import Kind, Steps, changed_hours, standing_verdicts
from pipeline.settings.settings import Settings

if TYPE_CHECKING:
    from pipeline.quality.baseline import Baseline
    from pipeline.quality.checks.expectations import Batch

# What suites and profiles look at: of an hour of millions of rows each further column tells.
_EVENT_COLUMNS = (
    *("hour", "event_time", "user_id", "item_id", "event_type"),
    *("value", "context", "event_key", "source_file"),
)
_SESSION_COLUMNS = (
    *("hour", "session_id", "session_start", "position"),
    *("event_time", "user_id", "item_id", "dwell_s"),
)
# Up to a day is judged hour by hour; a longer range in a few large batches, because a page for each
# of its hours would help nobody.
HOURLY_UP_TO_H = 24
MOST_LARGE_BATCHES = 8


@dataclass
class _Validation:
    """What one run reads and has found so far."""

    lake: Lake
    settings: Settings
    files: pa.Table
    baseline: Baseline
    profiles: list[pa.Table] = field(default_factory=list)
    remedies: dict[HourRange, dict[str, str]] = field(default_factory=dict)
    results: dict[tuple[Kind, HourRange], list[ValidationResult]] = field(default_factory=dict)


def validate(
    lake: Lake,
    settings: Settings,
    hours: HourRange,
    kinds: Collection[Kind] = ("events", "sessions"),
    accepted: str | None = None,
    act: Act = NOBODY,
    alone: Alone = nullcontext,
) -> list[ValidationResult]:
    """Judge every hour of the range, or batches of hours when it is long.

    Hours of the five weeks before the range that were judged once and have changed since, because
    something came late, are judged again, and so are critical ones that were compared with them.
    A large batch that is critical is judged again hour by hour, so that the verdict falls on the
    hours that earned it; and an hour that was critical is never judged but alone, because only a
    single hour is compared with those before it.  Sessions are judged where they are up to date.

    ``accepted`` is a person's reason to let critical hours of the range pass.  It holds until an
    hour changes or breaks another critical promise.

    Verdicts are kept in ``filled_hours``, what failed in ``failed_expectations``, and how each
    hour was distributed in ``profiles``, with which later hours are compared.  Hours that become
    critical, or no longer are, leave a row in ``incidents``, with the time and the person of
    ``act``.  ``alone`` takes the lake's lock, which is held for the record (see
    `pipeline.lake.turns`); by default the caller holds it.

    Raises:
        UsageError: ``accepted`` says nothing, or the range ends before the log begins.
        HourglassError: only sessions are asked for, and those of an hour are not up to date.
    """
    if accepted is not None and not accepted.strip():
        raise UsageError('--accept "": say why the hours may pass, it is kept with them')
    return in_turn(lake, alone, lambda turn: _validate(turn, settings, hours, kinds, accepted, act))


def _validate(
    turn: Turn,
    settings: Settings,
    hours: HourRange,
    kinds: Collection[Kind],
    accepted: str | None,
    act: Act,
) -> list[ValidationResult]:
    from pipeline.quality.baseline import BASELINE_H

    lake = turn.lake
    steps = lake.filled_steps(hours.first - BASELINE_H)
    _refuse_before_the_log(lake, steps, hours)
    stale = set(stale_hours(lake, settings, hours.stop))
    if tuple(kinds) == ("sessions",) and (late := sorted(stale & set(hours))):
        raise HourglassError(
            f"the sessions of {late[0]} are not up to date: run `hourglass sessionize` first"
        )
    work: list[tuple[Kind, HourRange]] = []
    for kind in kinds:
        again = hours_again(steps, kind, HourRange(hours.first - BASELINE_H, hours.first))
        parts = [*(alone(hour) for hour in again), *parts_of(steps, kind, hours)]
        sound = [p for p in parts if kind == "events" or not any(h in stale for h in p)]
        work += [(kind, batch) for batch in sound]
    first = min([hours.first, *(batch.first for _, batch in work)])
    if first < hours.first:
        steps = lake.filled_steps(first - BASELINE_H)
    past = _baseline(lake, steps, HourRange(first - BASELINE_H, hours.stop), first)
    run = _Validation(lake, settings, lake.arrow(SOURCE_FILES), past)
    results = _validate_part(run, work)
    critical = [
        (kind, alone(hour))
        for kind, batch in work
        if len(batch) > 1 and _verdict(run.results[kind, batch]) == "critical"
        for hour in batch
    ]
    if critical:
        results += _validate_part(run, critical)
    let_pass = Waiver(accepted, hours, waivers(lake, steps, HourRange(first, hours.stop)))
    judged = [
        _hour_verdict(run, kind, batch, hour, let_pass) for kind, batch in work for hour in batch
    ]
    rules = settings.digest("quality", "source", "ingest")
    with turn.commits():
        record(lake, judged, run.profiles, rules, act)
    passed = {
        (verdict.kind, str(verdict.hour)) for verdict in judged if verdict.verdict == "accepted"
    }
    return [
        outcome.waived() if (kind_of(outcome.suite), outcome.batch_name) in passed else outcome
        for outcome in results
    ]


def batch_name(hours: HourRange) -> str:
    """What Data Docs call a range of hours."""
    return str(hours.first) if len(hours) == 1 else f"{hours.first}+{len(hours)}h"


def _validate_part(
    run: _Validation, work: Sequence[tuple[Kind, HourRange]]
) -> list[ValidationResult]:
    quality = run.settings.quality
    batches = chain.from_iterable(_batches(run, kind, batch) for kind, batch in work)
    results = validate_batches(batches, run.settings.path("data_docs"), quality.keep)
    left = iter(results)
    for kind, batch in work:
        run.results[kind, batch] = [next(left) for _ in SUITES[kind]]
    return results


def _batches(run: _Validation, kind: Kind, hours: HourRange) -> Iterator[Batch]:
    frames = _event_frames(run, hours) if kind == "events" else _session_frames(run, hours)
    mends = run.remedies.get(hours, {}) if kind == "events" else {}
    values = {**suite_values(hours.stop - 1, run.settings), "hour_start": hours.first.start}
    for suite, frame in zip(SUITES[kind], frames, strict=True):
        loaded = load_suite(suite, values, run.settings.quality.suites)
        yield Batch(loaded.with_remedies(mends), frame, batch_name(hours))


def _event_frames(run: _Validation, hours: HourRange) -> tuple[Any, Any]:
    from pipeline.quality.baseline import event_comparison
    from pipeline.quality.profiles import event_profile

    events = run.lake.arrow(EVENTS, hours, columns=_EVENT_COLUMNS)
    profile = event_profile(hours, events)
    run.profiles.append(profile)
    run.baseline.learn(profile)
    facts = hour_facts(hours, events, run.files)
    rule = equal_records_of(run.settings)
    if doubled := duplicate_cause(files_of(hours, events, run.files), run.files, events, rule):
        run.remedies[hours] = {"duplicate_rate": doubled}
    # A batch of many hours has no hours before it that are like it.
    hour = hours.first if len(hours) == 1 else None
    return events_frame(events), facts.assign(**event_comparison(hour, run.baseline))


def _session_frames(run: _Validation, hours: HourRange) -> tuple[Any, Any]:
    from pipeline.quality.baseline import session_comparison
    from pipeline.quality.profiles import session_profile

    sessions = run.lake.arrow(SESSIONS, hours, columns=_SESSION_COLUMNS)
    profile = session_profile(hours, sessions)
    run.profiles.append(profile)
    run.baseline.learn(profile)
    hour = hours.first if len(hours) == 1 else None
    facts = session_facts(hours, sessions)
    return sessions_frame(sessions), facts.assign(**session_comparison(hour, run.baseline))


def _refuse_before_the_log(lake: Lake, steps: Steps, hours: HourRange) -> None:
    arrived = steps.get(INGEST, {})
    if not arrived or min(arrived) < hours.stop:
        return
    begins = first_filled(lake, INGEST)
    if begins is not None and begins >= hours.stop:
        raise UsageError(f"the first event is of {begins}: there is nothing to judge before it")


def _baseline(lake: Lake, steps: Steps, recorded: HourRange, first: Hour) -> Baseline:
    """What is known of the weeks before, and how many events the hours to be judged have.

    Hours before the first to be judged that are critical are no example of what is usual.
    """
    from pipeline.quality.baseline import COMPARED, Baseline

    arrived = steps.get(INGEST, {})
    before = HourRange(recorded.first, first)
    verdicts = standing_verdicts(steps, "events", before)
    odd = {hour for hour, verdict in verdicts.items() if verdict == "critical"}
    since = min(max(min(arrived, default=recorded.stop), recorded.first), recorded.stop)
    events = {
        hour: float(arrived[hour].rows) if hour in arrived else 0.0
        for hour in HourRange(since, recorded.stop)
        if hour not in odd
    }
    profiles = lake.arrow(PROFILES, before)
    left_out = pa.array([hour.start for hour in odd], TIMESTAMP)
    is_usual = pc.and_(
        pc.is_in(profiles["distribution"], value_set=pa.array(COMPARED, pa.string())),
        pc.invert(pc.is_in(profiles["hour"], value_set=left_out)),
    )
    return Baseline(events, profiles.filter(is_usual))


def _verdict(results: Iterable[ValidationResult]) -> str:
    return worst(result for outcome in results for result in outcome.results)


def _hour_verdict(
    run: _Validation, kind: Kind, hours: HourRange, hour: Hour, waiver: Waiver
) -> HourVerdict:
    """What is to be recorded of an hour.

    Of a critical batch, the verdict is that on the hour alone, unless no hour alone is critical.
    """
    single = {h: run.results.get((kind, alone(h)), []) for h in hours}
    batch = hours
    if any(_verdict(results) == "critical" for results in single.values()):
        batch = alone(hour)
    outcomes = run.results[kind, batch]
    verdict = _verdict(outcomes)
    critical = {
        result.name
        for outcome in outcomes
        for result in outcome.results
        if result.severity == "critical" and not result.success
    }
    if critical and (reason := waiver.reason_for(kind, hour, critical)):
        return HourVerdict(kind, hour, "accepted", tuple(outcomes), reason, tuple(outcomes))
    # What a batch of many hours failed is told once, with its first hour.
    recorded = tuple(outcomes) if hour == batch.first else ()
    return HourVerdict(kind, hour, verdict, recorded, of_batch=tuple(outcomes))


# Which hours are judged, and in what batches.


def alone(hour: Hour) -> HourRange:
    """The hour as a range."""
    return HourRange(hour, hour + 1)


def hours_again(steps: Steps, kind: Kind, before: HourRange) -> list[Hour]:
    """Hours before the range whose verdict is no longer about what they and those before hold."""
    from pipeline.quality.baseline import SPAN_H

    changed = {hour for hour in changed_hours(steps, kind, before.stop) if hour in before}
    near = {hour + n for hour in changed for n in range(1, SPAN_H)}
    critical = {h for h, v in standing_verdicts(steps, kind, before).items() if v == "critical"}
    return sorted(changed | (near & critical))


def parts_of(steps: Steps, kind: Kind, hours: HourRange) -> Iterator[HourRange]:
    """The hours one by one, or in large batches where they are many and none was critical."""
    if len(hours) <= HOURLY_UP_TO_H:
        yield from hours.steps(1)
        return
    verdicts = standing_verdicts(steps, kind, hours)
    single = {h for h, verdict in verdicts.items() if verdict in ("critical", "accepted")}
    for batch in hours.steps(-(-len(hours) // MOST_LARGE_BATCHES)):
        if single.isdisjoint(batch):
            yield batch
            continue
        yield from contiguous(hour for hour in batch if hour not in single)
        yield from (alone(hour) for hour in batch if hour in single)
