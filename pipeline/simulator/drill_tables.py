"""What a drill found, for people (tables) and for machines (facts)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.hours import DAY_H
from pipeline.simulator.drill_report import MOST_CRITICAL_HOURS, Failure, Judgement
from pipeline.text.wording import counted, verb

if TYPE_CHECKING:
    from rich.table import Table

    from pipeline.simulator.drill import DrillResult


def tables(result: DrillResult) -> list[Table]:
    """A row for each scenario, and one for each expectation that failed in quiet hours."""
    return [_judgement_table(result), _quiet_table(result)]


def _judgement_table(result: DrillResult) -> Table:
    from rich.table import Table

    table = Table("scenario", "expected", "caught by", "severity", "hours", "verdict")
    # Cut to the width of a file that it is written to, names would say nothing.
    for column in table.columns:
        column.no_wrap, column.overflow = True, "ignore"
    for judgement in result.judgements:
        caught, scenario = judgement.caught, judgement.scenario
        table.add_row(
            scenario.name,
            scenario.catch,
            caught.expectation if caught else "",
            caught.severity if caught else "",
            str(judgement.hours_later or ""),
            "good" if judgement.good else f"bad: {judgement.reason}",
        )
    return table


def _quiet_table(result: DrillResult) -> Table:
    from rich.table import Table

    table = Table("failed in quiet hours", "severity", "hours", "of hours")
    for name, severity, n in result.quiet.by_expectation():
        table.add_row(name, severity, f"{n:,}", f"{n / result.quiet.hours:.1%}")
    return table


def drill_sentence(result: DrillResult) -> str:
    """The outcome in one sentence."""
    quiet = result.quiet
    good = sum(judgement.good for judgement in result.judgements)
    return (
        f"{good} of {counted(len(result.judgements), 'scenario')} as they must be; in "
        f"{quiet.hours / DAY_H:g} quiet days {counted(quiet.hours_with('critical'), 'hour')} "
        f"{verb(quiet.hours_with('critical'), 'was', 'were')} critical "
        f"and {quiet.hours_with('warning')} had a warning, of {quiet.hours:,}; validating an hour "
        f"took {result.validate_s_per_hour:.2f} s"
    )


def complaint(result: DrillResult) -> str:
    """What is wrong first of all; empty where nothing is."""
    bad = [judgement for judgement in result.judgements if not judgement.good]
    if bad:
        named = "; ".join(f"{judgement.scenario.name}: {judgement.reason}" for judgement in bad)

        as_must_be = verb(len(bad), "is not judged as it must be", "are not judged as they must be")
        return f"{counted(len(bad), 'scenario')} {as_must_be}: {named}"
    if not result.quiet.good:
        critical = result.quiet.hours_with("critical")
        return (
            f"{counted(critical, 'quiet hour')} {verb(critical, 'was', 'were')} critical "
            f"(limit {MOST_CRITICAL_HOURS}): look at the limits of the expectations that failed"
        )
    return ""


def drill_facts(result: DrillResult) -> dict[str, Any]:
    """Everything, as plain values."""
    quiet = result.quiet
    return {
        "good": result.good,
        "validate_s_per_hour": round(result.validate_s_per_hour, 3),
        "quiet": {
            "hours": quiet.hours,
            "critical_hours": quiet.hours_with("critical"),
            "warning_hours": quiet.hours_with("warning"),
            "by_expectation": [
                {"expectation": name, "severity": severity, "hours": n}
                for name, severity, n in quiet.by_expectation()
            ],
            "failures": [_failure(failure) for failure in quiet.failures],
        },
        "scenarios": [_judgement(judgement) for judgement in result.judgements],
    }


def _judgement(judgement: Judgement) -> dict[str, Any]:
    scenario = judgement.scenario
    return {
        "scenario": scenario.name,
        "happens": scenario.happens,
        "expected": scenario.catch,
        "because": scenario.because,
        "caught": _failure(judgement.caught) if judgement.caught else None,
        "hours_later": judgement.hours_later,
        "others": list(judgement.others),
        "failures": [_failure(failure) for failure in judgement.failures],
        "good": judgement.good,
        "reason": judgement.reason,
    }


def _failure(failure: Failure) -> dict[str, str]:
    return {name: str(value) for name, value in vars(failure).items()}
