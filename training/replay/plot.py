"""The curves of a replay: each arm's metric over time, smoothed, with intervals (HRNN figure 5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.array_types import Floats, Ints
from pipeline.settings.learning import EvaluationSettings
from training.metrics.bootstrap import UserTotals, resampled_means
from training.metrics.metrics import Metric, target_values
from training.replay.table import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, which people who see few colours tell apart; the line styles differ too.
_COLOURS = ("#D55E00", "#0072B2", "#009E73", "#000000", "#CC79A7", "#56B4E9", "#E69F00", "#7F7F7F")
LineStyle = str | tuple[int, tuple[int, int]]
_STYLES: tuple[LineStyle, ...] = ("-", "--", "-.", (0, (1, 1)))
_SAMPLES = 200
_DAY_H = 24
_HIGH = 0.75
_LEAST_GAP = 0.042  # of the axis' height, between two labels


@dataclass(frozen=True)
class Curve:
    """One arm's smoothed metric at P points; NaN where no target lies."""

    name: str
    mean: Floats  # (P,)
    lower: Floats  # (P,)
    upper: Floats  # (P,)


@dataclass(frozen=True)
class Curves:
    """The curves of all arms; a point stands for the steps over which it is smoothed."""

    curves: tuple[Curve, ...]
    hour: Floats  # (P,) end of the last step, in hours since 1970
    targets: Ints  # (P,) of the last step alone


def smooth_steps(n_steps: int, step_h: int) -> int:
    """Over how many steps to smooth: a day of hours, a week of days, a quarter of all at most."""
    span = -(-_DAY_H // step_h) if step_h < _DAY_H else 7
    return max(1, min(span, n_steps // 4))


def curves_of(
    results: Results, metric: Metric, rule: EvaluationSettings, seed: int, smooth: int
) -> Curves:
    """Means over a moving window of steps, with intervals of resampled users in it.

    A window at the beginning, which is not full yet, has no point.
    """
    step, user = results.step, results.column("user")
    values = np.stack(
        [target_values(metric, results.rank(name), rule.k) for name in results.names], axis=1
    )  # (n, A)
    ends = np.searchsorted(step, np.arange(len(results.steps) + 1))
    outside = (1 - rule.confidence) / 2
    points = range(smooth - 1, len(results.steps))
    bands = np.full((3, len(points), len(results.names)), np.nan)
    for at, last in enumerate(points):
        rows = slice(int(ends[last + 1 - smooth]), int(ends[last + 1]))
        if rows.stop == rows.start:
            continue
        bands[0, at] = values[rows].mean(axis=0)
        sums = UserTotals.of(values[rows], user[rows])
        if len(sums.count) > 1:
            drawn = resampled_means(sums, _SAMPLES, seed)
            bands[1:, at] = np.quantile(drawn, [outside, 1 - outside], axis=0)
    return Curves(
        tuple(
            Curve(name, *(bands[band, :, column] for band in range(3)))
            for column, name in enumerate(results.names)
        ),
        np.array([results.steps[last].stop.index for last in points], np.float64),
        np.diff(ends)[smooth - 1 :],
    )


def draw(curves: Curves, title: str, subtitle: str, metric: str, files: Sequence[Path]) -> None:
    """Draw the curves into files of any kind that Matplotlib writes; arms are named at the lines.

    ``metric`` is what the axis is called, like Recall@20.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.dates as mdates
    import matplotlib.pyplot as plt

    with mpl.rc_context({"svg.hashsalt": "hourglass", "font.size": 10.5}):
        figure, (top, below) = plt.subplots(
            2, 1, figsize=(10.5, 6), sharex=True, height_ratios=[6, 1], layout="constrained"
        )
        at = curves.hour / _DAY_H  # Matplotlib counts days since 1970
        alone = len(at) == 1
        for number, curve in enumerate(curves.curves):
            colour = _COLOURS[number % len(_COLOURS)]
            style = style_of(number)
            top.fill_between(at, curve.lower, curve.upper, color=colour, alpha=0.13, linewidth=0)
            top.plot(at, curve.mean, color=colour, linestyle=style, linewidth=2,
                     marker="o" if alone else None)  # fmt: skip
        top.set_ylim(bottom=axis_bottom(curves))
        _label(top, curves, at)
        below.fill_between(at, 0, curves.targets, step="pre", color="#9AA0A6", linewidth=0)
        below.set_ylabel("targets\na step", rotation=0, ha="right", va="center")
        below.set_ylim(bottom=0)
        top.set_ylabel(metric)
        locator = mdates.AutoDateLocator(minticks=4, maxticks=9)  # type: ignore[no-untyped-call]
        below.xaxis.set_major_locator(locator)
        dates = mdates.ConciseDateFormatter(locator)  # type: ignore[no-untyped-call]
        below.xaxis.set_major_formatter(dates)
        top.grid(axis="y", color="#E3E5E8", linewidth=0.8)
        for axes in (top, below):
            axes.set_axisbelow(True)
            axes.spines[["top", "right"]].set_visible(False)
        figure.suptitle(title, x=0.01, ha="left", fontsize=14, fontweight="bold")
        top.set_title(subtitle, loc="left", fontsize=10, color="#4A4F55")
        for path in files:
            dated = {"Date": None} if path.suffix == ".svg" else {"Software": None}
            figure.savefig(path, dpi=150, metadata=dated)
        plt.close(figure)


def style_of(number: int) -> LineStyle:
    """The line style of an arm; where the colours begin again, the styles have moved on."""
    return _STYLES[(number + number // len(_COLOURS)) % len(_STYLES)]


def axis_bottom(curves: Curves) -> float | None:
    """Where the axis begins: at 0, unless all lie so high that it would hide what parts them.

    None leaves it to the data: where the lowest band is above `_HIGH` of the highest.
    """
    bands = [np.concatenate([curve.mean, curve.lower, curve.upper]) for curve in curves.curves]
    values = np.concatenate(bands)
    values = values[~np.isnan(values)]
    return None if len(values) and values.min() > _HIGH * values.max() else 0.0


def _label(axes: Axes, curves: Curves, at: Floats) -> None:
    """Write each arm's name and last value at the end of its line, moved apart where they meet."""
    low, high = axes.get_ylim()
    ends = np.array([_last(curve.mean) for curve in curves.curves])
    order = np.argsort(ends, kind="stable")
    order = order[~np.isnan(ends[order])]  # without a target there is no line
    least = _LEAST_GAP * (high - low)
    places = spread(ends[order], least)
    for number, height in zip(order, places, strict=True):
        colour = _COLOURS[number % len(_COLOURS)]
        axes.annotate(
            f"{curves.curves[number].name}  {ends[number]:.3f}",
            xy=(at[-1], ends[number]),
            xytext=(1.015, (height - low) / (high - low)),
            textcoords="axes fraction",
            color=colour,
            va="center",
            fontweight="bold",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.7, "shrinkA": 0},
        )


def spread(ascending: Floats, least: float) -> Floats:
    """Move values apart until neighbours differ by ``least``, each group about its own middle."""
    groups: list[list[float]] = []
    for value in ascending.tolist():
        groups.append([value])
        while len(groups) > 1 and _bottom(groups[-1], least) < _top(groups[-2], least) + least:
            last = groups.pop()
            groups[-1] += last
    moved = [_bottom(group, least) + least * np.arange(len(group)) for group in groups]
    return np.concatenate([np.empty(0), *moved])


def _bottom(group: list[float], least: float) -> float:
    return float(np.mean(group)) - least * (len(group) - 1) / 2


def _top(group: list[float], least: float) -> float:
    return float(np.mean(group)) + least * (len(group) - 1) / 2


def _last(values: Floats) -> float:
    there = values[~np.isnan(values)]
    return float(there[-1]) if len(there) else float("nan")
