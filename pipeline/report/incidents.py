"""Hours that were critical, as the log of incidents tells of them, mended ones too."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

import pyarrow as pa

from pipeline.hours import Hour, contiguous
from pipeline.quality.verdict_log import kind_of
from pipeline.quality.verdicts import Kind
from pipeline.report.format import stamp

IncidentState = Literal["open", "accepted", "mended"]
_UNKNOWN = "a time that was not recorded"
_CAUSES = {
    "data_changed": "validated again after its data had changed",
    "expectation_changed": "validated again after the expectation had changed",
    "settings_changed": "validated again after the settings had changed",
    "compared_anew": "validated again and compared with hours that had changed",
}


@dataclass(frozen=True)
class Incident:
    """Hours in a row that broke a critical promise, since when, and what became of it.

    ``sentence`` and ``settled`` hold texts of people and of the data: hostile.
    """

    kind: Kind
    since: str
    state: IncidentState
    until: str | None
    settled: tuple[str, ...]
    first: str = ""
    last: str = ""
    hours: int = 0
    sentence: str = ""


def incidents(
    changes: pa.Table, critical: Mapping[tuple[Kind, Hour], str], failed: pa.Table
) -> tuple[Incident, ...]:
    """What happened to hours, the newest first.

    Args:
        changes: rows of ``incidents``.
        critical: the verdicts ``critical`` and ``accepted`` that stand; where the log does not know
            of one, it is from before there was a log.
        failed: rows of ``failed_expectations``, which then tell what was broken.
    """
    rows: dict[tuple[Kind, Hour], list[dict[str, Any]]] = defaultdict(list)
    for row in sorted(changes.to_pylist(), key=lambda row: row["number"]):
        rows[row["kind"], Hour.of(row["hour"])].append(row)
    for key, row in _before_the_log(critical, failed).items():
        if key not in rows:
            rows[key] = [row]
    # Equal incidents of hours in a row, with the same broken promises, are one.
    sentences: dict[tuple[Incident, tuple[str, ...]], dict[Hour, str]] = defaultdict(dict)
    for (kind, hour), of_hour in rows.items():
        for steps in _split(of_hour):
            story = _story(kind, steps), tuple(_last(steps, "expectations") or ())
            sentences[story][hour] = _last(steps, "sentence") or ""
    merged = [
        replace(
            incident,
            first=str(hours.first),
            last=str(hours.stop - 1),
            hours=len(hours),
            sentence=by_hour[hours.first],
        )
        for (incident, _), by_hour in sentences.items()
        for hours in contiguous(by_hour)
    ]
    merged.sort(key=lambda incident: (incident.kind, incident.since))
    return tuple(sorted(merged, key=lambda incident: incident.last, reverse=True))


def _before_the_log(
    critical: Mapping[tuple[Kind, Hour], str], failed: pa.Table
) -> dict[tuple[Kind, Hour], dict[str, Any]]:
    """Rows for the verdicts that stand, as the log would have them."""
    broken: dict[tuple[Kind, Hour], list[dict[str, Any]]] = defaultdict(list)
    for row in failed.to_pylist():
        if row["severity"] == "critical":
            broken[kind_of(row["suite"]), Hour.of(row["hour"])].append(row)
    rows = {}
    for key, verdict in critical.items():
        of_hour = broken.get(key, [])
        first = of_hour[0] if of_hour else {}
        rows[key] = {
            "at": None,
            "by": None,
            "verdict": verdict,
            "cause": "",
            "reason": first.get("accepted"),
            "sentence": first.get("sentence"),
            "expectations": sorted(f"{row['suite']}.{row['expectation']}" for row in of_hour),
        }
    return rows


def _split(rows: Iterable[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The changes of one hour, one list for each time that it was critical."""
    incidents: list[list[dict[str, Any]]] = []
    closed = True
    for row in rows:
        if closed:
            incidents.append([])
        incidents[-1].append(row)
        closed = row["verdict"] not in ("critical", "accepted")
    return incidents


def _story(kind: Kind, steps: Sequence[dict[str, Any]]) -> Incident:
    """One incident of one hour, from its changes."""
    opening, last = steps[0], steps[-1]
    began = opening["verdict"] == "critical"
    states: dict[str, IncidentState] = {"critical": "open", "accepted": "accepted"}
    state = states.get(last["verdict"], "mended")
    return Incident(
        kind,
        _time(opening["at"]) if began or opening["verdict"] == "accepted" else _UNKNOWN,
        state,
        None if state == "open" else _time(last["at"]),
        tuple(_settling(step) for step in steps[1 if began else 0 :]),
    )


def _settling(step: Mapping[str, Any]) -> str:
    """What one change did, when, and by whom."""
    verdict = step["verdict"]
    if verdict == "accepted":
        reason = step["reason"] or "no reason was recorded"
        done = f'accepted, because "{reason}"'
    elif verdict == "critical":
        done = "critical for another reason"
    else:
        done = f"{_CAUSES.get(step['cause'], 'validated again')}: it passes"
    by = f" by {step['by']}" if step["by"] else ""
    at = f"{_time(step['at'])}: " if step["at"] else ""
    return f"{at}{done}{by}"


def _last(steps: Sequence[Mapping[str, Any]], name: str) -> Any:  # noqa: ANN401 - of any column
    return next((step[name] for step in reversed(steps) if step[name]), None)


def _time(at: datetime | None) -> str:
    return stamp(at.isoformat()) if at else _UNKNOWN
