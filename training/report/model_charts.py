"""Charts of models: metric by hour, evidence of the gate, and who served when."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pipeline.report.format import significant, visible
from pipeline.report.svg import BARS, LINE, SECOND, SMALL, TEXT, hour_ticks, svg
from training.report.model_values import Curve, Curves, Mark, ModelHealth, Turn

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_CHARS = 24
# Lines of a settings file that a page has room for; the last hour's are the ones to look at.
_MOST_LINES = 12
_DOTTED_HOURS = 48
_COLOURS = {"live": LINE, "floor": TEXT, "candidate": SECOND}
# A shape as well as a colour, for those who cannot tell the colours apart.
_SHAPES: dict[Turn, str] = {"bootstrap": "o", "promotion": "^", "rollback": "v", "watch": "X",
                           "unknown": "."}  # fmt: skip
TURNS: dict[Turn, str] = {
    "bootstrap": "first model",
    "promotion": "promotion",
    "rollback": "rollback by hand",
    "watch": "replaced by the watch",
    "unknown": "not recorded",
}


def curves_chart(found: Curves) -> str:
    """A panel for the live model and one a line, each beside the floor, with its intervals."""
    floor = next((curve for curve in found.curves if curve.role == "floor"), None)
    shown = [curve for curve in found.curves if curve.role != "floor"] or list(found.curves)
    shown = shown[:_MOST_LINES]
    n_hours = len(found.hours)
    finite = [v for c in found.curves for v in (*c.high, *c.value) if np.isfinite(v)]
    top = 1.08 * max(finite, default=1.0) or 1.0

    def draw(axes: list[Axes]) -> None:
        for axis, curve in zip(axes, shown, strict=True):
            if floor is not None and floor is not curve:
                _line(axis, floor, n_hours, 0.9)
            _line(axis, curve, n_hours, 1.5)
            axis.set_title(visible(curve.name, _MOST_CHARS), fontsize=SMALL, pad=2)
            axis.set_ylim(0, top)
            axis.locator_params(axis="y", nbins=3)
        _marks(axes, found.marks)
        hour_ticks(axes[-1], found.hours)
        axes[-1].set_xlabel("first hour that was judged (UTC)")

    title = f"{found.metric} by hour of {', '.join(visible(c.name, _MOST_CHARS) for c in shown)}"
    height = 0.55 + 1.0 * len(shown)
    return svg("curves", title, draw, len(shown), height_in=height, share_x=True)


def growth_chart(health: ModelHealth) -> str:
    """The odds of each line for being better than the live model, beside those that prove it."""
    from matplotlib.ticker import FuncFormatter, NullLocator

    shown = health.growth[:_MOST_LINES]

    def draw(axes: list[Axes]) -> None:
        for axis, one in zip(axes, shown, strict=True):
            dotted = "o" if len(one.at) <= _DOTTED_HOURS else None
            axis.plot(one.at, one.odds, color=SECOND, linewidth=1.5, marker=dotted, ms=3)
            # From edge to edge, so that it is seen of a single look too.
            across = np.r_[0, one.at, len(health.hours)]
            needed = np.r_[one.needed[:1], one.needed, one.needed[-1:]]
            axis.plot(across, needed, color=LINE, linewidth=1.2, linestyle="--")
            axis.set_yscale("log")
            axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: significant(value)))
            axis.yaxis.set_minor_locator(NullLocator())
            axis.set_title(visible(one.line, _MOST_CHARS), fontsize=SMALL, pad=2)
        hour_ticks(axes[-1], health.hours)
        axes[-1].set_xlabel("judged hour (UTC)")

    title = f"Evidence by hour of {', '.join(visible(one.line, _MOST_CHARS) for one in shown)}"
    height = 0.55 + 0.95 * len(shown)
    return svg("growth", title, draw, len(shown), height_in=height, share_x=True)


def served_chart(health: ModelHealth) -> str:
    """A bar for each time that a model served, a row a line, and how each time began."""
    placed = [one for one in health.served if one.start is not None]
    names = list(dict.fromkeys(one.name for one in reversed(placed)))[-_MOST_LINES:]
    n_hours = len(health.hours)

    def draw(axes: list[Axes]) -> None:
        (axis,) = axes
        for one in placed:
            if one.start is None or one.name not in names:
                continue
            row = names.index(one.name)
            start, stop = max(0.0, one.start), n_hours if one.stop is None else one.stop
            if stop >= start:
                axis.barh(row, min(stop, n_hours) - start, 0.5, left=start, color=BARS)
            if 0 <= one.start <= n_hours:
                axis.plot(one.start, row, _SHAPES[one.turn], color=_turn_colour(one.turn), ms=6,
                          clip_on=False)  # fmt: skip
        for turn in dict.fromkeys(one.turn for one in reversed(placed)):
            axis.plot([], [], _SHAPES[turn], color=_turn_colour(turn), ms=6, label=TURNS[turn])
        axis.set_yticks(range(len(names)), [visible(name, _MOST_CHARS) for name in names])
        axis.set_ylim(-0.6, len(names) - 0.4)
        axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderpad=0)
        hour_ticks(axis, health.hours)
        axis.set_xlabel("hour (UTC)")

    height = 1.1 + 0.32 * len(names)
    return svg("served", "Which model served when", draw, height_in=height, grid="x")


def _turn_colour(turn: Turn) -> str:
    return LINE if turn in ("rollback", "watch") else TEXT


def _line(axis: Axes, curve: Curve, n_hours: int, width: float) -> None:
    """A line with its band; points that stand alone get a bar, as no line reaches them."""
    colour = _COLOURS[curve.role]
    known = np.isfinite(curve.value)
    left = np.r_[False, known[:-1]]
    right = np.r_[known[1:], False]
    alone = known & ~left & ~right
    axis.fill_between(curve.at, curve.low, curve.high, color=colour, alpha=0.16, linewidth=0)
    axis.vlines(curve.at[alone], curve.low[alone], curve.high[alone], color=colour, alpha=0.35)
    axis.plot(curve.at, curve.value, color=colour, linewidth=width,
              linestyle="--" if curve.role == "floor" else "-")  # fmt: skip
    dots = known if n_hours <= _DOTTED_HOURS else alone
    axis.plot(curve.at[dots], curve.value[dots], "o", color=colour, ms=2.5)


def _marks(axes: Sequence[Axes], marks: Sequence[Mark]) -> None:
    """A line through all panels wherever the live model changed, its shape on the first."""
    for mark in marks:
        if mark.turn == "bootstrap":
            continue
        for axis in axes:
            axis.axvline(mark.at, color=_turn_colour(mark.turn), linewidth=0.8, alpha=0.5)
        axes[0].plot(mark.at, 0.9, _SHAPES[mark.turn], color=_turn_colour(mark.turn), ms=5,
                     transform=axes[0].get_xaxis_transform())  # fmt: skip
