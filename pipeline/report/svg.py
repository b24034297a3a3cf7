"""Small SVG figures that take their colours from the page they stand in."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from pipeline.array_types import Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Stand-ins that matplotlib accepts; the page's own colours take their place in the SVG.
TEXT, BARS, LINE, GRID, SECOND = "#010101", "#020202", "#030303", "#040404", "#050505"
_PAGE_COLOURS = {
    TEXT: "currentColor",
    BARS: "var(--bars)",
    LINE: "var(--accent)",
    GRID: "var(--line)",
    SECOND: "var(--second)",
}
_DIGITS = re.compile(r"(\.\d\d)\d+")
# As wide as a phone, so that text keeps its size there.
_WIDTH_IN = 4.8
SMALL = 9
_THOUSAND = 1000
# Where a reader looks for a duration, in seconds.
_DURATIONS = {
    1: "1 s",
    10: "10 s",
    60: "1 min",
    600: "10 min",
    3600: "1 h",
    6 * 3600: "6 h",
    86_400: "1 day",
    7 * 86_400: "1 week",
    30 * 86_400: "30 days",
}


def svg(
    name: str,
    title: str,
    draw: Callable[[list[Axes]], None],
    rows: int = 1,
    height_in: float = 2.9,
    share_x: bool = False,
    grid: str = "y",
) -> str:
    """Draw into an SVG element, the same bytes for the same data, ids unique by ``name``.

    Args:
        name: of the figure in its page.
        title: what a screen reader says of it.
        draw: fills the axes, given row by row.
        rows: of axes.
        height_in: of the figure, in inches; it is 4.8 wide.
        share_x: whether the rows have one axis below them all.
        grid: the axis that has grid lines.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    style: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        # Names in the data may hold a dollar sign.
        "text.parse_math": False,
        "font.size": 10,
        "text.color": TEXT,
        "axes.labelcolor": TEXT,
        "axes.edgecolor": GRID,
        "axes.titlesize": 10,
        "axes.titlelocation": "left",
        "xtick.color": TEXT,
        "ytick.color": TEXT,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.grid.axis": grid,
        "axes.axisbelow": True,
        "grid.color": GRID,
        "grid.linewidth": 0.6,
        "legend.frameon": False,
        "legend.labelcolor": TEXT,
        "legend.fontsize": SMALL,
        # No exponent stands above an axis: its numbers are whole.
        "axes.formatter.limits": (-99, 99),
        "axes.formatter.useoffset": False,
    }
    with rc_context(style):
        # As large as it is drawn, in points: what is laid out is what is written.
        figure = Figure(figsize=(_WIDTH_IN, height_in), dpi=72, layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.subplots(rows, sharex=share_x, squeeze=False)
        draw(list(axes.flat))
        _lay_out(figure)
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    return _in_page(file.getvalue(), name, title)


def _lay_out(figure: Figure) -> None:
    """Lay a figure out once: to save it would draw all of it for that, and then once more."""
    if (engine := figure.get_layout_engine()) is not None:
        engine.execute(figure)
    figure.set_layout_engine("none")


def thousands(axis: Axes) -> None:
    """Write the numbers beside the axes with separators, where they are large."""
    from matplotlib.ticker import FuncFormatter

    if axis.get_ylim()[1] >= _THOUSAND:
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def durations(axis: Axes, edges_s: Floats) -> None:
    """A logarithmic axis of durations with ticks where people look for them."""
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

    axis.set_xscale("log")
    low, high = float(edges_s[0]), float(edges_s[-1])
    ticks = {s: text for s, text in _DURATIONS.items() if low / 1.2 <= s <= high * 1.2}
    axis.set_xlim(low, high)
    axis.xaxis.set_major_locator(FixedLocator(list(ticks)))
    axis.xaxis.set_major_formatter(FixedFormatter(list(ticks.values())))
    axis.xaxis.set_minor_locator(NullLocator())


def hour_ticks(axis: Axes, names: Sequence[str], most: int = 5) -> None:
    """Name a few of the hours (``2016-03-14T13``) or days that stand side by side from 0 on."""
    midnights = [number for number, name in enumerate(names) if name[11:] in ("", "00")]
    # Days are named where there are enough of them; else a few hours are.
    by_day = len(midnights) >= most - 1
    ticks = midnights if by_day else list(range(len(names)))
    ticks = ticks[:: -(-len(ticks) // most)]
    axis.set_xticks(ticks, [names[n][5:10] if by_day else _hour_name(names[n]) for n in ticks])
    axis.set_xlim(0, len(names))


def _hour_name(name: str) -> str:
    return name[5:].replace("T", " ") + "h"


def _in_page(text: str, name: str, title: str) -> str:
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' id="', f' id="{name}-', text)
    text = re.sub(r"(url\(#|href=\"#)", rf"\g<1>{name}-", text)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1, flags=re.DOTALL)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1, flags=re.DOTALL)
    text = text.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1)
    text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font: \1px system-ui, sans-serif", text)
    # A hundredth of a point is finer than any screen; more digits only weigh.
    text = re.sub(r' d="[^"]+"', lambda path: _DIGITS.sub(r"\1", path[0]), text)
    for stand_in, colour in _PAGE_COLOURS.items():
        text = text.replace(stand_in, colour)
    return text
