"""What broke its expectations, grouped for a reader."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.hours import Hour, HourRange
from pipeline.text.wording import counted

# What Data Docs call a range of hours: its first one, and how many.
_BATCH = re.compile(r".*\+(\d+)h")


@dataclass(frozen=True)
class Failure:
    """One expectation that hours of the range broke; the sentence is that of the last of them.

    ``accepted`` are the reasons that people gave for going on; ``open`` counts the hours for which
    nobody gave one.  ``examples`` and ``accepted`` are hostile text.
    """

    suite: str
    expectation: str
    severity: str
    hours: int
    open: int
    first: str
    last: str
    sentence: str
    examples: tuple[str, ...]
    accepted: tuple[str, ...]
    page: str | None = None


def failures(failed: pa.Table, page: Callable[[str, str], str | None]) -> tuple[Failure, ...]:
    """Group ``failed_expectations`` by suite, expectation and severity, the newest first.

    Args:
        failed: the table's rows of the range.
        page: address of the page of a suite and batch, None where there is none.
    """
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in failed.to_pylist():
        key = (row["suite"], row["expectation"], row["severity"])
        groups.setdefault(key, []).append(row)
    grouped = [_group(key, rows, page) for key, rows in groups.items()]
    grouped.sort(key=lambda each: (each.severity != "critical", each.suite, each.expectation))
    return tuple(sorted(grouped, key=lambda each: each.last, reverse=True))


def hours_of(row: Mapping[str, Any]) -> HourRange:
    """The hours that a row of ``failed_expectations`` is about: of a batch, all of its hours."""
    first = Hour.of(row["hour"])
    batch = _BATCH.fullmatch(row["batch"] or "")
    return HourRange(first, first + (int(batch[1]) if batch else 1))


def failed_sentence(
    validated: int, hours: int, unexplained: Sequence[Hour], elsewhere: Sequence[str]
) -> str:
    """What is said where no failed expectation is listed.

    Args:
        validated: how many hours have a verdict that counts.
        hours: how many there are.
        unexplained: hours whose verdict is worse than ok, though nothing is listed.
        elsewhere: what else on the page tells of a broken promise.
    """
    if unexplained:
        span = f"--from {unexplained[0]} --to {unexplained[-1] + 1}"
        return (
            f"{counted(len(unexplained), 'hour')} broke a promise, but which is not recorded: "
            f"run hourglass validate {span}."
        )
    if not validated:
        return "No hour was validated, so nobody knows: run hourglass validate."
    of = f"the {counted(validated, 'validated hour')}" + (
        f" ({hours - validated:,} of {hours:,} were not)" if validated < hours else ""
    )
    if elsewhere:
        return (
            f"{of[0].upper()}{of[1:]} passed; what is broken stands above: {', '.join(elsewhere)}."
        )
    return f"No expectation failed in {of}."


def docs_page(docs: Path, suite: str, batch: str) -> Path | None:
    """The page of a batch below the folder of the Data Docs, None where it was dropped."""
    pages = sorted((docs / "validations" / suite / batch).glob(f"*/{batch}.html"))
    return pages[-1] if pages else None


def _group(
    key: tuple[str, str, str],
    rows: list[dict[str, Any]],
    page: Callable[[str, str], str | None],
) -> Failure:
    rows = sorted(rows, key=lambda row: str(row["hour"]))
    hours = sorted({hour for row in rows for hour in hours_of(row)})
    last = rows[-1]
    accepted = dict.fromkeys(str(row["accepted"]) for row in rows if row["accepted"])
    examples = last["examples"] or ()
    return Failure(
        *key,
        hours=len(hours),
        open=len({hour for row in rows if not row["accepted"] for hour in hours_of(row)}),
        first=str(hours[0]),
        last=str(hours[-1]),
        sentence=str(last["sentence"]),
        examples=tuple(str(example) for example in examples),
        accepted=tuple(accepted),
        page=page(str(last["suite"]), str(last["batch"])),
    )
