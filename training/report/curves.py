"""Metrics by hour: the live model, each baseline and each candidate.

An hour's place on a chart is its distance in hours from the first hour that is drawn; what was
judged from hour H on over ``h`` hours stands at the middle of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from pipeline.array_types import Floats
from pipeline.hours import Hour, HourRange
from pipeline.report.format import Interval
from training.deployment.monitor_record import MonitorResult
from training.evaluation.evaluate import Evaluation
from training.metrics.ranks import SummaryRow
from training.report.decisions import DecisionRow
from training.report.files import judged_hours, models_as

LIVE = "live"
Role = Literal["live", "baseline", "candidate"]
_ORDER: tuple[Role, ...] = ("live", "baseline", "candidate")
_NAN = float("nan")


@dataclass(frozen=True)
class Curve:
    """A metric by place: ``at``, ``value``, ``low``, ``high`` (P,); a row of NaN is a gap."""

    name: str
    role: Role
    at: Floats
    value: Floats
    low: Floats
    high: Floats

    @property
    def judged(self) -> int:
        """Number of judged points."""
        return int(np.isfinite(self.value).sum())

    @property
    def last(self) -> Interval:
        """The last judged figure; there is one."""
        last = np.flatnonzero(np.isfinite(self.value))[-1]
        return Interval(*(float(values[last]) for values in (self.value, self.low, self.high)))

    @property
    def mean(self) -> float:
        """Mean of the judged hours, each counting the same."""
        return float(np.nanmean(self.value))


@dataclass(frozen=True)
class Growth:
    """Odds of one candidate by place, (P,), and those that prove a gain; a row of NaN is a gap."""

    name: str
    at: Floats
    odds: Floats
    needed: Floats


class HourMetric(NamedTuple):
    """Figures of some hours."""

    hours: HourRange
    figures: tuple[float, ...]


def metric_curves(
    judged: Sequence[Evaluation],
    monitored: Sequence[MonitorResult],
    metric: str,
    baselines: Sequence[str],
    hours: HourRange,
) -> tuple[Curve, ...]:
    """The live model first, then the baselines, then the candidates, each by name.

    Where an hour was monitored but no candidate evaluated, the monitor tells of the live model and
    of the baselines, without an interval of their own.

    Args:
        judged: evaluations, in any order; the later of two on the same hours counts.
        monitored: what the monitor found, the newest first.
        metric: which of the rows to draw.
        baselines: their names in the settings.
        hours: of the report; the rest is left out.
    """
    points: dict[tuple[Role, str], dict[Hour, HourMetric]] = {}

    def put(role: Role, name: str, span: HourRange, figures: tuple[float, ...]) -> None:
        points.setdefault((role, name), {})[span.first] = HourMetric(span, figures)

    # An evaluation may be made again after a promotion; the monitor knows who served.
    served: dict[Hour, str] = {}
    for result in reversed(monitored):
        served[result.first] = result.model.model_id
        if result.numbers is not None and result.rule.get("metric") == metric:
            span = HourRange(result.first, result.stop)
            put("live", LIVE, span, (result.numbers.live, _NAN, _NAN))
            for name, figure in _floors(result, baselines).items():
                put("baseline", name, span, (figure, _NAN, _NAN))
    for evaluation in judged:
        rows = {
            row.model_id: row
            for row in evaluation.rows
            if row.slice_name == "all" and row.metric == metric
        }
        span = judged_hours(evaluation)
        live = [served[span.first]] if span.first in served else models_as(evaluation, "champion")
        for model_id in live:
            if model_id in rows:
                put("live", LIVE, span, interval_of(rows[model_id]))
        # Champion and previous model were not made for these hours: they are no candidates.
        for model_id in models_as(evaluation, "candidate", "floor"):
            if model_id in rows:
                name = evaluation.names[model_id]
                role: Role = "baseline" if name in baselines else "candidate"
                put(role, name, span, interval_of(rows[model_id]))
    by_role = sorted(points.items(), key=lambda entry: (_ORDER.index(entry[0][0]), entry[0][1]))
    curves = (
        Curve(name, role, *with_gaps(of_name.values(), hours, 3))
        for (role, name), of_name in by_role
    )
    return tuple(curve for curve in curves if curve.judged)


def _floors(result: MonitorResult, baselines: Sequence[str]) -> dict[str, float]:
    """What each baseline reached in the hour that a finding is about, by its name."""
    if result.baselines is not None:
        figures = {name: each.numbers.floor for name, each in result.baselines.items()}
    else:
        name = str(result.rule.get("floor", baselines[0]))
        figures = {name: result.numbers.floor} if result.numbers else {}
    return {name: figure for name, figure in figures.items() if name in baselines}


def growth(decisions: Sequence[DecisionRow], hours: HourRange) -> tuple[Growth, ...]:
    """Odds of each candidate hour by hour beside those that it must reach.

    Args:
        decisions: the newest first: the last word on an hour counts.
        hours: of the report; the rest is left out.
    """
    points: dict[str, dict[Hour, HourMetric]] = {}
    for decision in decisions:
        hour = decision.hour
        if decision.odds is not None and decision.needed is not None and hour in hours:
            point = HourMetric(HourRange(hour, hour + 1), (decision.odds, decision.needed))
            points.setdefault(decision.name, {}).setdefault(hour, point)
    return tuple(
        Growth(name, *with_gaps(by_hour.values(), hours, 2))
        for name, by_hour in sorted(points.items())
    )


def interval_of(row: SummaryRow) -> Interval:
    """The figure of a row with the ends of its interval."""
    return Interval(row.mean, row.lower, row.upper)


def with_gaps(points: Iterable[HourMetric], hours: HourRange, n_figures: int) -> Floats:
    """Points in order, with NaN wherever an hour between two was not judged.

    Returns:
        Places and figures, (1 + n_figures, P).
    """
    rows: list[tuple[float, ...]] = []
    end: Hour | None = None
    for span, figures in sorted(points, key=lambda point: (point.hours.first, point.hours.stop)):
        if not span.intersect(hours):
            continue
        start = span.first.index - hours.first.index
        if end is not None and span.first > end:
            rows.append((start, *(n_figures * [_NAN])))
        rows.append((start + len(span) / 2, *figures))
        end = span.stop
    return np.array(rows, dtype=np.float64).reshape(-1, 1 + n_figures).T
