"""Metrics by hour: the live model, the floor and each line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.hours import Hour, HourRange
from pipeline.report.format import Interval
from training.deployment.monitor_record import Watched
from training.evaluation.evaluate import Evaluation
from training.metrics.ranks import SummaryRow
from training.report.files import judged_hours, models_as
from training.report.model_values import Curve, Decided, Growth, Role

LIVE = "live"


@dataclass(frozen=True)
class Point:
    """A figure of some hours."""

    hours: HourRange
    figure: Interval


def metric_curves(
    judged: Sequence[Evaluation],
    watch: Sequence[Watched],
    metric: str,
    floor: str,
    hours: HourRange,
) -> tuple[Curve, ...]:
    """The live model first, then the floor, then the lines by name.

    Where an hour was watched but no candidate evaluated, the watch tells of the live model and of
    the floor, without an interval of their own.

    Args:
        judged: evaluations, in any order; the later of two on the same hours counts.
        watch: what the watch found, the newest first.
        metric: which of the rows to draw.
        floor: name of the floor's line.
        hours: of the report; the rest is left out.
    """
    points: dict[tuple[Role, str], dict[Hour, Point]] = {}

    def put(role: Role, name: str, point: Point) -> None:
        points.setdefault((role, name), {})[point.hours.first] = point

    # An evaluation may be made again after a promotion; the watch knows who served.
    served: dict[Hour, str] = {}
    for told in reversed(watch):
        served[told.first] = told.model.model_id
        if told.numbers is not None and told.rule.get("metric") == metric:
            asked = HourRange(told.first, told.stop)
            put("live", LIVE, Point(asked, _bare(told.numbers.live)))
            put("floor", floor, Point(asked, _bare(told.numbers.floor)))
    for one in judged:
        rows = {
            row.model_id: row
            for row in one.rows
            if row.slice_name == "all" and row.metric == metric
        }
        asked = judged_hours(one)
        known = served.get(asked.first)
        for model_id in [known] if known else models_as(one, "champion"):
            if model_id in rows:
                put("live", LIVE, Point(asked, interval_of(rows[model_id])))
        # Champion and previous model were not made for these hours: they are no line's.
        for model_id in models_as(one, "candidate", "floor"):
            if model_id in rows:
                name = one.names[model_id]
                put(
                    "floor" if name == floor else "candidate",
                    name,
                    Point(asked, interval_of(rows[model_id])),
                )
    order: dict[Role, int] = {"live": 0, "floor": 1, "candidate": 2}
    return tuple(
        curve
        for (role, name), found in sorted(points.items(), key=lambda e: (order[e[0][0]], e[0][1]))
        if (curve := _curve(name, role, found.values(), hours)).judged
    )


def growth(decisions: Sequence[Decided], hours: HourRange) -> tuple[Growth, ...]:
    """Odds of each line hour by hour beside those that it must reach.

    Args:
        decisions: the newest first: the last word on an hour counts.
        hours: of the report; the rest is left out.
    """
    lines: dict[str, dict[Hour, tuple[float, float]]] = {}
    for one in decisions:
        hour = Hour.parse(one.hour)
        if one.odds is not None and one.needed is not None and hour in hours:
            lines.setdefault(one.line, {}).setdefault(hour, (one.odds, one.needed))
    return tuple(_growth(line, by_hour, hours.first) for line, by_hour in sorted(lines.items()))


def _growth(line: str, by_hour: Mapping[Hour, tuple[float, float]], first: Hour) -> Growth:
    rows: list[tuple[float, float, float]] = []
    before: Hour | None = None
    for hour in sorted(by_hour):
        place = hour.index - first.index + 0.5
        if before is not None and hour > before + 1:
            rows.append((place, float("nan"), float("nan")))
        rows.append((place, *by_hour[hour]))
        before = hour
    return Growth(line, *np.array(rows, dtype=np.float64).reshape(-1, 3).T)


def interval_of(row: SummaryRow) -> Interval:
    """The figure of a row with the ends of its interval."""
    return Interval(row.mean, row.lower, row.upper)


def _bare(mean: float) -> Interval:
    return Interval(mean, float("nan"), float("nan"))


def _curve(name: str, role: Role, found: Iterable[Point], hours: HourRange) -> Curve:
    """Points in order, with a row of NaN wherever an hour between two was not judged."""
    rows: list[tuple[float, float, float, float]] = []
    end: Hour | None = None
    for point in sorted(found, key=lambda one: (one.hours.first, one.hours.stop)):
        if not point.hours.intersect(hours):
            continue
        start = point.hours.first.index - hours.first.index
        if end is not None and point.hours.first > end:
            rows.append((float(start), *(float("nan"),) * 3))
        rows.append((start + len(point.hours) / 2, *point.figure))
        end = point.hours.stop
    table = np.array(rows, dtype=np.float64).reshape(-1, 4)
    return Curve(name, role, *table.T)
