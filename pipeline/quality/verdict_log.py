"""Recording verdicts: in ``filled_hours``, ``failed_expectations`` and ``profiles``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.hours import Hour, HourRange, contiguous
from pipeline.lake.commits import STEP_PROPERTY
from pipeline.lake.lake import FilledHour, Lake
from pipeline.lake.steps import VALIDATE
from pipeline.lake.tables import FAILED_EXPECTATIONS, FILLED_HOURS, PROFILES
from pipeline.quality.incident_log import NOBODY, Act, log_incidents
from pipeline.quality.verdicts import JUDGED, STEPS, Kind, Steps, content_of, standing_verdicts
from pipeline.version import code_version

if TYPE_CHECKING:
    from pipeline.quality.checks.results import ValidationResult

SUITES: Mapping[Kind, tuple[str, ...]] = {
    "events": ("events", "hours"),
    "sessions": ("sessions", "session_hours"),
}


def kind_of(suite: str) -> Kind:
    """What a suite is about."""
    return "events" if suite in SUITES["events"] else "sessions"


@dataclass(frozen=True)
class HourVerdict:
    """The verdict on one hour, and the outcomes that it owes to.

    ``accepted`` is a person's reason to let it pass though it is critical.  ``results`` are what
    is recorded with the hour, ``of_batch`` all that its batch came to.
    """

    kind: Kind
    hour: Hour
    verdict: str
    results: tuple[ValidationResult, ...] = ()
    accepted: str | None = None
    of_batch: tuple[ValidationResult, ...] = ()


def record(
    lake: Lake,
    hour_verdicts: Sequence[HourVerdict],
    profiles: Sequence[pa.Table],
    rules: str,
    act: Act = NOBODY,
) -> None:
    """Put profiles, what failed, and last the verdicts in the place of former ones.

    What a verdict changes about an incident is added to the log of incidents.

    Args:
        lake: the tables.
        hour_verdicts: one a kind and hour; of one given twice the later counts.
        profiles: rows of ``profiles``; of an hour given twice the later ones count.
        rules: digest of what the hours were judged by.
        act: when the hours were judged and by whom.
    """
    made_by = {STEP_PROPERTY: VALIDATE, "hourglass.code": code_version()}
    _replace_profiles(lake, profiles, made_by)
    for kind in SUITES:
        verdicts = {verdict.hour: verdict for verdict in hour_verdicts if verdict.kind == kind}
        if not verdicts:
            continue
        log_incidents(lake, kind, SUITES[kind], verdicts, rules, act, made_by)
        _replace_failed(lake, kind, verdicts, made_by)
        hours = contiguous(verdicts)
        filled = lake.filled(JUDGED[kind], hours)
        rows = [_row(verdict, filled, rules) for _, verdict in sorted(verdicts.items())]
        table = pa.Table.from_pylist(rows, FILLED_HOURS.schema)
        lake.record_filled(STEPS[kind], hours, table, made_by, invalidates=False)


def _row(verdict: HourVerdict, filled: Mapping[Hour, FilledHour], rules: str) -> dict[str, object]:
    return {
        "hour": verdict.hour.start,
        "step": STEPS[verdict.kind],
        "input_digest": content_of(filled, verdict.hour),
        "output_digest": verdict.verdict,
        "state_digest": "",
        "config_digest": rules,
        "code_version": code_version(),
        "rows": 0,
    }


def _replace_profiles(lake: Lake, profiles: Sequence[pa.Table], made_by: Mapping[str, str]) -> None:
    from pipeline.quality.profiles import EVENT_DISTRIBUTIONS, SESSION_DISTRIBUTIONS

    for names in (EVENT_DISTRIBUTIONS, SESSION_DISTRIBUTIONS):
        among = _Among("distribution", names)
        latest: dict[Any, pa.Table] = {}
        for profile in profiles:
            mine = profile.filter(among(profile))
            for start in pc.unique(mine["hour"]):
                latest[start.as_py()] = mine.filter(pc.equal(mine["hour"], start))
        if latest:
            hours = contiguous(Hour.of(start) for start in latest)
            rows = pa.concat_tables(latest.values())
            lake.rewrite_days(PROFILES, hours, rows, made_by, among)


def _replace_failed(
    lake: Lake, kind: Kind, verdicts: Mapping[Hour, HourVerdict], made_by: Mapping[str, str]
) -> None:
    rows = [row for _, verdict in sorted(verdicts.items()) for row in _failures(verdict)]
    among = _Among("suite", SUITES[kind])
    hours = contiguous(verdicts)
    former = lake.arrow(FAILED_EXPECTATIONS, hours, columns=("suite",))
    if rows or pc.any(among(former)).as_py():
        table = pa.Table.from_pylist(rows, FAILED_EXPECTATIONS.schema)
        lake.rewrite_days(FAILED_EXPECTATIONS, hours, table, made_by, among)


def _failures(verdict: HourVerdict) -> Iterator[dict[str, object]]:
    for outcome in verdict.results:
        for result in outcome.results:
            if result.success:
                continue
            yield {
                "hour": verdict.hour.start,
                "batch": outcome.batch_name,
                "suite": outcome.suite,
                "expectation": result.name,
                "severity": result.severity,
                "sentence": result.sentence,
                "observed": result.observed,
                "limit": result.limit,
                "examples": list(result.examples),
                "accepted": verdict.accepted if result.severity == "critical" else None,
            }


@dataclass(frozen=True)
class _Among:
    """Marks the rows of a table whose text in a column is one of some."""

    column: str
    texts: tuple[str, ...]

    def __call__(self, table: pa.Table) -> pa.Array:
        return pc.is_in(table[self.column], value_set=pa.array(self.texts, pa.string()))


# Critical hours that people let pass, and why.


@dataclass(frozen=True)
class EarlierWaiver:
    """What an hour had broken when somebody let it pass, and the reason given."""

    reason: str
    expectations: frozenset[str]


@dataclass(frozen=True)
class Waiver:
    """What people have accepted: now, for a range, and before, as far as it still holds."""

    reason: str | None
    hours: HourRange
    before: Mapping[tuple[Kind, Hour], EarlierWaiver]

    def reason_for(self, kind: Kind, hour: Hour, critical: set[str]) -> str | None:
        """Why a critical hour passes, if it does."""
        if self.reason and hour in self.hours:
            return self.reason
        earlier = self.before.get((kind, hour))
        return earlier.reason if earlier and critical <= earlier.expectations else None


def waivers(lake: Lake, steps: Steps, hours: HourRange) -> dict[tuple[Kind, Hour], EarlierWaiver]:
    """What was accepted of hours that have not changed since."""
    kinds: tuple[Kind, ...] = ("events", "sessions")
    holding = {
        (kind, hour)
        for kind in kinds
        for hour, verdict in standing_verdicts(steps, kind, hours).items()
        if verdict == "accepted"
    }
    if not holding:
        return {}
    by_hour: dict[tuple[Kind, Hour], EarlierWaiver] = {}
    columns = ("hour", "suite", "expectation", "accepted")
    for row in lake.arrow(FAILED_EXPECTATIONS, hours, columns=columns).to_pylist():
        key = kind_of(row["suite"]), Hour.of(row["hour"])
        if row["accepted"] is None or key not in holding:
            continue
        names = by_hour[key].expectations if key in by_hour else frozenset()
        by_hour[key] = EarlierWaiver(row["accepted"], names | {row["expectation"]})
    return by_hour
