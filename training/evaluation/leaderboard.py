"""The leaderboard: every system on one data set, one protocol, with intervals."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pipeline.sealed_json import json_ready
from pipeline.text.wording import counted, verb
from training.evaluation.slices import NEW_ITEM_H
from training.metrics.metrics import METRICS

if TYPE_CHECKING:
    from rich.table import Table

    from training.evaluation.evaluate import Evaluation
    from training.metrics.ranks import SummaryRow

TITLES = {"recall": "Recall", "mrr": "MRR", "ndcg": "NDCG"}
_STEPS_SHOWN = (1, 5, 20)


def leaderboard_rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    """One row a model, best MRR first: its name and each metric's mean and interval."""
    models: dict[str, dict[str, SummaryRow]] = {}
    for row in evaluation.rows:
        if row.slice_name == "all":
            models.setdefault(row.model_id, {})[row.metric] = row
    ordered = sorted(models.items(), key=lambda entry: (-entry[1]["mrr"].mean, entry[0]))
    return [
        {
            "model": evaluation.names[model_id],
            "model_id": model_id,
            **{
                f"{TITLES[metric]}@{rows[metric].k}": (
                    rows[metric].mean,
                    rows[metric].lower,
                    rows[metric].upper,
                )
                for metric in METRICS
                if metric in rows
            },
        }
        for model_id, rows in ordered
    ]


def list_rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    """One row a model, in the same order: what its lists show; none of evaluations before that."""
    return [
        {
            "model": row["model"],
            "model_id": row["model_id"],
            **json_ready(asdict(evaluation.lists[row["model_id"]])),
        }
        for row in leaderboard_rows(evaluation)
        if row["model_id"] in evaluation.lists
    ]


def note(evaluation: Evaluation) -> str:
    """What the figures are of."""
    users = max((row.n_users for row in evaluation.rows if row.slice_name == "all"), default=0)
    return (
        f"{counted(evaluation.n_targets, 'next event')} of {counted(users, 'user')} from "
        f"{evaluation.start} on, over all items, ties against the model; popularity as known at "
        "the start of each event's hour. "
        f"{counted(evaluation.left_out_events, 'event')} on items unknown at the data set's time "
        f"{verb(evaluation.left_out_events, 'is', 'are')} left out"
        + "; brackets: percentile intervals by resampling users"
        + "".join(f"; {sentence}" for sentence in evaluation.not_ranked.values())
    )


def render(evaluation: Evaluation) -> Table:
    """The table for a terminal."""
    from rich.table import Table
    from rich.text import Text

    rows = leaderboard_rows(evaluation)
    table = Table(caption=note(evaluation), caption_justify="left")
    table.add_column("model", no_wrap=True)
    metrics = [key for key in (rows[0] if rows else {}) if key not in ("model", "model_id")]
    for metric in metrics:
        table.add_column(metric, justify="right")
    for row in rows:
        table.add_row(row["model"], *(Text(_cell(row[metric])) for metric in metrics))
    return table


def list_cells(evaluation: Evaluation) -> list[dict[str, str]]:
    """What lists show, one row a model by the titles of a table; none where nobody looked."""
    cells = []
    for row in list_rows(evaluation):
        later = {f"+{step}": share_text(row["later_recall"][step]) for step in _STEPS_SHOWN}
        cells.append(
            {
                "model": row["model"],
                "coverage": share_text(row["coverage"]),
                "Gini": share_text(row["gini"]),
                "novelty": "" if row["novelty"] is None else f"{row['novelty']:.2f}",
                "new": share_text(row["new_items"]),
                "diverse": share_text(row["diversity"]),
                **later,
            }
        )
    return cells


def lists_note(evaluation: Evaluation) -> str:
    """What the figures of lists are."""
    first = next(iter(evaluation.lists.values()), None)
    if first is None:
        return ""
    return (
        f"{counted(first.n_lists, 'list')} of {first.k}. coverage: share of the catalogue that is "
        "shown; Gini: 0 shows all alike, 1 a few alone; novelty: mean -log2 of an item's share of "
        "the events that were learned from, in bits; new: share of items first seen within "
        f"{counted(NEW_ITEM_H, 'hour')} before; diverse: mean distance of two items of a list, 1 - "
        f"cosine of their users; +1: Recall@{first.k} of the target after the next, and so on"
    )


def render_lists(evaluation: Evaluation) -> Table | None:
    """The table of what lists show; None where no lists were looked at."""
    from rich.table import Table

    rows = list_cells(evaluation)
    if not rows:
        return None
    table = Table(caption=lists_note(evaluation), caption_justify="left")
    for title in rows[0]:
        is_name = title == "model"
        table.add_column(title, no_wrap=is_name, justify="left" if is_name else "right")
    for row in rows:
        table.add_row(*row.values())
    return table


def share_text(value: float | None) -> str:
    """``.461``; nothing where it is not known."""
    return "" if value is None or math.isnan(value) else f"{value:.3f}".removeprefix("0")


def _cell(interval: tuple[float, float, float]) -> str:
    """``.461 [.445, .476]``: short enough for three in a terminal of 80 columns."""
    mean, lower, upper = map(share_text, interval)
    return f"{mean} [{lower}, {upper}]"
