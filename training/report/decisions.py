"""The last decisions with the numbers they used."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.errors import HourglassError, UsageError
from pipeline.hours import Hour
from pipeline.report.format import Interval, number
from pipeline.sealed_json import Record
from training.gate.evidence import CheckResult, Outcome

_MOST_ODDS = 1e6
_FORMER_CHECKS = ("beats_champion", "beats_floor")


@dataclass(frozen=True)
class DecisionRow:
    """One decision of the gate on one model; what its file does not tell is None.

    Over all its looks: ``gain`` is the difference to the champion with its interval, ``lower`` its
    sequential lower limit, which must be above 0, ``odds`` the evidence for a gain and ``needed``
    that which proves one.  ``targets`` and ``users`` are of all looks, or of the hour where a file
    knows no looks.
    """

    hour: Hour
    name: str
    model_id: str
    champion: str | None
    outcome: str
    reasons: tuple[str, ...]
    sentence: str
    gain: Interval | None
    lower: float | None
    odds: float | None
    needed: float | None
    looks: int | None
    targets: int | None
    users: int | None
    checks: tuple[CheckResult, ...]
    file: str


def decided(record: Record) -> DecisionRow:
    """A decision as the report shows it.

    Raises:
        HourglassError: it lacks what every decision has told.
    """
    content = record.content
    try:
        candidate, champion = content["candidate"], content.get("champion") or {}
        sequential = content.get("sequential") or {}
        return DecisionRow(
            hour=Hour.parse(content["as_of"]),
            name=str(content.get("line") or candidate.get("system") or candidate["model_id"]),
            model_id=str(candidate["model_id"]),
            champion=champion.get("model_id"),
            outcome=str(content["outcome"]),
            reasons=tuple(map(str, content["reasons"])),
            sentence=str(content["sentence"]),
            gain=interval(sequential.get("difference")) or _former_gain(content),
            lower=_real(sequential.get("lower")),
            odds=odds(sequential.get("statistic")),
            needed=odds(sequential.get("bound")),
            looks=sequential.get("looks"),
            targets=sequential.get("targets", candidate.get("n_targets")),
            users=sequential.get("users", candidate.get("n_users")),
            checks=tuple(
                CheckResult(
                    str(check["name"]),
                    Outcome(check["outcome"]),
                    str(check["reason"]),
                    str(check["sentence"]),
                    check.get("numbers") or {},
                )
                for check in content.get("checks") or ()
            ),
            file=record.path.name,
        )
    except (KeyError, TypeError, ValueError, AttributeError, UsageError) as error:
        raise HourglassError(
            f"{record.folder.name}/{record.path.name}: not a whole decision: gate its hour again"
        ) from error


def tally(decisions: Iterable[DecisionRow]) -> dict[str, int]:
    """Decisions by outcome, the good ones first; outcomes that did not happen too."""
    counts = Counter(decision.outcome for decision in decisions)
    return {outcome.value: counts[outcome.value] for outcome in Outcome}


def _former_gain(content: Mapping[str, Any]) -> Interval | None:
    """The difference within the hour, of files that know no accumulated one."""
    by_name = {check.get("name"): check.get("numbers") or {} for check in content["checks"]}
    for name in _FORMER_CHECKS:
        if "difference" in by_name.get(name, {}):
            return interval(by_name[name]["difference"])
    return None


def odds(log_odds: object) -> float | None:
    """What a logarithm of odds stands for, at most a million; None for what is no number."""
    logarithm = _real(log_odds)
    if logarithm is None:
        return None
    return _MOST_ODDS if logarithm >= math.log(_MOST_ODDS) else math.exp(logarithm)


def interval(limits: object) -> Interval | None:
    """A mean with its limits as records hold them; None for anything else."""
    if not isinstance(limits, Mapping):
        return None
    mean, low, high = (_real(limits.get(name)) for name in ("mean", "lower", "upper"))
    if mean is None:
        return None
    nan = float("nan")
    return Interval(mean, nan if low is None else low, nan if high is None else high)


def _real(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def figures(numbers: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, object]]:
    """Numbers of a check by dotted names; an interval is one figure, a list is text."""
    for name, value in numbers.items():
        if (limits := interval(value)) is not None:
            yield above + name, limits
        elif isinstance(value, Mapping):
            yield from figures(value, f"{above}{name}.")
        elif isinstance(value, list):
            yield above + name, ", ".join(map(number, value))
        else:
            yield above + name, value
