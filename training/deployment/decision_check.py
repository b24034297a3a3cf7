"""Whether a decision says what its own checks and sums say: asked before it is carried out."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from pipeline.errors import HourglassError
from pipeline.sealed_json import Record, dated_records, read_record, where_filed
from pipeline.settings.learning import EvaluationSettings, GateSettings
from training.deployment.champion import changing
from training.gate.decision_file import DecisionRecord, read_decision
from training.gate.evidence import Check, CheckResult, Contestant, Evidence, Outcome
from training.gate.gate import COMPARISONS, PRECONDITIONS, further_checks, verdict
from training.gate.past_looks import Look, look_of
from training.gate.preconditions import earlier_evidence
from training.gate.roles import FLOOR
from training.registry.mlflow_registry import Registry
from training.registry.record_chain import Chain, refuse_unlinked, verified_chain

_AGAIN = "run hourglass gate again"
_Settings = TypeVar("_Settings", bound=BaseModel)


def refuse_inconsistent(decision: DecisionRecord, digests: Mapping[str, str] | None = None) -> None:
    """Let a decision pass whose outcome and reasons come out of its checks again.

    Of a promotion every check must be there, and the comparisons are made once more, by the gate's
    own functions, from the sums of its look and of those that it counted; what cannot be had from
    sums (that the artefact loads, the quality of the data) is taken from its checks.

    Args:
        decision: as it was read.
        digests: SHA-256 of linked records by ``decisions/<file>``; the looks that were counted must
            be among them.  None: by the decision's own word.

    Raises:
        HourglassError: it says something else, or cannot be computed again.
    """
    name = decision.record.path.name
    results = _checks(decision)
    if not results:
        raise HourglassError(f"{name} holds no checks, so its outcome cannot be verified: {_AGAIN}")
    outcome, reasons, _ = verdict(results)
    if (outcome, reasons) != (decision.outcome, decision.reasons):
        raise HourglassError(
            f"{name} says {decision.outcome} ({', '.join(decision.reasons)}), but its checks say "
            f"{outcome} ({', '.join(reasons)}): {_AGAIN}"
        )
    if decision.outcome is not Outcome.PROMOTE:
        return
    written = {result.name: result for result in results}
    _refuse_missing(name, (*PRECONDITIONS, earlier_evidence, *COMPARISONS), written)
    evidence = _evidence(decision, digests)
    further = further_checks(evidence.gate)
    _refuse_missing(name, further, written)
    for compare in (*COMPARISONS, *further):
        again = compare(evidence)
        before = written[again.name]
        if (again.outcome, again.reason) != (before.outcome, before.reason):
            raise HourglassError(
                f"{name}: the check {again.name} says {before.reason}, but its sums say "
                f"{again.reason} ({again.sentence}): {_AGAIN}"
            )


def _refuse_missing(name: str, wanted: Sequence[Check], written: Container[str]) -> None:
    for check in wanted:
        if check.__name__ not in written:
            raise HourglassError(
                f"{name} says promote, but holds no check {check.__name__}: {_AGAIN}"
            )


def verified_decision(registry: Registry, file: Path, doing: str) -> DecisionRecord:
    """A decision that is in the verified chain of records and agrees with itself.

    Args:
        registry: holds the head of the chain.
        file: of the decision.
        doing: what others are told meanwhile, such as ``refitting hrnn-0123``.

    Raises:
        HourglassError: it is not, or another record is missing or was changed.
    """
    decision = read_decision(file)
    records = registry.records
    with changing(records, doing):
        chain = chain_of_decision(registry, decision)
    refuse_unlinked(chain, records, file, decision.record.sha256)
    refuse_inconsistent(decision, chain.digests)
    return decision


def chain_of_decision(registry: Registry, decision: DecisionRecord) -> Chain:
    """The verified chain, with all that is for or against a decision if it is linked.

    That is the decision, the looks that it counted, decisions on its hour or later ones, which may
    void it, and answers to them.  It goes back to the first of these, so what is gone since shows;
    and what no link names is set aside, wherever it lies.  The caller holds the lock of the live
    model.

    Raises:
        HourglassError: a record is missing or was changed.
    """
    records, record = registry.records, decision.record
    looks = [look for look in record.content.get("earlier_looks") or () if isinstance(look, dict)]
    about = {path.name for _, path in dated_records(records, decision.as_of)} | {record.path.name}
    names = {*about, *(str(look.get("file")) for look in looks), *_answers_filed(records, about)}
    return verified_chain(
        registry,
        since=f"{records.name}/{record.path.name}",
        naming=[f"{records.name}/{name}" for name in names],
    )


def _answers_filed(records: Path, decisions: Set[str]) -> list[str]:
    """Answers to decisions that are filed away; only names are read.

    An answer's name begins with the digest that the name of its decision ends in.
    """
    filed = where_filed(records / "approval-").parent
    digests = {name.removesuffix(".json").rpartition("-")[2] for name in decisions}
    paths = filed.glob("approval-*-*.json")
    return [path.name for path in paths if path.name.split("-")[1] in digests]


def _checks(decision: DecisionRecord) -> list[CheckResult]:
    try:
        return [
            CheckResult(
                check["name"],
                Outcome(check["outcome"]),
                check["reason"],
                check["sentence"],
                check.get("numbers") or {},
            )
            for check in decision.record.content.get("checks") or ()
        ]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _unreadable(decision, "its checks") from error


def _evidence(decision: DecisionRecord, digests: Mapping[str, str] | None) -> Evidence:
    """What the comparisons need, without ranks."""
    content, folder = decision.record.content, decision.record.folder
    if not content.get("look"):
        raise _unreadable(decision, "its look")
    try:
        look = look_of(folder, decision.record)
        earlier = tuple(
            _earlier(folder, decision, named["file"], named["sha256"], digests)
            for named in content.get("earlier_looks") or ()
        )
        if any(each.baselines.keys() != look.baselines.keys() for each in earlier):
            raise _unreadable(decision, "whom its looks were compared with")
        gate = gate_settings_of(decision)
        if look.baselines.keys() != set(gate.baselines):
            raise _unreadable(decision, "the comparisons with its baselines")
        return Evidence(
            frozen_id=str(content.get("evaluation_id")),
            start=decision.as_of,
            candidate=_contestant(content["candidate"], decision),
            champion=_contestant(content["champion"], decision) if content["champion"] else None,
            baselines=_baselines(decision, look),
            artefact_report=None,
            quality_passed=None,
            rule=_settings(EvaluationSettings, content["evaluation_settings"]),
            gate=gate,
            seed=int(content.get("seed") or 0),
            name=decision.line,
            n_candidates=int(content.get("lines_sharing_the_risk") or 1),
            shown=_shown(content),
            recorded_look=look,
            earlier=lambda _: earlier,
        )
    except (KeyError, TypeError, ValueError, ValidationError) as error:
        raise _unreadable(decision, "its sums") from error


def _earlier(
    folder: Path,
    decision: DecisionRecord,
    file: str,
    sha256: str,
    digests: Mapping[str, str] | None,
) -> Look:
    record: Record = read_record(folder / file)
    linked = sha256 if digests is None else digests.get(f"{folder.name}/{file}")
    if not record.sha256 == sha256 == linked:
        raise HourglassError(
            f"{file}: not the decision that {decision.record.path.name} counted, or it is in no "
            f"chain of records: {_AGAIN}"
        )
    return look_of(folder, record)


def _shown(content: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """What lists show, by role; a file has null for what is no number."""
    return {
        role: {name: math.nan if value is None else value for name, value in figures.items()}
        for role, figures in (content.get("shown") or {}).items()
    }


def _baselines(decision: DecisionRecord, look: Look) -> dict[str, Contestant]:
    """The baselines by their names, which their sums are recorded by."""
    content = decision.record.content
    floors = content.get("floors")
    if floors is None:
        (name,) = look.baselines
        floors = {name: content.get(FLOOR) or {"model_id": "the baseline"}}
    return {name: _contestant(floors[name], decision) for name in look.baselines}


def _contestant(content: Mapping[str, Any], decision: DecisionRecord) -> Contestant:
    return Contestant(
        model_id=str(content["model_id"]),
        system=str(content.get("system")),
        dataset_id=str(content.get("dataset_id")),
        as_of=decision.as_of,
        ranks=None,
        ranks_sha256=None,
        version=content.get("version"),
    )


def _settings(kind: type[_Settings], content: Mapping[str, Any]) -> _Settings:
    """Settings of the decision's time; keys that are no more say nothing to today's checks."""
    return kind.model_validate({k: v for k, v in content.items() if k in kind.model_fields})


def gate_settings_of(decision: DecisionRecord) -> GateSettings:
    """By which settings it was made.

    Raises:
        KeyError: it does not tell.
        ValidationError: a value is none that the settings could have.
    """
    return _settings(GateSettings, decision.record.content["gate_settings"])


def _unreadable(decision: DecisionRecord, what: str) -> HourglassError:
    return HourglassError(
        f"{decision.record.path.name}: {what} cannot be read, so its outcome cannot be verified: "
        f"{_AGAIN}"
    )
