"""What came in, hour by hour, and what was refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.hours import DAY_H, US_PER_HOUR, Hour, HourRange
from pipeline.quality.hour_metrics import wilson_low
from pipeline.text.wording import counted

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Reason:
    """A reason for quarantine, how many records it took, and a few of their rows.

    ``raw`` of a row is hostile text.
    """

    reason: str
    records: int
    examples: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Rate:
    """How often a thing befell the last day's records, and those of the days before.

    ``before`` is None where nothing came before the last day.
    """

    name: str
    hits: int
    trials: int
    before: float | None

    @property
    def last(self) -> float:
        """The last day's rate."""
        return self.hits / self.trials if self.trials else 0.0

    @property
    def low(self) -> float:
        """Lower end of its 95 % interval: three bad records among ten are no trend."""
        return wilson_low(self.hits, self.trials)


@dataclass(frozen=True)
class LaterFiles:
    """Records of files that arrived after the hours of the report, as they came.

    A log that is loaded in one piece arrives so; what its records are about lies in the hours.
    """

    records: int = 0
    duplicates: int = 0
    quarantined: int = 0
    ignored: int = 0

    @property
    def ours(self) -> int:
        """Records that are our business, of which rates are."""
        return self.records - self.ignored

    def __bool__(self) -> bool:
        return bool(self.records or self.duplicates or self.quarantined)


@dataclass(frozen=True)
class Volume:
    """Events of the last 24 h beside those of each of the 24 h before, nearest first.

    ``silent`` are the hours without an event whose like had at least one on every day before.
    """

    events: int
    days: tuple[int, ...]
    silent: tuple[str, ...]

    @property
    def expected(self) -> float:
        """The median of the days before."""
        return float(np.median(self.days))


def hour_table(
    hours: HourRange,
    events: pa.Table,
    sessions: pa.Table,
    source_files: pa.Table,
    quarantine: pa.Table,
    log_end: Hour | None = None,
) -> pd.DataFrame:
    """One row per hour of the range, with zeros where nothing happened.

    Args:
        hours: the hours of the report.
        events: columns hour, user_id, item_id, source_file.
        sessions: columns hour, session_id.
        source_files: columns source_file, arrival, records, duplicates, ignored (optional).
        quarantine: column hour.
        log_end: hour after the last of the log, where its sessions close in later hours of the
            range; default: the end of the range.

    Returns:
        Columns hour (text), events, users, items, sessions_closed, late, records, duplicates,
        quarantined, and ignored where any file has such records.  ``late`` counts events whose
        file arrived in a later hour of the log; a file that arrived after the log is a bulk load,
        not a delay.  Records (as they came), duplicates, quarantined and ignored records count in
        the hour of arrival.
    """
    import pandas as pd

    index = pd.DatetimeIndex([hour.start for hour in hours])

    def by_hour(table: pa.Table, *aggregates: tuple[str, str]) -> pd.DataFrame:
        counts = pa.TableGroupBy(table, "hour").aggregate(
            [([], "count_all") if how == "count_all" else (name, how) for name, how in aggregates]
        )
        frame: pd.DataFrame = counts.to_pandas().set_index("hour")
        return frame.reindex(index, fill_value=0)

    distinct = "count_distinct"
    event = by_hour(
        events.select(["hour", "user_id", "item_id"]),
        ("", "count_all"),
        ("user_id", distinct),
        ("item_id", distinct),
    )
    closed = by_hour(sessions.select(["hour", "session_id"]), ("session_id", distinct))
    late = by_hour(_late(log_end or hours.stop, events, source_files), ("", "count_all"))
    refused = by_hour(quarantine.select(["hour"]), ("", "count_all"))
    counts = ["records", "duplicates", *(["ignored"] if _any_ignored(source_files) else [])]
    files = source_files.select(["arrival", *counts]).to_pandas().fillna({"ignored": 0})
    arrived = files.groupby(files.pop("arrival").dt.floor("h")).sum().reindex(index, fill_value=0)
    table = pd.DataFrame(
        {
            "hour": [str(hour) for hour in hours],
            "events": event["count_all"].to_numpy(dtype="int64"),
            "users": event["user_id_count_distinct"].to_numpy(dtype="int64"),
            "items": event["item_id_count_distinct"].to_numpy(dtype="int64"),
            "sessions_closed": closed["session_id_count_distinct"].to_numpy(dtype="int64"),
            "late": late["count_all"].to_numpy(dtype="int64"),
            "records": arrived["records"].to_numpy(dtype="int64"),
            "duplicates": arrived["duplicates"].to_numpy(dtype="int64"),
            "quarantined": refused["count_all"].to_numpy(dtype="int64"),
        }
    )
    if "ignored" in counts:
        table["ignored"] = arrived["ignored"].to_numpy(dtype="int64")
    return table


def _any_ignored(source_files: pa.Table) -> bool:
    return _sum_of(source_files, "ignored") > 0


def _sum_of(files: pa.Table, column: str) -> int:
    """The sum of a column; 0 where an earlier version left it out."""
    return int(pc.sum(files[column]).as_py() or 0) if column in files.column_names else 0


def later_files(hours: HourRange, source_files: pa.Table, quarantine: pa.Table) -> LaterFiles:
    """Count what :func:`hour_table` does not: the records of files that arrived after the hours."""
    files = source_files.filter(since(source_files["arrival"], hours.stop))
    records, duplicates, ignored = (
        _sum_of(files, name) for name in ("records", "duplicates", "ignored")
    )
    refused = int(pc.sum(since(quarantine["hour"], hours.stop)).as_py() or 0)
    return LaterFiles(records, duplicates, refused, ignored)


def since(instants: pa.ChunkedArray, first: Hour) -> pa.ChunkedArray:
    """Which instants (N,) are of an hour or later ones, (N,)."""
    return pc.greater_equal(instants, pa.scalar(first.start, instants.type))


def intake_sentence(hours: pd.DataFrame | None, later: LaterFiles) -> str:
    """What is said of late, doubled and refused records where no hour has any.

    It counts what the table beside it counts: the hours, and the files that came after them.
    """
    columns = ("late", "duplicates", "quarantined")
    if hours is not None and any(hours[name].any() for name in columns):
        return ""
    came = f"{counted(later.records, 'record')} came after these hours"
    if later.duplicates or later.quarantined:
        return f"{came}: {later.duplicates:,} doubled, {later.quarantined:,} refused."
    if later.records:
        return f"{came}; none was doubled or refused."
    return "Nothing was late, doubled or refused in these hours."


def _late(stop: Hour, events: pa.Table, source_files: pa.Table) -> pa.Table:
    """The hours of events whose file arrived in a later hour, before the end."""
    files = source_files.select(["source_file", "arrival"]).to_pylist()
    arrival = {row["source_file"]: row["arrival"] for row in files}  # the last row of a file counts
    kind = events.schema.field("hour").type
    names = pc.unique(events["source_file"])
    arrivals = pa.array([arrival.get(name) for name in names.to_pylist()], kind)
    came = arrivals.take(pc.index_in(events["source_file"], value_set=names).combine_chunks())
    came_us = pc.cast(came, pa.int64())
    delayed = pc.greater_equal(came_us, pc.add(pc.cast(events["hour"], pa.int64()), US_PER_HOUR))
    inside = pc.less(came, pa.scalar(stop.start, kind))
    return events.select(["hour"]).filter(pc.fill_null(pc.and_(delayed, inside), False))


def quarantine_reasons(
    quarantine: pa.Table, top: int = 10, examples: int = 3
) -> tuple[Reason, ...]:
    """The most frequent reasons (ties by name), each with its first records by file and line."""
    counted = pa.TableGroupBy(quarantine, "reason").aggregate([([], "count_all")])
    counted = counted.sort_by([("count_all", "descending"), ("reason", "ascending")])
    reasons = []
    for row in counted.slice(0, top).to_pylist():
        of_reason = quarantine.filter(pc.equal(quarantine.column("reason"), row["reason"]))
        first = of_reason.sort_by([("source_file", "ascending"), ("line", "ascending")])
        shown = first.select(["source_file", "line", "raw"]).slice(0, examples).to_pylist()
        reasons.append(Reason(row["reason"], row["count_all"], shown))
    return tuple(reasons)


def intake_rates(hours: pd.DataFrame) -> tuple[Rate, ...]:
    """Late events, duplicates and quarantined records, from :func:`hour_table`.

    Empty where no file arrived in these hours: a log loaded in one piece tells no rates.
    """
    if not hours["records"].sum():
        return ()
    rates = []
    ours = hours["records"] - hours["ignored"] if "ignored" in hours.columns else hours["records"]
    of = {"late": hours["events"], "duplicates": ours, "quarantined": ours}
    for name, whole in of.items():
        hits, trials = hours[name].to_numpy(), whole.to_numpy()
        before = int(trials[:-DAY_H].sum())
        rates.append(
            Rate(
                name,
                int(hits[-DAY_H:].sum()),
                int(trials[-DAY_H:].sum()),
                int(hits[:-DAY_H].sum()) / before if before else None,
            )
        )
    return tuple(rates)


def volume(hours: pd.DataFrame) -> Volume | None:
    """Events by 24 h, from :func:`hour_table`; None where no whole day lies before the last."""
    events = hours["events"].to_numpy()
    days = len(events) // DAY_H
    if days < 2:  # noqa: PLR2004 - the last day and one to compare it with
        return None
    by_day = events[len(events) - days * DAY_H :].reshape(days, DAY_H)
    silent = (by_day[-1] == 0) & (by_day[:-1] > 0).all(axis=0)
    names: Sequence[str] = hours["hour"].to_list()[-DAY_H:]
    return Volume(
        int(by_day[-1].sum()),
        tuple(int(day.sum()) for day in by_day[-2::-1]),
        tuple(name for name, is_silent in zip(names, silent, strict=True) if is_silent),
    )
