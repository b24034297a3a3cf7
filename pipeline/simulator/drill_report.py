"""What a drill's alarms mean: was the trouble caught, and was anything raised without any."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.hours import Hour
from pipeline.quality.checks.results import Severity, ValidationResult
from pipeline.simulator.scenarios import Alarm, Scenario

# An expectation that fails more often than this in quiet hours says nothing when it fails again.
COMMON_RATE = 0.02
MOST_CRITICAL_HOURS = 1
_SEVERITY_ORDER: dict[Alarm, int] = {"quiet": 0, "warning": 1, "critical": 2}


@dataclass(frozen=True)
class Failure:
    """One expectation that failed when an hour was validated.

    ``seen`` is the hour at whose end it was: hours that have changed are judged again later.
    """

    hour: Hour
    seen: Hour
    expectation: str
    severity: Severity
    observed: str
    limit: str
    sentence: str


@dataclass(frozen=True)
class FalseAlarms:
    """What failed in the quiet hours: how many there were, and every failure."""

    hours: int
    failures: tuple[Failure, ...]

    def hours_with(self, severity: Severity) -> int:
        """In how many quiet hours something of this severity failed."""
        return len({f.hour for f in self.failures if f.severity == severity})

    def by_expectation(self) -> list[tuple[str, Severity, int]]:
        """Expectation, severity and number of hours, critical ones and frequent ones first."""
        counts = Counter((f.expectation, f.severity) for f in self.failures)
        rows = [(name, severity, n) for (name, severity), n in counts.items()]
        return sorted(rows, key=lambda row: (-_SEVERITY_ORDER[row[1]], -row[2], row[0]))

    @property
    def common(self) -> frozenset[tuple[str, Severity]]:
        """The expectations that fail too often in quiet hours to tell anything."""
        return frozenset(
            (name, severity)
            for name, severity, n in self.by_expectation()
            if n > COMMON_RATE * self.hours
        )

    @property
    def good(self) -> bool:
        """Whether the quiet hours stopped the loop once at most."""
        return self.hours_with("critical") <= MOST_CRITICAL_HOURS


@dataclass(frozen=True)
class Judgement:
    """How validation fared in one scenario; ``caught`` is the failure that counts, if any.

    ``hours_later`` is from the beginning of the fault to the end of the hour that raised it, which
    is when an hour is validated.  ``others`` are the further expectations that failed, and
    ``failures`` are all that failed, those that quiet hours raise as well included.
    """

    scenario: Scenario
    caught: Failure | None
    hours_later: int | None
    others: tuple[str, ...]
    failures: tuple[Failure, ...]
    good: bool
    reason: str


def failures_of(
    results: Iterable[ValidationResult], judged_at: Hour | None = None
) -> list[Failure]:
    """The failed expectations of validated hours, in the order in which they were judged.

    ``judged_at`` is the hour of the run; none: each hour was judged when it ended.
    """
    return [
        Failure(
            Hour.parse(outcome.batch_name),
            judged_at or Hour.parse(outcome.batch_name),
            f"{outcome.suite}.{result.name}",
            result.severity,
            result.observed,
            result.limit,
            result.sentence,
        )
        for outcome in results
        for result in outcome.results
        if not result.success
    ]


def judge(
    scenario: Scenario, failures: Sequence[Failure], begin: Hour, quiet: FalseAlarms
) -> Judgement:
    """Hold what failed from the fault's first hour on against what the scenario demands.

    The failure that counts is the first that is as grave as it must be, or else the first of all.
    """
    noticed = [f for f in failures if (f.expectation, f.severity) not in quiet.common]
    noticed.sort(key=lambda f: (f.seen, -_SEVERITY_ORDER[f.severity]))
    enough = [f for f in noticed if _SEVERITY_ORDER[f.severity] >= _SEVERITY_ORDER[scenario.catch]]
    first = next(iter(enough or noticed), None)
    raised: list[Alarm] = ["quiet", *(f.severity for f in noticed)]
    gravest = max(raised, key=_SEVERITY_ORDER.__getitem__)
    at_most = scenario.at_most
    if scenario.catch != "quiet" and not enough:
        reason = "not caught" if first is None else f"only {first.severity}"
    elif _SEVERITY_ORDER[gravest] > _SEVERITY_ORDER[at_most]:
        reason = f"{gravest}, where at most {at_most} is right"
        first = next(f for f in noticed if f.severity == gravest)
    else:
        reason = ""
    names = dict.fromkeys(f.expectation for f in noticed)
    return Judgement(
        scenario,
        first,
        first.seen.index + 1 - begin.index if first else None,
        tuple(name for name in names if first is None or name != first.expectation),
        tuple(failures),
        not reason,
        reason,
    )
