"""What a validation said: one outcome per expectation, and the worst of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pipeline.errors import HourglassError

Severity = Literal["critical", "warning"]
Verdict = Literal["ok", "warning", "critical"]


@dataclass(frozen=True)
class ExpectationResult:
    """One expectation on one batch; ``sentence`` says it all, the rest is for tables.

    ``examples`` are a few offending values as text: raw and hostile, escape them.  ``accepted``
    marks a failure that a person let pass.
    """

    name: str
    column: str | None
    severity: Severity
    success: bool
    observed: str
    limit: str
    sentence: str
    examples: tuple[str, ...] = ()
    accepted: bool = False


@dataclass(frozen=True)
class ValidationResult:
    """All outcomes of one suite on one batch, in the order of the suite, and their HTML page."""

    suite: str
    batch_name: str
    results: tuple[ExpectationResult, ...]
    page: Path

    @property
    def verdict(self) -> Verdict:
        """The worst failure, or ``ok``."""
        return worst(self.results)

    def waived(self) -> ValidationResult:
        """The same, its critical failures accepted."""
        results = (
            replace(result, accepted=not result.success and result.severity == "critical")
            for result in self.results
        )
        return replace(self, results=tuple(results))


def worst(results: Iterable[ExpectationResult]) -> Verdict:
    """The gravest severity among the failed expectations; ``ok`` where none failed."""
    failed = {result.severity for result in results if not result.success}
    if "critical" in failed:
        return "critical"
    return "warning" if failed else "ok"


def failure_lines(results: Iterable[ValidationResult]) -> list[str]:
    """A line for each failure; one that is said of several batches in the same words is said once.

    The hours of a log that came in one file all have that file's rates, for one.
    """
    batches: dict[tuple[str, str], list[str]] = {}
    for outcome in results:
        for result in outcome.results:
            if result.success:
                continue
            passed = " (accepted)" if result.accepted else ""
            batch = f"{outcome.suite}/{outcome.batch_name}"
            said_of = result.sentence.startswith(f"{batch}: ")
            words = result.sentence.removeprefix(f"{batch}: ") if said_of else result.sentence
            key = (f"{result.severity}{passed}", words)
            batches.setdefault(key, []).append(batch if said_of else "")
    return [_failure_line(*key, names) for key, names in batches.items()]


def _failure_line(severity: str, words: str, batches: list[str]) -> str:
    others = len(batches) - 1
    if not batches[0]:
        return f"{severity}: {words}"
    more = f" and {others} more up to {batches[-1].rpartition('/')[2]}" if others else ""
    return f"{severity}: {batches[0]}{more}: {words}"


def critical_failures(
    results: Iterable[ValidationResult],
) -> list[tuple[ValidationResult, ExpectationResult]]:
    """Those that nobody let pass, each with the batch that it is of."""
    return [
        (outcome, result)
        for outcome in results
        for result in outcome.results
        if not result.success and result.severity == "critical" and not result.accepted
    ]


def refuse_critical(results: Iterable[ValidationResult]) -> None:
    """Let ``ok`` and ``warning`` pass.

    Raises:
        HourglassError: a critical expectation failed; the sentence is the first one's.
    """
    if failures := critical_failures(results):
        raise HourglassError(critical_sentence(failures))


def critical_sentence(failures: Sequence[tuple[ValidationResult, ExpectationResult]]) -> str:
    """The first one's, and how many more there are."""
    others = len(failures) - 1
    more = f" (and {others} more critical {'failure' if others == 1 else 'failures'})"
    return failures[0][1].sentence + (more if others else "")
