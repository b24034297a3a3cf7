"""The table of a protocol: what was published, and beside it what was reached here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.text.wording import counted
from training.protocols.run import Result, Row

_LARGE = 10.0  # from here on a figure is no share


def facts(result: Result) -> dict[str, Any]:
    """The table for machines."""
    return {
        "data": result.data,
        "files": [str(path) for path in result.files],
        "sizes": dict(result.sizes),
        **({"total_variation": dict(result.shift)} if result.shift else {}),
        "rows": [
            {
                "model": row.name,
                "reached": {name: estimate.facts for name, estimate in row.reached.items()},
                "published": dict(row.published),
                "note": row.note,
            }
            for row in result.rows
        ],
    }


def text(result: Result) -> str:
    """The table for people; the columns in brackets are the paper's."""
    protocol, sizes = result.protocol, result.sizes
    published = {name for row in result.rows for name in row.published}
    head = ["model"]
    for name in result.columns:
        head += [name, "(paper)"] if name in published else [name]
    lines = [[row.name, *_cells(row, result.columns, published), row.note] for row in result.rows]
    log = [
        f"{what}: {counted(sizes[f'{what}_events'], 'event')} of "
        f"{counted(sizes[f'{what}_users'], 'user')} on {counted(sizes[f'{what}_items'], 'item')}"
        for what in ("read", "prepared", "learned")
    ]
    log.append(f"preparation: {protocol.preparation_of(protocol.data[result.data])}")
    asked_of = (
        f"asked: {counted(sizes['targets'], 'target')} of "
        f"{counted(sizes['tested_users'], 'user')}; "
        f"{counted(sizes['left_out_targets'], 'target')} on unknown items left out"
    )
    title = f"{protocol.id} on {result.data}: {protocol.title} ({protocol.paper})"
    if "words" in sizes:
        log.append(
            f"ranked: {counted(sizes['ranked_items'], 'product')}, described by "
            f"{counted(sizes['words'], 'word')}"
        )
    if result.shift:
        distances = ", ".join(f"{name} {value:.2f}" for name, value in result.shift.items())
        log.append(f"total variation: {distances}")
    if curve := protocol.data[result.data].curve:
        log.append(f"{curve} of the paper shows this without numbers: compare with the note")
    elif not published:
        log.append("nothing was published of this log: there are no figures of a paper to compare")
    note = [f"note: {' '.join(protocol.notes.split())}"] if protocol.notes else []
    return "\n".join([title, *log, asked_of, *_aligned([[*head, ""], *lines]), *note])


def _cells(row: Row, columns: Sequence[str], published: set[str]) -> list[str]:
    cells = []
    for name in columns:
        estimate = row.reached.get(name)
        cells.append("-" if estimate is None else _shown(estimate.mean, estimate.half_width))
        if name in published:
            figure = row.published.get(name)
            cells.append("" if figure is None else f"({_number(figure)})")
    return cells


def _shown(mean: float, half_width: float) -> str:
    # Not a number where one seed alone was run.
    width = f" ±{_number(half_width)}" if half_width == half_width else ""  # noqa: PLR0124
    return f"{_number(mean)}{width}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= _LARGE else f"{value:.4f}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    last = len(widths) - 1
    return [
        "  ".join(
            cell.ljust(width) if at in (0, last) else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
