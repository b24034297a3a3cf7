"""Facts about one hour that no single table holds, as a one-row frame for the suite ``hours``."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.hours import Hour, HourRange

if TYPE_CHECKING:
    import pandas as pd

MIN_EVENTS = 100
MANY_EVENTS = 200_000
_Z_95 = 1.96
# Columns of source_files that rows of earlier versions hold nothing in.
_ADDED_LATER = frozenset({"removed", "ignored"})


def hour_facts(
    hours: Hour | HourRange,
    events: pa.Table,
    source_files: pa.Table,
    min_events: int = MIN_EVENTS,
) -> pd.DataFrame:
    """Summarise an hour, or a range of hours as one, in one row.

    Args:
        hours: the hour or the hours.
        events: their rows of ``events`` (event_time, user_id, item_id, value and source_file).
        source_files: ``source_files``.  The files that arrived in the hours count; where none did,
            as in a log loaded in one piece, those that the events came in.  Of a file that was
            delivered again with other content the last one counts.
        min_events: fewer events than this leave shares and lag empty (NaN).

    Returns:
        Columns hour, events, users, items, files, records, accepted, duplicates, quarantined,
        ignored, unaccounted (sum over files of |records - accepted - duplicates - quarantined -
        ignored - removed by another program|),
        nan_values, quarantine_rate, quarantine_rate_low (lower end of the 95 % Wilson interval),
        duplicate_rate, late_share (of the accepted records of the files that arrived in the hours,
        those that belong to other hours; empty where too few arrived), share_of_top_user,
        share_of_top_item, latest_event_lag_s (the end of the hour minus the last event_time;
        empty for several hours).
    """
    import pandas as pd

    if isinstance(hours, Hour):
        hours = HourRange(hours, hours + 1)
    arrived = _arrived(hours, source_files)
    every = files_of(hours, events, source_files)
    files = _latest(every)
    names = ("records", "accepted", "duplicates", "quarantined")
    counts = {name: int(pc.sum(files.column(name)).as_py() or 0) for name in names}
    left = pc.subtract(every.column("records"), every.column("accepted"))
    left = pc.subtract(pc.subtract(left, every.column("duplicates")), every.column("quarantined"))
    for name in _ADDED_LATER.intersection(every.column_names):
        left = pc.subtract(left, pc.fill_null(every.column(name), 0))
    ignored = 0
    if "ignored" in files.column_names:
        ignored = int(pc.sum(files.column("ignored")).as_py() or 0)
    # Rates are of the records that are our business: noise must neither hide damage nor be it.
    ours = counts["records"] - ignored
    n = events.num_rows
    nan = float("nan")
    judged = n >= min_events
    lag_s = nan
    if judged and len(hours) == 1:
        lag_s = (hours.stop.start - pc.max(events.column("event_time")).as_py()).total_seconds()
    row: dict[str, Any] = {
        "hour": pd.Timestamp(hours.first.start),
        "events": n,
        "users": pc.count_distinct(events.column("user_id")).as_py(),
        "items": pc.count_distinct(events.column("item_id")).as_py(),
        "files": files.num_rows,
        **counts,
        "ignored": ignored,
        "unaccounted": int(pc.sum(pc.abs(left)).as_py() or 0),
        "nan_values": int(pc.sum(pc.is_nan(events.column("value"))).as_py() or 0),
        "quarantine_rate": _rate(counts["quarantined"], ours),
        "quarantine_rate_low": wilson_low(counts["quarantined"], ours),
        "duplicate_rate": _rate(counts["duplicates"], ours),
        "late_share": _late_share(events, arrived, min_events),
        "share_of_top_user": _top_share(events.column("user_id")) if judged else nan,
        "share_of_top_item": _top_share(events.column("item_id")) if judged else nan,
        "latest_event_lag_s": lag_s,
    }
    return pd.DataFrame([row])


def files_of(hours: HourRange, events: pa.Table, source_files: pa.Table) -> pa.Table:
    """The rows of the files that an hour's rates are about; see :func:`hour_facts`."""
    arrived = _arrived(hours, source_files)
    return arrived if arrived.num_rows else _files_behind(events, source_files)


def session_facts(hours: HourRange, sessions: pa.Table) -> pd.DataFrame:
    """Summarise the sessions that closed in a range of hours, in one row.

    Args:
        hours: the hours.
        sessions: their rows of ``sessions`` (session_id, item_id, dwell_s).

    Returns:
        Columns hour, sessions, events, longest (events of the longest session),
        events_per_session, items_per_session (distinct ones), single_share (of sessions of one
        event), dwell_median_s; the last four are empty without sessions.
    """
    import pandas as pd

    nan = float("nan")
    by_session = sessions.group_by("session_id").aggregate(
        [("item_id", "count_distinct"), ([], "count_all")]
    )
    lengths = by_session.column("count_all")
    n = by_session.num_rows
    median = pc.quantile(sessions.column("dwell_s"), 0.5)[0].as_py()
    row = {
        "hour": pd.Timestamp(hours.first.start),
        "sessions": n,
        "events": sessions.num_rows,
        "longest": int(pc.max(lengths).as_py() or 0),
        "events_per_session": sessions.num_rows / n if n else nan,
        "items_per_session": float(pc.mean(by_session.column("item_id_count_distinct")).as_py())
        if n
        else nan,
        "single_share": float(pc.mean(pc.equal(lengths, 1)).as_py()) if n else nan,
        "dwell_median_s": nan if median is None else float(median),
    }
    return pd.DataFrame([row])


def events_frame(events: pa.Table) -> pd.DataFrame:
    """The columns of ``events`` that expectations look at (the context map stays behind).

    In an hour of very many events a number stands for each ``event_key``: a million texts that are
    all different take longer than everything else about them.
    """
    if events.num_rows > MANY_EVENTS and "event_key" in events.column_names:
        codes = events["event_key"].combine_chunks().dictionary_encode().indices
        index = events.column_names.index("event_key")
        events = events.set_column(index, "event_key", codes.cast(pa.int64()))
        return _frame(events)
    return _frame(events, ("event_key",))


def sessions_frame(sessions: pa.Table) -> pd.DataFrame:
    """``sessions`` without its context, plus ``age_s`` = event_time - session_start in seconds."""
    frame = _frame(sessions, ("event_key",))
    frame["age_s"] = (frame["event_time"] - frame["session_start"]).dt.total_seconds()
    return frame


def wilson_low(hits: int, trials: int) -> float:
    """Lower end of the two-sided 95 % Wilson interval of a proportion; 0 without trials."""
    if not trials:
        return 0.0
    p, z2 = hits / trials, _Z_95**2
    centre = p + z2 / (2 * trials)
    spread = _Z_95 * sqrt(p * (1 - p) / trials + z2 / (4 * trials**2))
    return max(0.0, (centre - spread) / (1 + z2 / trials))


def _arrived(hours: HourRange, source_files: pa.Table) -> pa.Table:
    arrival = source_files.column("arrival")
    return source_files.filter(
        pc.and_(
            pc.greater_equal(arrival, pa.scalar(hours.first.start, arrival.type)),
            pc.less(arrival, pa.scalar(hours.stop.start, arrival.type)),
        )
    )


def _latest(files: pa.Table) -> pa.Table:
    """Each file as it came last: what was wrong with it before has been mended."""
    rows = files.append_column("row", pa.array(range(files.num_rows), pa.int64()))
    newest = rows.sort_by([("modified", "ascending"), ("row", "ascending")])
    last = dict(zip(*(newest[c].to_pylist() for c in _KEYS), strict=True))
    return files.take(pa.array(sorted(last.values()), pa.int64()))


_KEYS = ("source_file", "row")


def _files_behind(events: pa.Table, source_files: pa.Table) -> pa.Table:
    name = source_files.column("source_file")
    # Readers differ in the string type they hand out, and columns without a value have none.
    named = pc.unique(events.column("source_file")).cast(name.type)
    return source_files.filter(pc.is_in(name, value_set=named))


def _late_share(events: pa.Table, arrived: pa.Table, min_events: int) -> float:
    accepted = int(pc.sum(arrived.column("accepted")).as_py() or 0)
    if accepted < min_events:
        return float("nan")
    source = events.column("source_file")
    names = arrived.column("source_file").cast(source.type)
    in_time = pc.sum(pc.is_in(source, value_set=names.combine_chunks())).as_py() or 0
    return float(1 - in_time / accepted)


def _rate(hits: int, whole: int) -> float:
    return hits / whole if whole else 0.0


def _top_share(column: pa.ChunkedArray) -> float:
    counts = pc.value_counts(column).field("counts")
    return float(pc.max(counts).as_py() / len(column))


def _frame(table: pa.Table, distinct: tuple[str, ...] = ()) -> pd.DataFrame:
    """Plain columns as pandas has them.

    Texts that repeat become categories: an expectation then looks at each of them once, which
    takes a million rows half the time.
    """
    plain = table.select([f.name for f in table.schema if not pa.types.is_nested(f.type)])
    texts = [f.name for f in plain.schema if pa.types.is_string(f.type) and f.name not in distinct]
    frame: pd.DataFrame = plain.to_pandas(categories=texts)
    return frame
