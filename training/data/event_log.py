"""A lake's events as flat arrays, read once, so that data sets can be cut from them in memory.

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
from numpy.typing import NDArray

from pipeline.errors import HourglassError
from pipeline.hours import HOUR_S, Hour, HourRange
from pipeline.lake.lake import Lake, State
from pipeline.lake.tables import DWELL_HOURS, ITEMS, OPEN_SESSIONS, SESSIONS, USERS, TableSpec
from pipeline.settings.settings import DatasetSettings

HOUR_US = HOUR_S * 1_000_000
NEVER = np.iinfo(np.int64).max
_COLUMNS = ("session_id", "position", "event_time", "user_id", "item_id", "event_type", "value")
_SORTED_BY = ("user", "event_us", "tie_rank", "event_key")

Ints = NDArray[np.int64]
Objects = NDArray[np.object_]


@dataclass(frozen=True)
class HourlyCounts:
    """Events of each item in each hour, of all types, sorted by hour."""

    hour: Ints  # (P,) Hour.index
    item: Ints  # (P,) code
    events: Ints  # (P,)


@dataclass(frozen=True)
class FlatLog:
    """Everything that cuts are made from.

    ``next_us`` is the time of the next event of the session, ``NEVER`` on its last; ``closes`` the
    hour (Hour.index) in which the session closed, ``NEVER`` if it is open at the end.
    """

    user: Ints  # (N,) ascending
    time_us: Ints  # (N,)
    item: Ints  # (N,)
    session: Ints  # (N,)
    next_us: Ints  # (N,)
    closes: Ints  # (N,)
    kind: Ints  # (N,) event type
    value: NDArray[np.float32]  # (N,) NaN = none
    context: Ints  # (N, C) -1 = none
    user_ids: Objects  # (U,)
    item_ids: Objects  # (V,)
    kinds: tuple[str, ...]
    context_names: tuple[str, ...]  # (C,)
    context_values: tuple[Objects, ...]  # (C,)
    n_sessions: int
    session_user: Ints  # (sessions,)
    item_first_us: Ints  # (V,) when it was first met, NEVER if it is only known from metadata
    counts: HourlyCounts
    dwell_hours: list[dict[str, Any]]  # rows of `dwell_hours`, by hour
    items: pa.Table  # rows of `items`
    users: pa.Table  # rows of `users`
    hours: HourRange

    def __len__(self) -> int:
        return len(self.user)


def read_log(lake: Lake, rules: DatasetSettings, hours: HourRange, state: State) -> FlatLog:
    """All events of sessions that were not closed before ``hours``, up to their end.

    Raises:
        HourglassError: there is no event, or none has a context field that the rules name.
    """
    columns = (*_COLUMNS, "tie_rank", "event_key", *(("context",) if rules.context else ()))
    last = HourRange(hours.stop - 1, hours.stop)
    closed = _in_hours(lake, SESSIONS, hours, state, columns)
    opened = _in_hours(lake, OPEN_SESSIONS, last, state, columns)
    never = pa.array(np.full(opened.num_rows, NEVER))
    rows = pa.concat_tables([closed, opened.set_column(0, "closes", never)])
    rows = rows.filter(pc.less(rows["event_us"], hours.stop.index * HOUR_US))
    dwell_hours = lake.arrow(DWELL_HOURS, hours, state).sort_by("hour").to_pylist()
    items, users = (lake.arrow(spec, state=state) for spec in (ITEMS, USERS))
    return flat_log(rows, rules, hours, dwell_hours, items, users)


def flat_log(
    rows: pa.Table,
    rules: DatasetSettings,
    hours: HourRange,
    dwell_hours: list[dict[str, Any]],
    items: pa.Table,
    users: pa.Table,
) -> FlatLog:
    """A flat log of rows in any order.

    Args:
        rows: a row an event: ``closes`` and ``event_us`` as in `FlatLog` (event_us its time), the
            columns of ``sessions`` but for its times and dwell times.
        rules: the context fields, and whether items are known without any event.
        hours: that the rows cover.
        dwell_hours: rows of the table ``dwell_hours``, by hour.
        items: rows of the table ``items``.
        users: rows of the table ``users``.

    Raises:
        HourglassError: there is no event, or none has a context field that the rules name.
    """
    rows = rows.combine_chunks()
    if not rows.num_rows:
        raise HourglassError(f"no event of {hours} is in the lake: run `hourglass backfill`")
    user, user_ids = _coded(rows["user_id"])
    named = items["item_id"] if rules.cold_items else items["item_id"].slice(0, 0)
    item, item_ids = _coded(rows["item_id"], named)
    session, session_ids = _coded(rows["session_id"])
    kind, kinds = _coded(rows["event_type"])
    event_us = rows["event_us"].to_numpy()
    columns = {"user": user, "event_us": event_us}
    sorted_by = pa.table({**columns, **{name: rows[name] for name in ("tie_rank", "event_key")}})
    sort_keys = [(name, "ascending") for name in _SORTED_BY]
    order = pc.sort_indices(sorted_by, sort_keys, null_placement="at_start").to_numpy()
    context = _context(rows, rules.context)
    next_us = _following(session, rows["position"].to_numpy(), event_us)
    session_user = np.empty(len(session_ids), np.int64)
    session_user[session] = user
    first_us = np.full(len(item_ids), NEVER)
    np.minimum.at(first_us, item, event_us)
    return FlatLog(
        user=user[order],
        time_us=event_us[order],
        item=item[order],
        session=session[order],
        next_us=next_us[order],
        closes=rows["closes"].to_numpy()[order],
        kind=kind[order],
        value=rows["value"].to_numpy().astype(np.float32)[order],
        context=np.stack([code for code, _ in context], axis=1)[order]
        if context
        else np.empty((len(order), 0), np.int64),
        user_ids=user_ids,
        item_ids=item_ids,
        kinds=tuple(kinds),
        context_names=rules.context,
        context_values=tuple(values for _, values in context),
        n_sessions=len(session_ids),
        session_user=session_user,
        item_first_us=first_us,
        counts=_hourly(item, event_us, len(item_ids)),
        dwell_hours=dwell_hours,
        items=items,
        users=users,
        hours=hours,
    )


def _in_hours(
    lake: Lake, spec: TableSpec, hours: HourRange, state: State, columns: Sequence[str]
) -> pa.Table:
    """Rows with the hour of closing and the time in whole microseconds, first ``closes``."""
    rows = lake.arrow(spec, hours, state, ("hour", *columns))
    closes = pc.divide(rows["hour"].cast(pa.int64()), HOUR_US)
    event_us = rows["event_time"].cast(pa.int64())
    kept = rows.drop_columns(["hour", "event_time"])
    return kept.add_column(0, "event_us", event_us).add_column(0, "closes", closes)


def _coded(column: pa.ChunkedArray, others: pa.ChunkedArray | None = None) -> tuple[Ints, Objects]:
    """Code of each row, and the distinct names in ascending order; those of ``others`` join."""
    distinct = pc.unique(column)
    if others is not None and len(others):
        distinct = pc.unique(pa.concat_arrays([distinct, *others.chunks]))
    names = distinct.take(pc.sort_indices(distinct))
    names = names.filter(pc.is_valid(names))
    codes = pc.fill_null(pc.index_in(column, value_set=names), -1)
    return codes.to_numpy().astype(np.int64), names.to_numpy(zero_copy_only=False).astype(object)


def _context(rows: pa.Table, names: Sequence[str]) -> list[tuple[Ints, Objects]]:
    """Codes and values of each context field.

    Raises:
        HourglassError: no event has it.
    """
    found = []
    for name in names:
        told = pc.map_lookup(rows["context"], pa.scalar(name), "first")
        code, values = _coded(told)
        if not len(values):
            raise HourglassError(
                f"dataset.context: no event has the context field {name!r}: "
                "see source.columns.context"
            )
        found.append((code, values))
    return found


def _following(session: Ints, position: Ints, event_us: Ints) -> Ints:
    """When the next event of the same session happened, (N,)."""
    order = np.lexsort((position, session))
    follows = session[order][1:] == session[order][:-1]
    next_us = np.full(len(order), NEVER)
    next_us[order[:-1][follows]] = event_us[order[1:][follows]]
    return next_us


def _hourly(item: Ints, event_us: Ints, n_items: int) -> HourlyCounts:
    pair, events = np.unique(event_us // HOUR_US * n_items + item, return_counts=True)
    return HourlyCounts(pair // n_items, pair % n_items, events)


def start_us(hour: Hour) -> int:
    """First microsecond of an hour."""
    return hour.index * HOUR_US
