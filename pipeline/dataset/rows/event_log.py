"""A lake's events as flat arrays, read once, so that data sets can be made of them in memory.

Shapes: N events in the order of user and time, equal times in the order of the log; V items,
U users, C context fields.  All codes are places in ascending lists of names, so that sorting codes
sorts names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.array_types import Bools, Floats32, Ints, Objects
from pipeline.errors import HourglassError
from pipeline.hours import US_PER_HOUR, US_PER_S, Hour, HourRange
from pipeline.lake.lake import Lake, State
from pipeline.lake.tables import DWELL_HOURS, ITEM_HOURS, OPEN_SESSIONS, SESSIONS

NEVER = np.iinfo(np.int64).max
_COLUMNS = ("session_id", "position", "event_time", "user_id", "item_id", "event_type", "value")


@dataclass(frozen=True)
class HourlyCounts:
    """Events of each item in each hour, of all types, sorted by hour."""

    hour: Ints  # (P,) Hour.index
    item: Ints  # (P,) code
    events: Ints  # (P,)


@dataclass(frozen=True)
class FlatLog:
    """Everything that data sets in memory are made from.

    ``dwell_us`` is an event's dwell time, and ``told_us`` when it is known: at the next event of
    the session, or at the end of the hour in which that closed where passive events tell it of the
    last; ``NEVER`` where nothing does.  ``closes`` is that hour (Hour.index), ``NEVER`` if the
    session is open at the end.  ``is_robot`` marks events of robots.
    """

    user: Ints  # (N,) ascending
    time_us: Ints  # (N,)
    item: Ints  # (N,)
    session: Ints  # (N,)
    dwell_us: Ints  # (N,)
    told_us: Ints  # (N,)
    closes: Ints  # (N,)
    kind: Ints  # (N,) event type
    value: Floats32  # (N,) NaN = none
    is_robot: Bools  # (N,)
    context: Ints  # (N, C) -1 = none
    user_ids: Objects  # (U,)
    item_ids: Objects  # (V,)
    kinds: tuple[str, ...]
    context_names: tuple[str, ...]  # (C,)
    context_values: tuple[Objects, ...]  # (C,)
    context_keys: frozenset[str]  # that any event has; empty where no field is asked for
    n_sessions: int
    session_user: Ints  # (sessions,)
    item_first_us: Ints  # (V,) when it was first met, NEVER if no event is on it
    counts: HourlyCounts
    dwell_hours: list[dict[str, Any]]  # rows of `dwell_hours`, by hour

    def __len__(self) -> int:
        return len(self.user)

    def codes_of(self, item_ids: Sequence[str]) -> Ints:
        """Codes of items, all of which the log knows."""
        if not len(item_ids):
            return np.empty(0, np.int64)
        return np.searchsorted(self.item_ids, np.array(item_ids, object)).astype(np.int64)


def read_log(
    lake: Lake,
    state: State,
    hours: HourRange,
    context: Sequence[str] = (),
    counted_hours: HourRange | None = None,
    other_items: Sequence[str] = (),
) -> FlatLog:
    """All events of sessions that were not closed before ``hours``, up to their end.

    Args:
        lake: read as it was at ``state``.
        state: of the lake's tables.
        hours: of the sessions.
        context: context fields that are wanted.
        counted_hours: of the popularity; default: ``hours``.
        other_items: ids of items that have a code though there may be no event on them.
    """
    columns = (*_COLUMNS, "tie_rank", "is_robot", "event_key", *(("context",) if context else ()))
    last = HourRange(hours.stop - 1, hours.stop)
    closed = lake.arrow(SESSIONS, hours, state, ("hour", *columns, "dwell_s"))
    opened = lake.arrow(OPEN_SESSIONS, last, state, ("hour", *columns, "passive_until"))
    return flat_log(
        log_rows(closed, opened),
        context,
        lake.arrow(DWELL_HOURS, hours, state).sort_by("hour").to_pylist(),
        lake.arrow(ITEM_HOURS, counted_hours or hours, state, ("hour", "item_id", "events")),
        other_items,
    )


def read_size(
    lake: Lake, state: State, hours: HourRange, counted_hours: HourRange | None = None
) -> tuple[int, int]:
    """Bytes of the files that `read_log` reads, and their rows."""
    last = HourRange(hours.stop - 1, hours.stop)
    read = ((SESSIONS, hours), (OPEN_SESSIONS, last), (ITEM_HOURS, counted_hours or hours))
    files = [file for spec, covered in read for file in lake.files(spec, covered, state)]
    return sum(file.bytes for file in files), sum(file.rows for file in files)


def log_rows(closed: pa.Table, opened: pa.Table) -> pa.Table:
    """Rows for `flat_log` of rows of ``sessions``, and of ``open_sessions`` of the last hour."""
    never = pa.array(np.full(opened.num_rows, NEVER))
    opened = _timed(opened).set_column(0, "closes", never)
    return pa.concat_tables([_timed(closed), opened], promote_options="default")


def flat_log(
    rows: pa.Table,
    context: Sequence[str],
    dwell_hours: list[dict[str, Any]],
    item_hours: pa.Table,
    other_items: Sequence[str] = (),
) -> FlatLog:
    """A flat log of rows in any order.

    Args:
        rows: a row an event: ``closes`` and ``event_us`` as in `FlatLog` (event_us its time), the
            columns of ``sessions`` but for its times, ``dwell_s`` null where a session is open; and
            ``passive_until`` of ``open_sessions``, null where it has closed.
        context: the context fields.
        dwell_hours: rows of the table ``dwell_hours``, by hour.
        item_hours: hour, item_id and events of the table ``item_hours``.
        other_items: ids of items that are known without any event.
    """
    user, user_ids = _coded(rows["user_id"])
    item, item_ids = _coded(rows["item_id"], other_items)
    session, session_ids = _coded(rows["session_id"])
    kind, kinds = _coded(rows["event_type"])
    event_us = rows["event_us"].to_numpy()
    order = _log_order(user, event_us, rows["tie_rank"], rows["event_key"])
    fields = [_coded(_field(rows, name)) for name in context]
    closes = rows["closes"].to_numpy()
    next_us = _following(session, rows["position"].to_numpy(), event_us)
    dwell_us, told_us = _dwell(rows, event_us, next_us, closes)
    session_user = np.empty(len(session_ids), np.int64)
    session_user[session] = user
    first_us = np.full(len(item_ids), NEVER)
    np.minimum.at(first_us, item, event_us)
    with np.errstate(over="ignore"):  # what is past 32 bits is infinite, as elsewhere
        value = rows["value"].to_numpy().astype(np.float32)[order]
    return FlatLog(
        user=user[order],
        time_us=event_us[order],
        item=item[order],
        session=session[order],
        dwell_us=dwell_us[order],
        told_us=told_us[order],
        closes=closes[order],
        kind=kind[order],
        value=value,
        is_robot=pc.fill_null(rows["is_robot"], False).to_numpy()[order],
        context=np.stack([code for code, _ in fields], axis=1)[order]
        if fields
        else np.empty((len(order), 0), np.int64),
        user_ids=user_ids,
        item_ids=item_ids,
        kinds=tuple(kinds),
        context_names=tuple(context),
        context_values=tuple(values for _, values in fields),
        context_keys=_keys(rows) if fields else frozenset(),
        n_sessions=len(session_ids),
        session_user=session_user,
        item_first_us=first_us,
        counts=_hourly(item_hours, item_ids),
        dwell_hours=dwell_hours,
    )


def refuse_absent(context_names: Sequence[str], context_keys: frozenset[str]) -> None:
    """Let context fields pass that some event has.

    Raises:
        HourglassError: no event has one of them; those that occur are named.
    """
    missing = [name for name in context_names if name not in context_keys]
    if missing:
        raise HourglassError(
            f"dataset.context: no event has the context field {missing[0]!r}: those that occur "
            f"are {', '.join(sorted(context_keys)) or 'none'}: see source.columns.context"
        )


def _timed(rows: pa.Table) -> pa.Table:
    """Rows with the hour of closing and the time in whole microseconds, first ``closes``."""
    closes = pc.divide(rows["hour"].cast(pa.int64()), US_PER_HOUR)
    event_us = rows["event_time"].cast(pa.int64())
    rows = rows.drop_columns(["hour", "event_time"])
    return rows.add_column(0, "event_us", event_us).add_column(0, "closes", closes)


def _coded(column: pa.ChunkedArray, others: Sequence[str] = ()) -> tuple[Ints, Objects]:
    """Code of each row, and the distinct names in ascending order; those of ``others`` join."""
    distinct = pc.unique(column)
    if len(others):
        distinct = pc.unique(pa.concat_arrays([distinct, pa.array(others, pa.string())]))
    names = distinct.take(pc.sort_indices(distinct))
    names = names.filter(pc.is_valid(names))
    codes = pc.fill_null(pc.index_in(column, value_set=names), -1)
    return codes.to_numpy().astype(np.int64), names.to_numpy(zero_copy_only=False).astype(object)


def _field(rows: pa.Table, name: str) -> pa.ChunkedArray:
    return pc.map_lookup(rows["context"], pa.scalar(name), "first")


def _keys(rows: pa.Table) -> frozenset[str]:
    return frozenset(
        key for chunk in rows["context"].chunks for key in pc.unique(chunk.keys).to_pylist()
    )


def _log_order(
    user: Ints, event_us: Ints, tie_rank: pa.ChunkedArray, event_key: pa.ChunkedArray
) -> Ints:
    """Order of rows (N,) by user, time, rank among equal times (none before 1) and key."""
    rank = pc.fill_null(tie_rank, 0).to_numpy()
    order = np.lexsort((rank, event_us, user))
    equal = np.ones(max(0, len(order) - 1), np.bool_)
    for values in (user, event_us, rank):
        equal &= values[order[1:]] == values[order[:-1]]
    tied = np.flatnonzero(np.append(equal, False) | np.append(False, equal))
    if len(tied):
        # Keys are long and few rows need them.
        rows = order[tied]
        key, _ = _coded(event_key.take(pa.array(rows)))
        run = np.cumsum(~np.append(False, equal))[tied]
        order[tied] = rows[np.lexsort((key, run))]
    return order


def _following(session: Ints, position: Ints, event_us: Ints) -> Ints:
    """When the next event of the same session happened, (N,)."""
    order = np.lexsort((position, session))
    follows = session[order][1:] == session[order][:-1]
    next_us = np.full(len(order), NEVER)
    next_us[order[:-1][follows]] = event_us[order[1:][follows]]
    return next_us


def _dwell(rows: pa.Table, event_us: Ints, next_us: Ints, closes: Ints) -> tuple[Ints, Ints]:
    """Dwell time of each event (N,), and when it is known, ``NEVER`` where it is not."""
    has_next = next_us != NEVER
    dwell_s = rows["dwell_s"].to_numpy()
    of_closed = ~np.isnan(dwell_s)
    until_us = pc.fill_null(rows["passive_until"].cast(pa.int64()), NEVER).to_numpy()
    dwell_us = np.where(has_next, np.minimum(until_us, next_us) - event_us, 0)
    dwell_us[of_closed] = np.rint(dwell_s[of_closed] * US_PER_S).astype(np.int64)
    told_us = next_us.copy()
    is_last = of_closed & ~has_next
    told_us[is_last] = (closes[is_last] + 1) * US_PER_HOUR - 1
    return dwell_us, told_us


def _hourly(item_hours: pa.Table, item_ids: Objects) -> HourlyCounts:
    """Counts of the items that have a code."""
    code = pc.index_in(item_hours["item_id"], value_set=pa.array(item_ids, pa.string()))
    rows = pa.table({"code": code, "hour": item_hours["hour"], "events": item_hours["events"]})
    rows = rows.filter(pc.is_valid(code)).sort_by("hour")
    return HourlyCounts(
        rows["hour"].cast(pa.int64()).to_numpy() // US_PER_HOUR,
        rows["code"].to_numpy().astype(np.int64),
        rows["events"].to_numpy(),
    )


def start_us(hour: Hour) -> int:
    """First microsecond of an hour."""
    return hour.index * US_PER_HOUR
