"""Charts of hours, intake, the support filter and drift."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.hours import DAY_H
from pipeline.quality.drift import Drift
from pipeline.report.format import percent, visible
from pipeline.report.svg import BARS, LINE, SMALL, hour_ticks, svg, thousands

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_MEASURES = ("events", "users", "items", "sessions")
_MANY_BINS = 16
_MANY_HOURS = 62 * 24
_MOST_CHARS = 18


def hours_chart(hours: pd.DataFrame) -> str:
    """Events, users, items and closed sessions per hour, one below the other."""
    names = {"events": "events", "users": "users", "items": "items", "sessions_closed": "sessions"}
    return _hourly("hours", "Events, users, items and sessions per hour", hours, names)


def intake_chart(hours: pd.DataFrame) -> str:
    """Late, duplicate and quarantined per hour, of those that there were; empty if none."""
    names = {name: name for name in ("late", "duplicates", "quarantined") if hours[name].any()}
    if not names:
        return ""
    return _hourly("intake", "Late, duplicate and quarantined records per hour", hours, names)


def _hourly(name: str, title: str, hours: pd.DataFrame, panels: Mapping[str, str]) -> str:
    # Of a long range a step is a day: more steps than that nobody can tell apart.
    step = DAY_H if len(hours) > _MANY_HOURS else 1
    starts = np.arange(0, len(hours), step)

    def draw(axes: list[Axes]) -> None:
        for axis, (column, heading) in zip(axes, panels.items(), strict=True):
            counts = hours[column].to_numpy(dtype=float)
            steps = np.add.reduceat(counts, starts) / np.diff(np.r_[starts, len(counts)])
            axis.stairs(steps, fill=True, color=BARS)
            axis.set_title(heading, fontsize=SMALL, pad=2)
            axis.set_ylim(0, None if steps.any() else 1)
            axis.locator_params(axis="y", nbins=3)
            thousands(axis)
        names = hours["hour"].to_list()[::step]
        hour_ticks(axes[-1], names if step == 1 else [hour[:10] for hour in names])
        axes[-1].set_xlabel("hour (UTC)" if step == 1 else "per hour, mean of the day (UTC)")

    return svg(name, title, draw, len(panels), height_in=0.5 + 0.95 * len(panels), share_x=True)


def attrition_chart(steps: Sequence[Mapping[str, Any]]) -> str:
    """What each step of the support filter leaves and takes, of four measures."""
    steps = [step for n, step in enumerate(steps) if n == 0 or _takes(steps[n - 1], step)]
    names = [visible(str(step["step"]), _MOST_CHARS) for step in steps]

    def draw(axes: list[Axes]) -> None:
        rows = np.arange(len(steps))
        for axis, measure in zip(axes, _MEASURES, strict=True):
            left = np.array([step[measure] for step in steps], dtype=float)
            total = max(left[0], 1.0)
            removed = np.r_[0.0, left[:-1] - left[1:]]
            axis.barh(rows, 100 * left / total, color=BARS)
            axis.barh(rows, 100 * removed / total, left=100 * left / total, color=LINE)
            for row, count in enumerate(left):
                label = f"{count:,.0f} ({percent(count, total)})"
                axis.text(103, row, label, va="center", fontsize=SMALL)
            axis.set_title(measure, fontsize=SMALL, pad=2)
            axis.set_xlim(0, 165)
            axis.set_xticks([])
            axis.grid(False)
            axis.spines[["bottom", "left"]].set_visible(False)
            axis.tick_params(axis="y", length=0, labelsize=SMALL)
            axis.set_yticks(rows, names)
            axis.invert_yaxis()

    height = 0.3 + len(_MEASURES) * (0.25 + 0.21 * len(steps))
    return svg("attrition", "What each step of the filter leaves", draw, 4, height_in=height)


def _takes(before: Mapping[str, Any], step: Mapping[str, Any]) -> bool:
    return any(step[measure] != before[measure] for measure in _MEASURES)


def drift_chart(drift: Drift, number: int) -> str:
    """The shares of the bins on the last day beside those of the days before.

    Of many bins those that moved most are shown, in their own order.
    """
    moved = np.argsort(-np.abs(drift.current - drift.before), kind="stable")[:_MANY_BINS]
    shown = np.sort(moved)
    at = np.arange(len(shown))

    def draw(axes: list[Axes]) -> None:
        (axis,) = axes
        axis.bar(at - 0.2, 100 * drift.before[shown], 0.4, color=BARS, label="days before")
        axis.bar(at + 0.2, 100 * drift.current[shown], 0.4, color=LINE, label="last day")
        names = [visible(drift.bins[bin_], _MOST_CHARS) for bin_ in shown]
        crowded = sum(map(len, names)) > 40  # noqa: PLR2004 - characters in the figure's width
        axis.set_xticks(at, names, rotation=60 if crowded else 0, fontsize=8)
        for label in axis.get_xticklabels():
            label.set_horizontalalignment("right" if crowded else "center")
            label.set_rotation_mode("anchor" if crowded else "default")
        axis.set_xlim(-0.75, max(len(shown), 3) - 0.25)
        axis.set_ylabel("share, %")
        axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderpad=0)

    title = f"{drift.distribution}: last day and days before"
    return svg(f"drift{number}", title, draw, height_in=2.6)
