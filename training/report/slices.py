"""Slices of the last evaluation: champion, candidate and floor side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from training.evaluation.evaluate import Evaluation
from training.gate.reasons import reason_text
from training.report.curves import interval_of
from training.report.decisions import interval
from training.report.files import judged_hours, models_as
from training.report.model_values import SliceFigures, Slices


def slice_table(
    last: Evaluation,
    candidate: str,
    floor: str,
    metric: str,
    fewest: int,
    decision: Mapping[str, Any] | None = None,
) -> Slices | None:
    """One row a slice, all targets first; None where nothing was measured.

    Args:
        last: the evaluation.
        candidate: name of the line that may go live.
        floor: name of the floor's line.
        metric: which of the rows to show.
        fewest: users that a slice needs before it is judged.
        decision: content of the last decision on it, if there is one.
    """
    columns: dict[str, str] = {}
    for model_id in models_as(last, "champion"):
        name = last.names[model_id]
        columns["live" if name == "champion" else f"live ({name})"] = model_id
    by_name = {name: model_id for model_id, name in last.names.items()}
    for name in (candidate, floor):
        if name in by_name and by_name[name] not in columns.values():
            columns[name] = by_name[name]
    rows = {(row.slice_name, row.model_id): row for row in last.rows if row.metric == metric}
    verdicts = (decision or {}).get("slices") or {}
    shown = []
    for name in dict.fromkeys(slice_name for slice_name, _ in rows):
        of_slice = [rows.get((name, model_id)) for model_id in columns.values()]
        sizes = [row for row in of_slice if row is not None]
        if not sizes:
            continue
        judged = verdicts.get(name) or {}
        shown.append(
            SliceFigures(
                name,
                sizes[0].n_targets,
                sizes[0].n_users,
                tuple(None if row is None else interval_of(row) for row in of_slice),
                sizes[0].n_users < fewest,
                interval(judged.get("difference")),
                reason_text(judged["verdict"]) if judged.get("verdict") else None,
            )
        )
    if not shown:
        return None
    k = next(iter(rows.values())).k
    of = f"{decision['line']} at {decision['as_of']}" if decision and verdicts else None
    name = f"{metric.upper()}@{k}"
    return Slices(str(judged_hours(last)), name, tuple(columns), tuple(shown), fewest, of)
