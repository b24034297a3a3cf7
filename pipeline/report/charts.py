"""Small SVG charts that take their colours from the page they stand in."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.report.facts import DwellTimes, Popularity, SessionLengths

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

# Stand-ins that matplotlib accepts; the page's own colours take their place in the SVG.
_TEXT, _BARS, _LINE, _GRID = "#010101", "#020202", "#030303", "#040404"
_PAGE_COLOURS = {
    _TEXT: "currentColor",
    _BARS: "var(--bars)",
    _LINE: "var(--accent)",
    _GRID: "var(--line)",
}
# As wide as a phone, so that text keeps its size there.
_SIZE_IN = (4.8, 2.9)


def dwell_chart(dwell: DwellTimes) -> str:
    """Histogram of dwell times as a density, with the fitted gamma over it."""
    from scipy import stats

    widths = np.diff(dwell.edges_s)
    density = dwell.counts / max(1, dwell.counts.sum()) / widths
    # The longest hundredth would squeeze the rest into a corner.
    covered = np.searchsorted(np.cumsum(dwell.counts), 0.99 * dwell.counts.sum())
    shown_s = float(dwell.edges_s[covered + 1])
    x = np.linspace(widths[0] / 4, shown_s, 400)
    curve = stats.gamma(dwell.gamma_shape, scale=dwell.gamma_scale_s).pdf(x)

    def draw(axes: Axes) -> None:
        axes.bar(dwell.edges_s[:-1], density, widths, align="edge", color=_BARS, label="observed")
        axes.plot(x, curve, color=_LINE, linewidth=1.8, label="gamma, same moments")
        # Near zero a gamma of shape < 1 shoots up; the bars say where the data are.
        axes.set_ylim(0, 1.15 * max(density.max(), float(np.median(curve))))
        axes.set_xlim(0, shown_s)
        axes.set_xlabel("dwell time in seconds")
        axes.set_ylabel("density per second")
        axes.legend(frameon=False, labelcolor=_TEXT, fontsize=9)

    return _svg("dwell", "Histogram of dwell times with the fitted gamma", draw)


def length_chart(lengths: SessionLengths) -> str:
    """Sessions by their number of events."""

    def draw(axes: Axes) -> None:
        places = range(len(lengths.counts))
        axes.bar(places, lengths.counts, color=_BARS)
        axes.set_xticks(places, lengths.labels)
        axes.set_xlabel("events in the session")
        axes.set_ylabel("sessions")

    return _svg("lengths", "Sessions by number of events", draw)


def popularity_chart(popularity: Popularity) -> str:
    """Share of events taken by the most popular items."""

    def draw(axes: Axes) -> None:
        fraction = np.arange(1, popularity.items + 1) / popularity.items
        # A curve of 200 points looks the same as one of a million and weighs less.
        kept = np.unique(np.linspace(0, popularity.items - 1, 200).round().astype(int))
        x = np.concatenate([[0], fraction[kept]])
        y = np.concatenate([[0], popularity.shares[kept]])
        axes.plot(100 * x, 100 * y, color=_LINE, linewidth=1.8)
        axes.plot([0, 100], [0, 100], color=_GRID, linewidth=1, linestyle="--")
        axes.set_xlim(0, 100)
        axes.set_ylim(0, 101)
        axes.set_xlabel("most popular items, %")
        axes.set_ylabel("their share of events, %")

    return _svg("popularity", "Share of events by share of items", draw)


def hours_chart(hours: pd.DataFrame) -> str:
    """Events and users per hour."""

    def draw(axes: Axes) -> None:
        places = np.arange(len(hours))
        axes.bar(places, hours["events"], width=1.0, color=_BARS, label="events")
        axes.step(places, hours["users"], where="mid", color=_LINE, linewidth=1.5, label="users")
        step = -(-len(hours) // 4)
        names = [str(hour)[5:].replace("T", " ") + "h" for hour in hours["hour"]]
        axes.set_xticks(places[::step], names[::step])
        axes.set_xlabel("hour (UTC)")
        axes.margins(x=0.01)
        axes.legend(
            frameon=False,
            labelcolor=_TEXT,
            fontsize=9,
            ncols=2,
            loc="lower right",
            bbox_to_anchor=(1, 0.98),
        )

    return _svg("hours", "Events and users per hour", draw)


def _svg(name: str, title: str, draw: Callable[[Axes], None]) -> str:
    """Draw into an SVG element, the same bytes for the same data, ids unique by ``name``."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    style: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        "font.size": 10,
        "text.color": _TEXT,
        "axes.labelcolor": _TEXT,
        "axes.edgecolor": _GRID,
        "xtick.color": _TEXT,
        "ytick.color": _TEXT,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "axes.axisbelow": True,
        "grid.color": _GRID,
        "grid.linewidth": 0.6,
    }
    with rc_context(style):
        figure = Figure(figsize=_SIZE_IN, layout="constrained")
        axes = figure.add_subplot()
        draw(axes)
        if axes.get_ylim()[1] >= 1000:  # noqa: PLR2004 - where a thousands separator starts
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' id="', f' id="{name}-', text)
    text = re.sub(r"(url\(#|href=\"#)", rf"\g<1>{name}-", text)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1, flags=re.DOTALL)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1, flags=re.DOTALL)
    text = text.replace("<svg", f'<svg role="img" aria-label="{title}"', 1)
    text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font: \1px system-ui, sans-serif", text)
    for stand_in, colour in _PAGE_COLOURS.items():
        text = text.replace(stand_in, colour)
    return text
