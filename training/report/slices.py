"""Slices of the last evaluation: champion, candidate and baselines side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.report.format import Interval
from training.evaluation.evaluate import Evaluation
from training.gate.reasons import reason_text
from training.report.baselines import best_of
from training.report.curves import interval_of
from training.report.decisions import interval
from training.report.files import judged_hours, models_as


@dataclass(frozen=True)
class Slice:
    """One slice of an evaluation, with an interval or nothing for each of the columns.

    ``gain`` and ``verdict`` are those of the last decision, over all its looks.
    """

    name: str
    targets: int
    users: int
    figures: tuple[Interval | None, ...]
    gain: Interval | None = None
    verdict: str | None = None
    best: str = ""  # of several baselines


@dataclass(frozen=True)
class Slices:
    """An evaluation by slice; those of fewer than ``min_users`` tell little.

    Its rows say which baseline was best where there are several.
    """

    hours: str
    metric: str
    columns: tuple[str, ...]
    rows: tuple[Slice, ...]
    min_users: int
    decided: str | None = None  # model and hour of the decision that gains and verdicts are of
    says_best: bool = False


def slice_table(
    last: Evaluation,
    candidate: str,
    baselines: Sequence[str],
    metric: str,
    fewest: int,
    decision: Mapping[str, Any] | None = None,
) -> Slices | None:
    """One row a slice, all targets first; None where nothing was measured.

    Args:
        last: the evaluation.
        candidate: name of the model that may go live.
        baselines: their names.
        metric: which of the rows to show.
        fewest: users that a slice needs before it is judged.
        decision: content of the last decision on it, if there is one.
    """
    columns: dict[str, str] = {}
    for model_id in models_as(last, "champion"):
        name = last.names[model_id]
        columns["live" if name == "champion" else f"live ({name})"] = model_id
    by_name = {name: model_id for model_id, name in last.names.items()}
    for name in (candidate, *baselines):
        if name in by_name and by_name[name] not in columns.values():
            columns[name] = by_name[name]
    rows = {(row.slice_name, row.model_id): row for row in last.rows if row.metric == metric}
    verdicts = (decision or {}).get("slices") or {}
    slices = []
    for name in dict.fromkeys(slice_name for slice_name, _ in rows):
        of_slice = [rows.get((name, model_id)) for model_id in columns.values()]
        first = next((row for row in of_slice if row is not None), None)
        if first is None:
            continue
        judged = verdicts.get(name) or {}
        of_baselines = {
            baseline: row.mean
            for baseline in baselines
            if (row := rows.get((name, by_name.get(baseline, "")))) is not None
        }
        slices.append(
            Slice(
                name,
                first.n_targets,
                first.n_users,
                tuple(None if row is None else interval_of(row) for row in of_slice),
                interval(judged.get("difference")),
                reason_text(judged["verdict"]) if judged.get("verdict") else None,
                best_of(of_baselines) if len(baselines) > 1 else "",
            )
        )
    if not slices:
        return None
    k = next(iter(rows.values())).k
    decided = f"{decision['line']} at {decision['as_of']}" if decision and verdicts else None
    name = f"{metric.upper()}@{k}"
    return Slices(
        hours=str(judged_hours(last)),
        metric=name,
        columns=tuple(columns),
        rows=tuple(slices),
        min_users=fewest,
        decided=decided,
        says_best=len(baselines) > 1,
    )
