"""Charts of dwell times, sessions, and repeat consumption."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.report.sessions import DwellTimes, Repeats, SessionLengths, SessionTimes, Spread
from pipeline.report.svg import BARS, GRID, LINE, SECOND, TEXT, durations, svg, thousands

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def dwell_chart(dwell: DwellTimes) -> str:
    """Histogram of dwell times as a density, and by half octaves, with the fitted gammas."""
    from scipy import stats

    widths = np.diff(dwell.edges_s)
    density = dwell.counts / max(1, dwell.counts.sum()) / widths
    # The longest hundredth would squeeze the rest into a corner.
    covered = np.searchsorted(np.cumsum(dwell.counts), 0.99 * dwell.counts.sum())
    shown_s = float(dwell.edges_s[covered + 1])
    x = np.geomspace(shown_s / 1000, shown_s, 250)
    fits = [(dwell.moments, "gamma, same moments", LINE, "-")]
    if dwell.likely and dwell.likely.differs_from(dwell.moments):
        fits.append((dwell.likely, "gamma, most likely", SECOND, "--"))

    def draw(axes: list[Axes]) -> None:
        linear, octaves = axes
        linear.bar(dwell.edges_s[:-1], density, widths, align="edge", color=BARS, label="observed")
        for fit, label, colour, dashes in fits:
            curve = stats.gamma(fit.shape, scale=fit.scale_s)
            style: dict[str, Any] = {"color": colour, "linestyle": dashes, "linewidth": 1.8}
            linear.plot(x, curve.pdf(x), label=label, **style)
            if dwell.spread:
                share = 100 * np.diff(curve.cdf(dwell.spread.edges_s))
                octaves.plot(
                    np.sqrt(dwell.spread.edges_s[1:] * dwell.spread.edges_s[:-1]), share, **style
                )
        # Near zero a gamma of shape < 1 shoots up; the bars say where the data are.
        linear.set_ylim(0, 1.25 * density.max())
        linear.set_xlim(0, shown_s)
        linear.set_xlabel("dwell time in seconds")
        linear.set_ylabel("density per second")
        linear.legend()
        if dwell.spread:
            shares = 100 * dwell.spread.counts / dwell.spread.n
            octaves.stairs(shares, dwell.spread.edges_s, fill=True, color=BARS)
            durations(octaves, dwell.spread.edges_s)
            octaves.set_ylim(0)
        octaves.set_xlabel("dwell time, logarithmic")
        octaves.set_ylabel("share, %")

    return svg("dwell", "Dwell times with the fitted gammas", draw, 2, height_in=4.8)


def length_chart(lengths: SessionLengths) -> str:
    """Sessions by their number of events."""

    def draw(axes: list[Axes]) -> None:
        _classes(axes[0], lengths.labels, lengths.counts, "events in the session", "sessions")

    return svg("lengths", "Sessions by number of events", draw)


def per_user_chart(times: SessionTimes) -> str:
    """Users by their number of sessions."""

    def draw(axes: list[Axes]) -> None:
        _classes(axes[0], times.labels, times.per_user, "sessions of the user", "users")

    return svg("peruser", "Users by number of sessions", draw)


def repeat_chart(repeats: Repeats) -> str:
    """Shares of repeats within the session and across sessions, by position in the session."""
    within, across, _ = 100 * repeats.by_position
    at = np.arange(len(repeats.labels))

    def draw(axes: list[Axes]) -> None:
        (axis,) = axes
        axis.bar(at, within, color=BARS, label="seen in this session")
        axis.bar(at, across, bottom=within, color=LINE, label="seen in an earlier one")
        axis.set_xticks(at, repeats.labels)
        axis.set_xlabel("position of the event in its session")
        axis.set_ylabel("share of events, %")
        axis.set_ylim(0, min(100.0, max(1.0, 1.1 * float((within + across).max()))))
        axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderpad=0)

    return svg("repeats", "Repeated items by position in the session", draw)


def _classes(
    axis: Axes, labels: tuple[str, ...], counts: tuple[int, ...], along: str, up: str
) -> None:
    at = range(len(counts))
    axis.bar(at, counts, color=BARS)
    width = len("".join(labels))  # in characters
    small, slanted = width > 24, width > 36  # noqa: PLR2004 - what the figure has room for
    axis.set_xticks(at, labels, fontsize=8 if small else 10, rotation=45 if slanted else 0)
    axis.set_xlabel(along)
    axis.set_ylabel(up)
    thousands(axis)


def spread_chart(name: str, title: str, spread: Spread, along: str, up: str) -> str:
    """Durations on a logarithmic scale, with their median."""

    def draw(axes: list[Axes]) -> None:
        (axis,) = axes
        axis.stairs(spread.counts, spread.edges_s, fill=True, color=BARS)
        axis.axvline(spread.median_s, color=LINE, linewidth=1.5)
        axis.annotate(
            "median",
            (spread.median_s, 1),
            xytext=(4, 0),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            va="top",
            fontsize=9,
            color=TEXT,
        )
        durations(axis, spread.edges_s)
        axis.set_ylim(0, 1.12 * max(1, spread.counts.max()))
        axis.set_xlabel(along)
        axis.set_ylabel(up)
        axis.tick_params(axis="x", color=GRID)
        thousands(axis)

    return svg(name, title, draw)
