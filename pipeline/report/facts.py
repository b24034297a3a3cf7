"""What the report says, as plain values, and how the values follow from the tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import pi, sqrt
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.hours import HourRange
from pipeline.quality.outcomes import ValidationOutcome

if TYPE_CHECKING:
    import pandas as pd

Colour = Literal["green", "amber", "red", "grey"]
MAX_BARS = 60
_LONGEST_CLASS = 12


class Interval(NamedTuple):
    """A figure with the ends of its confidence interval; fits a cell of the leaderboard."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Light:
    """A traffic light: what is judged, its colour, and one sentence."""

    name: str
    colour: Colour
    sentence: str


@dataclass(frozen=True)
class Refused:
    """One record as it came, from ``line`` of ``source_file``; ``raw`` is hostile text."""

    source_file: str
    line: int
    raw: str


@dataclass(frozen=True)
class Reason:
    """A reason for quarantine, how many records it took, and a few of them."""

    reason: str
    records: int
    examples: tuple[Refused, ...]


@dataclass(frozen=True)
class DwellTimes:
    """Dwell times: moments, Scott's bins (ASARS eq. 8), and the gamma with the same moments.

    ``edges_s`` (B + 1,) and ``counts`` (B,); a bar is ``bins_per_bar`` of Scott's bins wide.
    The gamma's density at x is x^(shape-1) exp(-x/scale) / (Gamma(shape) scale^shape).
    """

    n: int
    mean_s: float
    sd_s: float
    scott_width_s: float
    bins_per_bar: int
    edges_s: NDArray[np.float64]
    counts: NDArray[np.int64]
    gamma_shape: float
    gamma_scale_s: float


@dataclass(frozen=True)
class SessionLengths:
    """Events per session; the last class, such as ``12+``, holds the longer sessions too."""

    sessions: int
    mean: float
    median: float
    longest: int
    labels: tuple[str, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Popularity:
    """How events are spread over items: ``shares`` (I,) cumulated from the most popular down."""

    items: int
    events: int
    top: tuple[tuple[str, int, float], ...]
    shares: NDArray[np.float64]

    def share_of(self, fraction: float) -> float:
        """Share of the events that the most popular ``fraction`` of the items takes."""
        count = max(1, round(fraction * self.items))
        return float(self.shares[count - 1])


@dataclass(frozen=True)
class GateDecision:
    """The last decision: outcome ``promote``, ``hold`` or ``block``, and why."""

    outcome: str
    sentence: str
    as_of: str
    candidate: str
    champion: str | None
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Link:
    """Where to go on: an address (relative, http or https), or a command to run."""

    label: str
    href: str | None = None
    command: str | None = None


@dataclass(frozen=True)
class ReportFacts:
    """Everything the report shows; what is left out is said to be missing.

    ``hours`` is the frame of :func:`hour_table`; ``filter_steps`` are the ``steps`` of a data
    set's manifest; a leaderboard row maps column names to text, numbers or :class:`Interval`.
    """

    title: str
    generated_for: str
    lights: Sequence[Light] = ()
    hours: pd.DataFrame | None = None
    reasons: Sequence[Reason] = ()
    dwell: DwellTimes | None = None
    lengths: SessionLengths | None = None
    popularity: Popularity | None = None
    filter_steps: Sequence[Mapping[str, Any]] = ()
    leaderboard: Sequence[Mapping[str, Any]] = ()
    leaderboard_note: str = ""
    gate: GateDecision | None = None
    links: Sequence[Link] = ()


def hour_table(
    hours: HourRange,
    events: pa.Table,
    sessions: pa.Table,
    source_files: pa.Table,
    quarantine: pa.Table,
) -> pd.DataFrame:
    """One row per hour of the range, with zeros where nothing happened.

    Args:
        hours: the hours of the report.
        events: columns hour, user_id, item_id, source_file.
        sessions: columns hour, session_id.
        source_files: columns source_file, arrival, duplicates.
        quarantine: column hour.

    Returns:
        Columns hour (text), events, users, items, sessions_closed, late, duplicates, quarantined.
        ``late`` counts events whose file arrived in a later hour of the range; a file that
        arrived after the range is a bulk load, not a delay.  Duplicates and quarantined records
        count in the hour of arrival.
    """
    import pandas as pd

    index = pd.DatetimeIndex([hour.start for hour in hours])
    event = events.select(["hour", "user_id", "item_id", "source_file"]).to_pandas()
    files = source_files.select(["source_file", "arrival", "duplicates"]).to_pandas()
    arrival = event["source_file"].map(
        files.drop_duplicates("source_file", keep="last").set_index("source_file")["arrival"]
    )
    late = (arrival >= event["hour"] + pd.Timedelta(hours=1)) & (arrival < hours.stop.start)
    by_hour = event.groupby("hour")
    session = sessions.select(["hour", "session_id"]).to_pandas()
    arrived = files.groupby(files["arrival"].dt.floor("h"))
    refused = quarantine.select(["hour"]).to_pandas()
    columns = {
        "events": by_hour.size(),
        "users": by_hour["user_id"].nunique(),
        "items": by_hour["item_id"].nunique(),
        "sessions_closed": session.groupby("hour")["session_id"].nunique(),
        "late": late.groupby(event["hour"]).sum(),
        "duplicates": arrived["duplicates"].sum(),
        "quarantined": refused.groupby("hour").size(),
    }
    table = pd.DataFrame(
        {name: counts.reindex(index, fill_value=0) for name, counts in columns.items()}
    ).astype("int64")
    table.insert(0, "hour", [str(hour) for hour in hours])
    return table.reset_index(drop=True)


def quarantine_reasons(
    quarantine: pa.Table, top: int = 10, examples: int = 3
) -> tuple[Reason, ...]:
    """The most frequent reasons (ties by name), each with its first records by file and line."""
    counted = pa.TableGroupBy(quarantine, "reason").aggregate([([], "count_all")])
    counted = counted.sort_by([("count_all", "descending"), ("reason", "ascending")])
    reasons = []
    for row in counted.slice(0, top).to_pylist():
        mine = quarantine.filter(pc.equal(quarantine.column("reason"), row["reason"]))
        first = mine.sort_by([("source_file", "ascending"), ("line", "ascending")])
        shown = first.select(["source_file", "line", "raw"]).slice(0, examples).to_pylist()
        reasons.append(
            Reason(row["reason"], row["count_all"], tuple(Refused(**record) for record in shown))
        )
    return tuple(reasons)


def merged_moments(dwell_hours: pa.Table) -> tuple[int, float, float]:
    """Pool per-hour moments (n, mean_s, m2_s2) into n, mean (s) and M2 (s^2).

    M2 is the sum of squared deviations: within the hours, plus that of the hours' means.
    """
    n = np.asarray(dwell_hours.column("n").to_numpy(), dtype=np.float64)  # (H,)
    mean = np.nan_to_num(np.asarray(dwell_hours.column("mean_s").to_numpy(), dtype=np.float64))
    m2 = np.nan_to_num(np.asarray(dwell_hours.column("m2_s2").to_numpy(), dtype=np.float64))
    total = n.sum()
    if not total:
        return 0, 0.0, 0.0
    pooled = float((n * mean).sum() / total)
    return int(total), pooled, float(m2.sum() + (n * (mean - pooled) ** 2).sum())


def dwell_times(dwell_hours: pa.Table, sessions: pa.Table) -> DwellTimes | None:
    """Describe the dwell times of a range of hours; None where they do not vary.

    Moments come from ``dwell_hours``, bars from ``dwell_s`` of ``sessions`` (nulls left out).
    Scott's width is sigma (24 sqrt(pi) / n)^(1/3) (ASARS eq. 8), sigma^2 = M2 / n; the gamma has
    shape mean^2 / sigma^2 and scale sigma^2 / mean (ASARS fig. 1).
    """
    n, mean_s, m2_s2 = merged_moments(dwell_hours)
    if not n or m2_s2 <= 0 or mean_s <= 0:
        return None
    variance = m2_s2 / n
    width_s = sqrt(variance) * (24 * sqrt(pi) / n) ** (1 / 3)
    values = sessions.column("dwell_s").drop_null().to_numpy()
    bins = int(np.max(values, initial=0.0) // width_s) + 1
    per_bar = -(-bins // MAX_BARS)
    edges = np.arange(-(-bins // per_bar) + 1) * width_s * per_bar
    counts, _ = np.histogram(values, bins=edges)
    return DwellTimes(
        n,
        mean_s,
        sqrt(variance),
        width_s,
        per_bar,
        edges,
        counts,
        mean_s**2 / variance,
        variance / mean_s,
    )


def session_lengths(sessions: pa.Table) -> SessionLengths | None:
    """Count the events of each session; None without sessions."""
    if not sessions.num_rows:
        return None
    sizes = pc.value_counts(sessions.column("session_id")).field("counts").to_numpy()
    counts = np.bincount(np.minimum(sizes, _LONGEST_CLASS), minlength=_LONGEST_CLASS + 1)[1:]
    labels = (*(str(size) for size in range(1, _LONGEST_CLASS)), f"{_LONGEST_CLASS}+")
    return SessionLengths(
        len(sizes),
        float(sizes.mean()),
        float(np.median(sizes)),
        int(sizes.max()),
        labels,
        tuple(int(count) for count in counts),
    )


def popularity(item_hours: pa.Table, top: int = 10) -> Popularity | None:
    """Rank the items by their events (ties by id); None without events."""
    if not item_hours.num_rows:
        return None
    items = pa.TableGroupBy(item_hours, "item_id").aggregate([("events", "sum")])
    items = items.sort_by([("events_sum", "descending"), ("item_id", "ascending")])
    events = items.column("events_sum").to_numpy()
    total = int(events.sum())
    first = zip(items.column("item_id").slice(0, top).to_pylist(), events[:top], strict=True)
    return Popularity(
        len(events),
        total,
        tuple((item, int(count), count / total) for item, count in first),
        np.cumsum(events) / total,
    )


def quality_light(outcomes: Sequence[ValidationOutcome]) -> Light:
    """Red, amber or green by the worst verdict; the sentence is its first failure."""
    name = "Data quality"
    if not outcomes:
        return Light(name, "grey", "Nothing was validated.")
    failed = [r for outcome in outcomes for r in outcome.results if not r.success]
    failed.sort(key=lambda result: result.severity != "critical")
    if not failed:
        return Light(name, "green", f"All promises kept in {_count(len(outcomes), 'validation')}.")
    colour: Colour = "red" if failed[0].severity == "critical" else "amber"
    more = f" ({len(failed) - 1} more failed.)" if len(failed) > 1 else ""
    return Light(name, colour, f"{failed[0].sentence}.{more}")


def gate_light(gate: GateDecision | None) -> Light:
    """Green for promote, amber for hold, red for block, grey for none."""
    if gate is None:
        return Light("Gate", "grey", "The gate has not decided yet.")
    colours: dict[str, Colour] = {"promote": "green", "hold": "amber", "block": "red"}
    return Light("Gate", colours.get(gate.outcome, "grey"), gate.sentence)


def _count(n: int, thing: str) -> str:
    return f"{n:,} {thing}{'' if n == 1 else 's'}"
