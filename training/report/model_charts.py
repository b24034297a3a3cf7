"""Charts of models: metric by hour, evidence of the gate, and who served when."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np

from pipeline.report.format import significant, visible
from pipeline.report.svg import BARS, LINE, SECOND, SMALL, TEXT, hour_ticks, svg
from training.report.champion import ServedPeriod, Turn
from training.report.curves import Curve, Growth

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_CHARS = 24
# Models of a settings file that a page has room for; the last hour's are the ones to look at.
_MOST_MODELS = 12
_DOTTED_HOURS = 48
_LONG_NAME = 14
_COLOURS = {"live": LINE, "baseline": TEXT, "candidate": SECOND}
# A shape as well as a colour, for those who cannot tell the colours apart.
_SHAPES: dict[Turn, str] = {"bootstrap": "o", "promotion": "^", "rollback": "v", "monitor": "X",
                            "unknown": "."}  # fmt: skip
#: Of the baselines, in their order.
DASHES = {"--": "dashed", ":": "dotted", "-.": "dash-dotted"}
TURNS: dict[Turn, str] = {
    "bootstrap": "first model",
    "promotion": "promotion",
    "rollback": "rollback by hand",
    "monitor": "replaced by the monitor",
    "unknown": "not recorded",
}


def curves_chart(
    metric: str, curves: Sequence[Curve], served: Sequence[ServedPeriod], hours: Sequence[str]
) -> str:
    """A panel for the live model and one a candidate, each beside the baselines, with intervals."""
    baselines = [curve for curve in curves if curve.role == "baseline"]
    dashes = {curve.name: dash for curve, dash in zip(baselines, cycle(DASHES), strict=False)}
    shown = [curve for curve in curves if curve.role != "baseline"] or list(curves)
    shown = shown[:_MOST_MODELS]
    finite = [v for curve in curves for v in (*curve.high, *curve.value) if np.isfinite(v)]
    top = 1.08 * max(finite, default=1.0) or 1.0

    def draw(axes: list[Axes]) -> None:
        for axis, curve in zip(axes, shown, strict=True):
            for baseline in baselines:
                if baseline is not curve:
                    # The bands of several would hide one another.
                    only = len(baselines) == 1
                    _line(axis, baseline, len(hours), 0.9, dashes[baseline.name], banded=only)
            _line(axis, curve, len(hours), 1.5, dashes.get(curve.name, "-"))
            axis.set_title(visible(curve.name, _MOST_CHARS), fontsize=SMALL, pad=2)
            axis.set_ylim(0, top)
            axis.locator_params(axis="y", nbins=3)
        _marks(axes, served, len(hours))
        hour_ticks(axes[-1], hours)
        axes[-1].set_xlabel("first hour that was judged (UTC)")

    title = f"{metric} by hour of {_names(shown)}"
    height = 0.55 + 1.0 * len(shown)
    return svg("curves", title, draw, len(shown), height_in=height, share_x=True)


def growth_chart(growth: Sequence[Growth], hours: Sequence[str]) -> str:
    """The odds of each candidate for being better than the live model, and those that prove it."""
    from matplotlib.ticker import FuncFormatter, NullLocator

    shown = growth[:_MOST_MODELS]

    def draw(axes: list[Axes]) -> None:
        for axis, of_model in zip(axes, shown, strict=True):
            dotted = "o" if len(of_model.at) <= _DOTTED_HOURS else None
            axis.plot(of_model.at, of_model.odds, color=SECOND, linewidth=1.5, marker=dotted, ms=3)
            # From edge to edge, so that it is seen of a single look too.
            across = np.r_[0, of_model.at, len(hours)]
            needed = np.r_[of_model.needed[:1], of_model.needed, of_model.needed[-1:]]
            axis.plot(across, needed, color=LINE, linewidth=1.2, linestyle="--")
            axis.set_yscale("log")
            # With odds of 1, where nothing speaks for either, so that the axis has its numbers.
            drawn = np.r_[1.0, of_model.odds, of_model.needed]
            axis.set_ylim(0.8 * np.nanmin(drawn), 1.3 * np.nanmax(drawn))
            axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: significant(value)))
            axis.yaxis.set_minor_locator(NullLocator())
            axis.set_title(visible(of_model.name, _MOST_CHARS), fontsize=SMALL, pad=2)
        hour_ticks(axes[-1], hours)
        axes[-1].set_xlabel("judged hour (UTC)")

    title = f"Evidence by hour of {_names(shown)}"
    height = 0.55 + 0.95 * len(shown)
    return svg("growth", title, draw, len(shown), height_in=height, share_x=True)


def served_chart(served: Sequence[ServedPeriod], hours: Sequence[str]) -> str:
    """A bar for each time that a model served, a row a name, and how each time began.

    Nothing where no hour of a change is known.
    """
    placed = [(time, time.start) for time in served if time.start is not None]
    if not placed:
        return ""
    names = list(dict.fromkeys(time.period.name for time, _ in reversed(placed)))[-_MOST_MODELS:]
    n_hours = len(hours)

    def draw(axes: list[Axes]) -> None:
        (axis,) = axes
        for time, start in placed:
            if time.period.name not in names:
                continue
            row = names.index(time.period.name)
            left, stop = max(0.0, start), n_hours if time.stop is None else time.stop
            if stop >= left:
                axis.barh(row, min(stop, n_hours) - left, 0.5, left=left, color=BARS)
            if 0 <= start <= n_hours:
                axis.plot(start, row, _SHAPES[time.turn], color=_turn_colour(time.turn), ms=6,
                          clip_on=False)  # fmt: skip
        for turn in dict.fromkeys(time.turn for time, _ in reversed(placed)):
            axis.plot([], [], _SHAPES[turn], color=_turn_colour(turn), ms=6, label=TURNS[turn])
        axis.set_yticks(range(len(names)), [visible(name, _MOST_CHARS) for name in names])
        axis.set_ylim(-0.6, len(names) - 0.4)
        axis.figure.legend(*axis.get_legend_handles_labels(), loc="outside upper left", ncols=2)
        hour_ticks(axis, hours, most=5 if max(map(len, names)) < _LONG_NAME else 3)
        axis.set_xlabel("hour (UTC)")

    height = 1.1 + 0.32 * len(names)
    return svg("served", "Which model served when", draw, height_in=height, grid="x")


def _names(shown: Sequence[Curve | Growth]) -> str:
    return ", ".join(visible(of_model.name, _MOST_CHARS) for of_model in shown)


def _turn_colour(turn: Turn) -> str:
    return LINE if turn in ("rollback", "monitor") else TEXT


def _line(
    axis: Axes, curve: Curve, n_hours: int, width: float, dash: str, banded: bool = True
) -> None:
    """A line with its band; points that stand alone get a bar, as no line reaches them."""
    colour = _COLOURS[curve.role]
    judged = np.isfinite(curve.value)
    left = np.r_[False, judged[:-1]]
    right = np.r_[judged[1:], False]
    alone = judged & ~left & ~right
    if banded:
        axis.fill_between(curve.at, curve.low, curve.high, color=colour, alpha=0.16, linewidth=0)
        axis.vlines(curve.at[alone], curve.low[alone], curve.high[alone], color=colour, alpha=0.35)
    axis.plot(curve.at, curve.value, color=colour, linewidth=width, linestyle=dash)
    dots = judged if n_hours <= _DOTTED_HOURS else alone
    axis.plot(curve.at[dots], curve.value[dots], "o", color=colour, ms=2.5)


def _marks(axes: Sequence[Axes], served: Sequence[ServedPeriod], n_hours: int) -> None:
    """A line through all panels wherever the live model changed, its shape on the first."""
    for time in reversed(served):
        if time.turn == "bootstrap" or time.start is None or not 0 <= time.start <= n_hours:
            continue
        colour = _turn_colour(time.turn)
        for axis in axes:
            axis.axvline(time.start, color=colour, linewidth=0.8, alpha=0.5)
        axes[0].plot(time.start, 0.9, _SHAPES[time.turn], color=colour, ms=5,
                     transform=axes[0].get_xaxis_transform(), clip_on=False)  # fmt: skip
