"""The log of incidents: what becomes of hours that broke a critical promise.

A row is added where the verdict on an hour changes to or from critical; to validate an hour again
without any change adds none.  Rows are never changed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pipeline.hours import Hour, contiguous
from pipeline.lake.lake import FilledHour, Lake
from pipeline.lake.tables import FAILED_EXPECTATIONS, INCIDENTS
from pipeline.quality.verdicts import JUDGED, STEPS, Kind, content_of

if TYPE_CHECKING:
    from pipeline.quality.verdict_log import HourVerdict

_CRITICAL = ("critical", "accepted")


@dataclass(frozen=True)
class Act:
    """When hours are judged and by whom; None where that is not known."""

    at: datetime | None = None
    by: str | None = None


NOBODY = Act()


def log_incidents(
    lake: Lake,
    kind: Kind,
    suites: Collection[str],
    hour_verdicts: Mapping[Hour, HourVerdict],
    rules: str,
    act: Act,
    made_by: Mapping[str, str],
) -> None:
    """Add what changes with these verdicts; to be called before they are recorded.

    Args:
        lake: the tables.
        kind: what was judged.
        suites: those that judge this kind.
        hour_verdicts: by hour, the verdicts.
        rules: digest of what the hours were judged by.
        act: when and by whom.
        made_by: properties of the commit.
    """
    if not hour_verdicts:
        return
    hours = contiguous(hour_verdicts)
    verdicts, filled = lake.filled(STEPS[kind], hours), lake.filled(JUDGED[kind], hours)
    touched = [
        hour
        for hour, hour_verdict in hour_verdicts.items()
        if hour_verdict.verdict in _CRITICAL or _verdict(verdicts.get(hour)) in _CRITICAL
    ]
    if not touched:
        return
    parts = contiguous(touched)
    former = _former(lake.arrow(INCIDENTS, parts), kind)
    broken = _broken(lake.arrow(FAILED_EXPECTATIONS, parts), suites)
    rows = []
    for hour in sorted(touched):
        before = verdicts.get(hour)
        earlier = _EarlierIncident(
            former.get(hour), before, broken.get(hour, {}), content_of(filled, hour), rules
        )
        for row in _changes(hour_verdicts[hour], earlier, act):
            rows.append({"hour": hour.start, "kind": kind, **row})
    if rows:
        table = pa.Table.from_pylist(rows, INCIDENTS.schema)
        # The day's file is written anew with its former rows: thousands of small files help nobody.
        lake.rewrite_days(INCIDENTS, parts, table, made_by, _none_of)


def _none_of(rows: pa.Table) -> pa.Array:
    """Marks no row, (N,): history is added to."""
    return pa.array([False] * rows.num_rows, pa.bool_())


@dataclass(frozen=True)
class _EarlierIncident:
    """What is known of an hour before it is judged, and what it holds now."""

    last: Mapping[str, Any] | None  # of its changes
    verdict: FilledHour | None
    broken: Mapping[str, Mapping[str, Any]]  # critical failures by suite.name
    content: str
    rules: str


def _changes(current: HourVerdict, earlier: _EarlierIncident, act: Act) -> Iterator[dict[str, Any]]:
    """The rows that a verdict adds."""
    last, number = earlier.last, earlier.last["number"] if earlier.last else 0
    if last is None and _verdict(earlier.verdict) in _CRITICAL:
        # Critical since before there was a log: when and who found it is not known.
        number = 1
        failures = {name: str(row["sentence"]) for name, row in earlier.broken.items()}
        reasons = [row["accepted"] for row in earlier.broken.values() if row["accepted"]]
        reason = reasons[0] if reasons else None
        last = _row(number, NOBODY, _verdict(earlier.verdict), failures, reason=reason)
        yield last
    if current.verdict in _CRITICAL:
        row = _row(
            number + 1, act, current.verdict, dict(_critical(current)), reason=current.accepted
        )
        if last is None or _as_logged(last) != _as_logged(row):
            yield row
    elif last is not None and last["verdict"] in _CRITICAL:
        failures = dict.fromkeys(last["expectations"] or (), last["sentence"] or "")
        yield _row(number + 1, act, current.verdict, failures, cause=_cause(current, earlier))


def _row(
    number: int,
    act: Act,
    verdict: str,
    failures: Mapping[str, str],
    *,
    cause: str = "",
    reason: str | None = None,
) -> dict[str, Any]:
    return {
        "number": number,
        "at": act.at,
        "by": act.by,
        "verdict": verdict,
        "cause": cause,
        "reason": reason,
        "sentence": next(iter(failures.values()), None),
        "expectations": sorted(failures),
    }


def _as_logged(row: Mapping[str, Any]) -> tuple[object, ...]:
    return row["verdict"], row["reason"], sorted(row["expectations"] or ())


def _cause(current: HourVerdict, earlier: _EarlierIncident) -> str:
    """Why an hour that was critical passes now."""
    before = earlier.verdict
    if before is None or before.input_digest != earlier.content:
        return "data_changed"
    limits = {
        f"{outcome.suite}.{result.name}": result.limit
        for outcome in current.of_batch
        for result in outcome.results
        if result.severity == "critical"
    }
    if any(limits.get(name) != row["limit"] for name, row in earlier.broken.items()):
        return "expectation_changed"
    return "settings_changed" if before.config_digest != earlier.rules else "compared_anew"


def _critical(current: HourVerdict) -> Iterator[tuple[str, str]]:
    for outcome in current.of_batch:
        for result in outcome.results:
            if result.severity == "critical" and not result.success:
                yield f"{outcome.suite}.{result.name}", result.sentence


def _former(changes: pa.Table, kind: Kind) -> dict[Hour, dict[str, Any]]:
    """The last change of each hour."""
    last: dict[Hour, dict[str, Any]] = {}
    for row in sorted(changes.to_pylist(), key=lambda row: row["number"]):
        if row["kind"] == kind:
            last[Hour.of(row["hour"])] = row
    return last


def _broken(failed: pa.Table, suites: Collection[str]) -> dict[Hour, dict[str, dict[str, Any]]]:
    broken: dict[Hour, dict[str, dict[str, Any]]] = {}
    for row in failed.to_pylist():
        if row["severity"] == "critical" and row["suite"] in suites:
            name = f"{row['suite']}.{row['expectation']}"
            broken.setdefault(Hour.of(row["hour"]), {})[name] = row
    return broken


def _verdict(recorded: FilledHour | None) -> str:
    return recorded.output_digest if recorded else ""
