"""A flat log as it was known at an hour: as if what came later had not come.

``known_log`` leaves all codes as they are, so that what was learned by one log's codes means the
same in the other's.  Of users of whom something was late it has nothing after that hour.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.array_types import Bools, Ints, Objects
from pipeline.dataset.as_known.known_sessions import KnownSessions
from pipeline.dataset.rows.event_log import (
    NEVER,
    FlatLog,
    HourlyCounts,
    flat_log,
    log_rows,
)
from pipeline.hours import US_PER_HOUR, Hour, HourRange
from pipeline.lake.tables import ITEM_HOURS
from pipeline.sessions.dwell import moments_of_us
from pipeline.sessions.in_memory import SessionRows

Log = TypeVar("Log", bound=FlatLog)
# Of `FlatLog`: what is told of each event.
_COLUMNS = (
    *("user", "time_us", "item", "session", "dwell_us", "told_us", "closes"),
    *("kind", "value", "is_robot", "context"),
)


def known_log(log: Log, sessions: KnownSessions | None, hours: HourRange) -> Log:
    """The log as it was known at the end of ``hours``.

    Args:
        log: holds all sessions that were not closed before ``hours``, up to their end at least.
        sessions: of late users, at the end of the hours; None where nothing was late.
        hours: of the sessions.
    """
    if sessions is None:
        return log
    users = _codes(log.user_ids, sessions.user_ids.to_numpy(zero_copy_only=False).astype(object))
    theirs = recoded(rows_log(sessions.rows, log.context_names, hours), log, log.user_ids)
    stays = ~np.isin(log.user, users)
    merged = _joined(log, stays, theirs)
    return replace(
        merged,
        counts=known_counts(log, sessions.change),
        dwell_hours=_dwell_hours(merged, sessions.changed_hours),
    )


def rows_log(rows: SessionRows, context: tuple[str, ...], hours: HourRange) -> FlatLog:
    """A log of its own of some rows, without counts; sessions closed before ``hours`` left out."""
    since = pa.scalar(hours.first.start, rows.closed.schema.field("hour").type)
    closed = rows.closed.filter(pc.greater_equal(rows.closed["hour"], since))
    return flat_log(log_rows(closed, rows.opened), context, [], ITEM_HOURS.schema.empty_table())


def recoded(log: FlatLog, other: FlatLog, user_ids: Objects) -> FlatLog:
    """The events of a log in the codes of another one, and users by their places in ``user_ids``.

    Sessions keep their codes.  Events on items of which the other log knows nothing are left out:
    they are of before its hours.
    """
    item = _codes(other.item_ids, log.item_ids)
    user = _codes(user_ids, log.user_ids)
    kind = _codes(np.array(other.kinds, object), np.array(log.kinds, object))
    stays = (item[log.item] >= 0) & (user[log.user] >= 0)
    columns: dict[str, Any] = {name: getattr(log, name)[stays] for name in _COLUMNS}
    columns["item"] = item[columns["item"]]
    columns["user"] = user[columns["user"]]
    columns["kind"] = kind[columns["kind"]]
    context = np.empty_like(columns["context"])
    for column, name in enumerate(log.context_names):
        values = other.context_values[other.context_names.index(name)]
        # The code -1 of no value is the last.
        codes = np.append(_codes(values, log.context_values[column]), -1)
        context[:, column] = codes[columns["context"][:, column]]
    return replace(
        log,
        **{**columns, "context": context},
        user_ids=user_ids,
        item_ids=other.item_ids,
        kinds=other.kinds,
        context_values=other.context_values,
        session_user=user[log.session_user],
    )


def _joined(log: Log, stays: Bools, other: FlatLog) -> Log:
    """The events of the log that stay and those of another one, in order; they share no user."""
    columns: dict[str, Any] = {
        name: np.concatenate([getattr(log, name)[stays], getattr(other, name)]) for name in _COLUMNS
    }
    columns["session"][int(stays.sum()) :] += log.n_sessions
    order = np.argsort(columns["user"], kind="stable")
    return replace(
        log,
        **{name: values[order] for name, values in columns.items()},
        n_sessions=log.n_sessions + other.n_sessions,
        session_user=np.concatenate([log.session_user, other.session_user]),
    )


def known_counts(log: FlatLog, change: pa.Table) -> HourlyCounts:
    """The counts of the log, with what was not known taken out of them."""
    counts, n_items = log.counts, len(log.item_ids)
    item = _codes(log.item_ids, change["item_id"].to_numpy().astype(object))
    hour = change["hour"].cast(pa.int64()).to_numpy() // US_PER_HOUR
    has_code = np.flatnonzero(item >= 0)
    key = np.concatenate(
        [counts.hour * n_items + counts.item, hour[has_code] * n_items + item[has_code]]
    )
    events = np.concatenate([counts.events, change["events"].to_numpy()[has_code]])
    keys, row = np.unique(key, return_inverse=True)
    sums = np.zeros(len(keys), np.int64)
    np.add.at(sums, row, events)
    keys, sums = keys[sums > 0], sums[sums > 0]
    return HourlyCounts(keys // n_items, keys % n_items, sums)


def _dwell_hours(log: FlatLog, changed: list[Hour]) -> list[dict[str, Any]]:
    """Rows of ``dwell_hours``, by hour; those of the ``changed`` hours anew."""
    moments = {Hour.of(row["hour"]): row for row in log.dwell_hours}
    closes_then = np.isin(log.closes, [hour.index for hour in changed])
    counts = closes_then & (log.told_us != NEVER) & ~log.is_robot
    closes, dwell_us = log.closes[counts], log.dwell_us[counts]
    for hour in changed:
        of_hour = dwell_us[closes == hour.index]
        moments.pop(hour, None)
        if len(of_hour):
            moments[hour] = {"hour": hour.start, **moments_of_us(of_hour)}
    return [moments[hour] for hour in sorted(moments)]


def _codes(names: Objects, of: Objects) -> Ints:
    """Place of each name in ascending ``names``; -1 where it is none of them."""
    if not len(names):
        return np.full(len(of), -1, np.int64)
    index = np.minimum(np.searchsorted(names, of), len(names) - 1)
    return np.where(names[index] == of, index, -1).astype(np.int64)
