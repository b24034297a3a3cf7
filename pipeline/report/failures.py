"""What broke its expectations, grouped for a reader."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from pipeline.hours import Hour


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
    groups: dict[tuple[str, str, str], list[dict[str, object]]] = {}
    for row in failed.to_pylist():
        key = (row["suite"], row["expectation"], row["severity"])
        groups.setdefault(key, []).append(row)
    found = [_group(key, rows, page) for key, rows in groups.items()]
    grave = {"critical": 0}
    found.sort(key=lambda one: (one.suite, one.expectation))
    found.sort(key=lambda one: grave.get(one.severity, 1))
    found.sort(key=lambda one: one.last, reverse=True)
    return tuple(found)


def docs_page(docs: Path, suite: str, batch: str) -> Path | None:
    """The page of a batch below the folder of the Data Docs, None where it was dropped."""
    pages = sorted((docs / "validations" / suite / batch).glob(f"*/{batch}.html"))
    return pages[-1] if pages else None


def _group(
    key: tuple[str, str, str],
    rows: list[dict[str, object]],
    page: Callable[[str, str], str | None],
) -> Failure:
    rows = sorted(rows, key=lambda row: str(row["hour"]))
    hours = sorted({Hour.of(row["hour"]) for row in rows})  # type: ignore[arg-type]
    last = rows[-1]
    accepted = dict.fromkeys(str(row["accepted"]) for row in rows if row["accepted"])
    examples = last["examples"] or ()
    return Failure(
        *key,
        hours=len(hours),
        open=len({str(row["hour"]) for row in rows if not row["accepted"]}),
        first=str(hours[0]),
        last=str(hours[-1]),
        sentence=str(last["sentence"]),
        examples=tuple(str(example) for example in examples),  # type: ignore[attr-defined]
        accepted=tuple(accepted),
        page=page(str(last["suite"]), str(last["batch"])),
    )
