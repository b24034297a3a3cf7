"""What validation said of hours, as far as it is still about what they hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from pipeline.errors import HourglassError
from pipeline.hours import Hour, HourRange
from pipeline.lake.lake import FilledHour, Lake, State
from pipeline.lake.steps import EMPTY_DIGEST, INGEST, SESSIONIZE, VALIDATE
from pipeline.lake.tables import FAILED_EXPECTATIONS
from pipeline.quality.checks.results import (
    ValidationResult,
    critical_failures,
    critical_sentence,
)

Kind = Literal["events", "sessions"]
# Worst last; `accepted` is critical, but a person let it pass.
VERDICTS = ("ok", "warning", "accepted", "critical")
STEPS: Mapping[Kind, str] = {"events": VALIDATE, "sessions": "validate_sessions"}
# By step and hour, what was recorded.
Steps = Mapping[str, Mapping[Hour, FilledHour]]
# The step whose outcome a verdict is about.
JUDGED: Mapping[Kind, str] = {"events": INGEST, "sessions": SESSIONIZE}


def content_of(filled: Mapping[Hour, FilledHour], hour: Hour) -> str:
    """Digest of the rows that a verdict is about."""
    return filled[hour].output_digest if hour in filled else EMPTY_DIGEST


def standing_verdicts(steps: Steps, kind: Kind, hours: HourRange) -> dict[Hour, str]:
    """Verdicts on hours that count: those on what they hold now, and any that is critical.

    What a critical hour holds by now may have changed, but nobody has found it any better.
    """
    filled = steps.get(JUDGED[kind], {})
    return {
        hour: verdict.output_digest
        for hour, verdict in steps.get(STEPS[kind], {}).items()
        if hour in hours
        and (
            verdict.output_digest == "critical" or verdict.input_digest == content_of(filled, hour)
        )
    }


def verdicts_of(
    lake: Lake, kind: Kind, hours: HourRange, state: State | None = None
) -> dict[Hour, str]:
    """As :func:`standing_verdicts`, of what a lake has recorded."""
    return standing_verdicts(lake.filled_steps(hours.first, state), kind, hours)


def changed_hours(steps: Steps, kind: Kind, before: Hour) -> list[Hour]:
    """The hours before a time that hold other things by now than when they were judged."""
    filled, verdicts = steps.get(JUDGED[kind], {}), steps.get(STEPS[kind], {})
    return sorted(
        hour
        for hour, verdict in verdicts.items()
        if hour < before and verdict.input_digest != content_of(filled, hour)
    )


def refused_hours(lake: Lake, kind: Kind, hours: HourRange) -> dict[Hour, str]:
    """The critical hours of a range, each with the sentence that says why."""
    state = lake.state()
    critical = sorted(
        hour
        for hour, verdict in verdicts_of(lake, kind, hours, state).items()
        if verdict == "critical"
    )
    if not critical:
        return {}
    failed = lake.arrow(
        FAILED_EXPECTATIONS,
        HourRange.covering(critical),
        state,
        columns=("hour", "severity", "sentence"),
    ).to_pylist()
    reasons: dict[Hour, str] = {}
    for row in failed:
        if row["severity"] == "critical":
            reasons.setdefault(Hour.of(row["hour"]), row["sentence"])
    return {hour: reasons.get(hour, "a critical expectation failed") for hour in critical}


def refuse_learning_from(lake: Lake, hours: HourRange) -> None:
    """Let hours pass of which none is critical.

    Raises:
        HourglassError: naming the first that is, why, and what may be done.
    """
    refused = refused_hours(lake, "events", hours) | refused_hours(lake, "sessions", hours)
    if refused:
        hour = min(refused)
        raise HourglassError(
            f"{len(refused)} of the hours {hours} failed a critical expectation; "
            f"{refused[hour]}; {how_to_go_on(hour)}"
        )


def refuse_critical_hours(results: Sequence[ValidationResult]) -> None:
    """Let hours pass in which nothing critical failed.

    Raises:
        HourglassError: what failed first, and how to go on.
    """
    if failures := critical_failures(results):
        hour = Hour.parse(failures[0][0].batch_name)
        raise HourglassError(f"{critical_sentence(failures)}; {how_to_go_on(hour)}")


def how_to_go_on(hour: Hour) -> str:
    """The two ways out of a critical hour."""
    return (
        "mend the data, ingest and validate them again, or let the hour pass with "
        f'`hourglass validate --from {hour} --to {hour + 1} --accept "why"`'
    )


def quality_passed(
    lake: Lake, learned: HourRange, judged_hours: HourRange, judging: State
) -> bool | None:
    """Whether the hours that a model learned from, and those that judge it, may be trusted.

    False where one was found critical, by now or as it judges, and nobody let it pass; None where
    one that judges was never validated as it judges.

    Args:
        lake: the tables.
        learned: hours that the model learned from.
        judged_hours: hours that judge it.
        judging: the state that the events which judge were read from.  Late ones that came since
            do not judge, and need not have been validated yet; mended ones do not excuse those.
    """
    hours = HourRange(learned.first, judged_hours.stop)
    kinds: tuple[Kind, ...] = ("events", "sessions")
    now, then = lake.filled_steps(hours.first), lake.filled_steps(hours.first, judging)
    by_now = {v for kind in kinds for v in standing_verdicts(now, kind, hours).values()}
    of_events, of_sessions = (_on_content((now, then), kind, judged_hours) for kind in kinds)
    if "critical" in by_now.union(of_events.values(), of_sessions.values()):
        return False
    return True if of_events.keys() >= set(judged_hours) else None


def _on_content(now_and_then: tuple[Steps, Steps], kind: Kind, hours: HourRange) -> dict[Hour, str]:
    """The last verdict on what hours held then, of those that had one."""
    now, then = now_and_then
    held_then = then.get(JUDGED[kind], {})
    return {
        hour: verdict.output_digest
        for steps in (then, now)  # of two the later one counts
        for hour, verdict in steps.get(STEPS[kind], {}).items()
        if hour in hours and verdict.input_digest == content_of(held_then, hour)
    }
