"""What `validate` prints: a line for each failure, and one for what is said of many hours."""

from __future__ import annotations

from pathlib import Path

from pipeline.quality.checks.results import (
    ExpectationResult,
    Severity,
    ValidationResult,
    failure_lines,
)


def failed(
    batch: str, words: str, severity: Severity = "warning", accepted: bool = False
) -> ExpectationResult:
    sentence = f"hours/{batch}: {words}"
    return ExpectationResult("n", "c", severity, False, "", "", sentence, (), accepted)


def of(batch: str, *results: ExpectationResult) -> ValidationResult:
    return ValidationResult("hours", batch, results, Path("page.html"))


def test_the_rate_of_one_file_is_told_once_for_all_its_hours() -> None:
    results = [
        of(f"H{n}", failed(f"H{n}", "rate is 0.1"), failed(f"H{n}", f"{n}")) for n in range(4)
    ]
    assert failure_lines(results) == [
        "warning: hours/H0 and 3 more up to H3: rate is 0.1",
        *(f"warning: hours/H{n}: {n}" for n in range(4)),
    ]


def test_failures_that_differ_in_weight_stay_apart_and_success_is_not_told() -> None:
    fine = ExpectationResult("n", "c", "critical", True, "", "", "hours/H3: fine")
    results = [
        of("H0", failed("H0", "x", "critical")),
        of("H1", failed("H1", "x", "critical", accepted=True)),
        of("H2", failed("H2", "x")),
        of("H3", fine),
    ]
    assert failure_lines(results) == [
        "critical: hours/H0: x",
        "critical (accepted): hours/H1: x",
        "warning: hours/H2: x",
    ]
    assert failure_lines([]) == []
