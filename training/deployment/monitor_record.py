"""Records of the monitor: what was found of the live model in each judged hour, written once.

``<work>/monitor/<hour>-<model_id>-<12 hex>.json``; ``users/`` beside them has what each user added.
Versions before wrote them to ``<work>/watch/``, and the chain of records names them by that folder:
they are read where they lie, and never moved.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from pipeline.errors import HourglassError
from pipeline.hours import Hour
from pipeline.sealed_json import FORMAT, dated_records, file_away_oldest, read_record, write_record
from training.gate.sequential_test import Sums
from training.registry.champion_record import ModelRef
from training.registry.record_chain import FORMER_MONITOR_FOLDER

MONITOR_KIND = "monitor"
_FORMER_KIND = "watch"
RECENT = 1000  # findings that are never filed away, at least
# Reasons of a finding that knew too little; they say nothing against one that knew more.
_UNINFORMED = frozenset({"not_evaluated", "learned_from_the_hour", "data_not_validated"})


class MonitorOutcome(StrEnum):
    """What became of the model that was live."""

    KEPT = "kept"
    REPLACED = "replaced"
    UNJUDGED = "unjudged"


@dataclass(frozen=True)
class MonitorNumbers:
    """What a comparison with the baseline came to.

    ``sums`` are of baseline minus live in this hour alone, for hours to come; ``difference``, of
    live minus baseline, is over all ``looks`` that were judged together; its limits are of one side
    each, with ``confidence``.
    ``statistic`` of all ``chain`` looks of the period that do not overlap says that the baseline is
    better where it has reached ``bound``.
    """

    sums: Sums
    looks: int
    users: int
    targets: int
    live: float
    floor: float
    difference: float
    lower: float
    upper: float
    confidence: float
    statistic: float
    bound: float
    chain: int = 1


@dataclass(frozen=True)
class UsersFile:
    """The file of what each user added to a look."""

    file: str
    sha256: str


@dataclass(frozen=True)
class BaselineResult:
    """What the comparison with one of several baselines came to."""

    model_id: str
    numbers: MonitorNumbers
    users: UsersFile


@dataclass(frozen=True)
class MonitorResult:
    """The finding of one hour; ``replaced_by`` and ``live_record`` where the model was replaced.

    Of several ``baselines``, by name, ``floor_id`` and ``numbers`` are of the one that decided: the
    best of those that the model is surely below, or of all.
    """

    first: Hour
    stop: Hour
    model: ModelRef
    since_record: str | None  # that had made it live
    floor_id: str | None
    frozen_id: str
    rule: Mapping[str, Any]  # metric, k and what else must be equal in hours that count together
    outcome: MonitorOutcome
    reason: str
    sentence: str
    at: str | None
    numbers: MonitorNumbers | None = None
    replaced_by: str | None = None
    live_record: str | None = None
    users: UsersFile | None = None
    baselines: Mapping[str, BaselineResult] | None = None

    def users_against(self, baseline: str) -> UsersFile | None:
        """The file of what each user added to the look at the model and a baseline."""
        if self.baselines is None:
            return self.users
        return self.baselines[baseline].users if baseline in self.baselines else None

    @property
    def informed(self) -> bool:
        """Whether it knew what it had to know."""
        return self.reason not in _UNINFORMED


def folders_with_records(folder: Path) -> tuple[Path, Path]:
    """Where records are read: beside the folder they are written to, the one of versions before."""
    return folder.with_name(FORMER_MONITOR_FOLDER), folder


def write_monitor_result(folder: Path, result: MonitorResult) -> Path:
    """Write the record of a finding.

    Raises:
        HourglassError: a file of that name holds something else.
    """
    content = {"format": FORMAT, "kind": MONITOR_KIND, **asdict(result)}
    content |= {"first": str(result.first), "stop": str(result.stop)}
    if result.baselines is None:
        del content["baselines"]  # a single one is recorded as before there could be several
    file_away_oldest(folder, RECENT)
    return write_record(folder, f"{result.first}-{result.model.model_id}", content)


def read_monitor_result(path: Path) -> MonitorResult:
    """Read and verify the record of a finding.

    Raises:
        HourglassError: it is missing, was changed, or records something else.
    """
    content = dict(read_record(path).content)
    try:
        kind, _ = content.pop("kind"), content.pop("format")
        if kind not in (MONITOR_KIND, _FORMER_KIND):
            raise HourglassError(f"{path}: a {kind} record, not one of the monitor")
        numbers, users = content.pop("numbers"), content.pop("users", None)
        baselines = content.pop("baselines", None)
        return MonitorResult(
            **{
                **content,
                "first": Hour.parse(content["first"]),
                "stop": Hour.parse(content["stop"]),
                "model": ModelRef(**content["model"]),
                "outcome": MonitorOutcome(content["outcome"]),
            },
            numbers=None if numbers is None else _numbers(numbers),
            users=UsersFile(**users) if users else None,
            baselines=None
            if baselines is None
            else {
                name: BaselineResult(
                    **{
                        **each,
                        "numbers": _numbers(each["numbers"]),
                        "users": UsersFile(**each["users"]),
                    }
                )
                for name, each in baselines.items()
            },
        )
    except (KeyError, TypeError, ValueError) as error:
        raise HourglassError(f"{path}: not a whole record of the monitor") from error


def _numbers(content: dict[str, Any]) -> MonitorNumbers:
    return MonitorNumbers(**{**content, "sums": Sums.read(content["sums"])})


def monitor_results_between(
    folder: Path, first: Hour, stop: Hour
) -> list[tuple[Path, MonitorResult]]:
    """The findings about hours that begin in a range, in order.

    Of one hour the one made last counts, of those that knew what they had to know if there are any.
    Those that a version before wrote to its own folder count too.

    Raises:
        HourglassError: one of them was changed.
    """
    by_hour: dict[Hour, tuple[Path, MonitorResult]] = {}
    records = [
        path
        for each in folders_with_records(folder)
        for _, path in dated_records(each, first, stop)
    ]
    for path in sorted(records, key=lambda path: path.name):
        result = read_monitor_result(path)
        earlier = by_hour.get(result.first)
        if earlier is None or _weight(earlier[1]) <= _weight(result):
            by_hour[result.first] = (path, result)
    return [by_hour[hour] for hour in sorted(by_hour)]


def _weight(result: MonitorResult) -> tuple[bool, str]:
    return result.informed, result.at or ""
