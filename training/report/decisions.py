"""The last decisions with the numbers they used."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline.errors import HourglassError, UsageError
from pipeline.hours import Hour
from pipeline.report.format import Interval, number
from pipeline.sealed_json import Record
from training.gate.reasons import check_text, reason_text, reason_texts
from training.report.model_values import CheckFound, Decided

_MOST_ODDS = 1e6
_FORMER_CHECKS = ("beats_champion", "beats_floor")


def decided(record: Record) -> Decided:
    """A decision as the report shows it; what an older file does not tell is None.

    Raises:
        HourglassError: it lacks what every decision has told.
    """
    try:
        return _decided(record)
    except (KeyError, TypeError, ValueError, AttributeError, UsageError) as error:
        raise HourglassError(
            f"{record.path.parent.name}/{record.path.name}: not a whole decision: gate its hour "
            "again"
        ) from error


def _decided(record: Record) -> Decided:
    content = record.content
    candidate = content.get("candidate") or {}
    champion = content.get("champion") or {}
    sequential = content.get("sequential") or {}
    gate, rule = content.get("gate_settings") or {}, content.get("evaluation_settings") or {}
    checks = tuple(_check(found) for found in content.get("checks") or ())
    return Decided(
        hour=str(Hour.parse(content["as_of"])),
        line=str(content.get("line") or candidate.get("system") or candidate["model_id"]),
        model_id=str(candidate["model_id"]),
        champion=champion.get("model_id"),
        outcome=str(content["outcome"]),
        reasons=tuple(str(reason) for reason in content["reasons"]),
        sentence=str(content["sentence"]),
        metric=f"{gate.get('metric', '?')}@{rule.get('k', '?')}",
        gain=interval(sequential.get("difference")) or _former_gain(content),
        lower=_figure(sequential.get("lower")),
        odds=odds(sequential.get("statistic")),
        needed=odds(sequential.get("bound")),
        looks=sequential.get("looks"),
        targets=sequential.get("targets", candidate.get("n_targets")),
        users=sequential.get("users", candidate.get("n_users")),
        checks=checks,
        file=record.path.name,
        why=reason_texts(map(str, content["reasons"])),
    )


def tally(found: Sequence[Decided]) -> dict[str, int]:
    """Decisions by outcome, the good ones first; outcomes that did not happen too."""
    return {
        outcome: sum(one.outcome == outcome for one in found)
        for outcome in ("promote", "hold", "block")
    }


def _former_gain(content: Mapping[str, Any]) -> Interval | None:
    """The difference within the hour, of files that know no accumulated one."""
    by_name = {check.get("name"): check.get("numbers") or {} for check in content["checks"]}
    for name in _FORMER_CHECKS:
        if "difference" in by_name.get(name, {}):
            return interval(by_name[name]["difference"])
    return None


def odds(log_odds: object) -> float | None:
    """What a logarithm of odds stands for, at most a million; None for what is no number."""
    known = _figure(log_odds)
    return None if known is None else math.exp(min(known, math.log(_MOST_ODDS)))


def interval(given: object) -> Interval | None:
    """A mean with its limits as records hold them; None for anything else."""
    if not isinstance(given, Mapping):
        return None
    mean, low, high = (_figure(given.get(name)) for name in ("mean", "lower", "upper"))
    if mean is None:
        return None
    nan = float("nan")
    return Interval(mean, nan if low is None else low, nan if high is None else high)


def _figure(given: object) -> float | None:
    return float(given) if isinstance(given, int | float) else None


def _check(given: Mapping[str, Any]) -> CheckFound:
    return CheckFound(
        name=check_text(str(given["name"])),
        outcome=str(given["outcome"]),
        reason=reason_text(str(given["reason"])),
        sentence=str(given["sentence"]),
        numbers=tuple(_flat(given.get("numbers") or {}, "")),
    )


def _flat(numbers: Mapping[str, Any], above: str) -> Iterator[tuple[str, object]]:
    """Figures by dotted names; an interval is one figure."""
    for name, value in numbers.items():
        found = interval(value)
        if found is not None:
            yield above + name, found
        elif isinstance(value, Mapping):
            yield from _flat(value, f"{above}{name}.")
        elif isinstance(value, list):
            yield above + name, ", ".join(number(one) for one in value)
        else:
            yield above + name, value
