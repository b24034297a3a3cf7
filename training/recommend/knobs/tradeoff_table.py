"""The tables of what knobs cost, for people and for machines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pipeline.sealed_json import json_ready
from pipeline.text.wording import counted
from training.evaluation.leaderboard import TITLES, share_text
from training.metrics.bootstrap import Interval
from training.metrics.metrics import METRICS
from training.recommend.knobs.tradeoff import Cost

if TYPE_CHECKING:
    from rich.table import Table


def facts(rows: Sequence[Cost]) -> dict[str, Any]:
    """All figures as plain values; what is not known is null."""
    return {
        "k": rows[0].lists.k,
        "rows": [
            {
                "knob": row.name,
                **{metric: _ends(row.figures[metric]) for metric in METRICS},
                "minus_off": {metric: _ends(row.difference[metric]) for metric in METRICS},
                "lists": json_ready(asdict(row.lists)),
                "short_lists": row.short_lists,
            }
            for row in rows
        ],
    }


def render(rows: Sequence[Cost], model_id: str) -> Table:
    """What the knobs cost in accuracy, for a terminal."""
    from rich.table import Table
    from rich.text import Text

    k = rows[0].lists.k
    table = Table(
        caption=f"{model_id}; minus off: what it is more than without knobs, on the same targets, "
        "as a percentile interval by resampling users",
        caption_justify="left",
    )
    table.add_column("knob", no_wrap=True)
    for metric in METRICS[:2]:
        table.add_column(f"{TITLES[metric]}@{k}", justify="right")
        table.add_column("minus off", justify="right")
    for number, row in enumerate(rows):
        cells = []
        for metric in METRICS[:2]:
            difference = _difference(row.difference[metric]) if number else ""
            cells += [share_text(row.figures[metric].mean), difference]
        table.add_row(row.name, *map(Text, cells))
    return table


def render_lists(rows: Sequence[Cost]) -> Table:
    """What lists show under the knobs, for a terminal."""
    from rich.table import Table

    lists = rows[0].lists
    table = Table(
        caption=f"{counted(lists.n_lists, 'list')} of {lists.k}; columns as in `hourglass "
        "leaderboard`; short: share of lists with fewer items",
        caption_justify="left",
    )
    table.add_column("knob", no_wrap=True)
    for title in ("coverage", "Gini", "novelty", "new", "diverse", "short"):
        table.add_column(title, justify="right")
    for row in rows:
        shown = row.lists
        table.add_row(
            row.name,
            share_text(shown.coverage),
            share_text(shown.gini),
            f"{shown.novelty:.2f}" if shown.novelty == shown.novelty else "",
            share_text(shown.new_items),
            share_text(shown.diversity),
            share_text(row.short_lists),
        )
    return table


def _difference(interval: Interval) -> str:
    """``[-.012, +.003]``: short enough for two in a terminal of 80 columns."""
    lower, upper = (
        f"{value:+.3f}".replace("0.", ".", 1) for value in (interval.lower, interval.upper)
    )
    return f"[{lower}, {upper}]"


def _ends(interval: Interval) -> list[float | None]:
    ends: list[float | None] = json_ready([interval.mean, interval.lower, interval.upper])
    return ends
