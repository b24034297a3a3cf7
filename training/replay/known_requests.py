"""Requests as they stood when they came: what each user had done, as far as it had arrived by then.

What is asked stays what happened: every event of a step is to be found, however late it came.  Only
what a request knows differs.  A user of 13:00 did ``a`` at 12:10 and ``b`` at 12:50, of which ``a``
arrived at 13:30; then ``c`` at 13:20 and ``d`` at 14:10:

    as happened   c after a b     d after a b c
    as known      c after b       d after a b c

So users with late events get a history for each hour in which they are asked, in sessions of their
own: ``b`` may begin the session here that ``a`` began there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.array_types import Bools, Ints, Objects
from pipeline.dataset.as_known.known_log import recoded, rows_log
from pipeline.dataset.as_known.late_events import LateEvents
from pipeline.dataset.inputs import frame_of
from pipeline.dataset.rows import arrays
from pipeline.dataset.rows.arrays import UserEvents
from pipeline.dataset.rows.event_log import FlatLog, start_us
from pipeline.errors import HourglassError
from pipeline.hours import US_PER_HOUR, HourRange
from pipeline.lake.tables import OPEN_SESSIONS
from pipeline.sessions.in_memory import sessions_in_memory
from pipeline.settings.settings import Settings
from training.data.arrays import ranges
from training.data.in_memory import InMemoryDataset, ReplayLog, user_features
from training.data.reader import DataSet, Histories
from training.metrics.ranking import Targets

_LOG_ORDER = ("user", "event_time", "source_file", "line", "event_key")


@dataclass(frozen=True)
class LateRows:
    """Late users' events in the order of the log: m rows.

    ``log_row`` are the places (N,) in the rows of each event of the log; -1 of other users.
    """

    events: pa.Table  # (m) as in `LateEvents`
    user: Ints  # (m,) code of the log, ascending
    time_us: Ints  # (m,)
    known_us: Ints  # (m,)
    counts: Bools  # (m,) whether it is an event of a session, and of a type to learn from
    log_row: Ints  # (N,)

    @property
    def is_late(self) -> Bools:
        """Which of the events (m,) came later than they happened."""
        return self.known_us > self.time_us


def late_rows(log: FlatLog, late: LateEvents, settings: Settings) -> LateRows:
    """Late users' events in the order in which the log has them.

    Raises:
        HourglassError: the log has others.
    """
    user_ids = late.user_ids.to_numpy(zero_copy_only=False).astype(object)
    user = np.searchsorted(log.user_ids, user_ids)[late.user]
    keys = late.events.append_column("user", pa.array(user))
    # Rows that do not tell their line come first, as in sessions.
    order = pc.sort_indices(
        keys, sort_keys=[(name, "ascending", "at_start") for name in _LOG_ORDER]
    ).to_numpy()
    events = late.events.take(pa.array(order))
    user, time_us, known_us = user[order], late.time_us[order], late.known_us[order]
    # Who has passive events alone is no user of the log.
    kind = events["event_type"]
    passive = pa.array(tuple(settings.sessions.passive_types), pa.string())
    is_active = ~pc.is_in(kind, value_set=passive).to_numpy()
    rows, active = np.flatnonzero(np.isin(log.user, user[is_active])), np.flatnonzero(is_active)
    alike = len(rows) == len(active) and np.array_equal(log.time_us[rows], time_us[active])
    if not alike or not np.array_equal(log.user[rows], user[active]):
        raise HourglassError(
            "the sessions are not of the events that are in the lake: run `hourglass backfill`"
        )
    log_row = np.full(len(log), -1, np.int64)
    log_row[rows] = active
    counts = is_active
    if settings.dataset.event_types:
        wanted = pa.array(settings.dataset.event_types, pa.string())
        counts = is_active & pc.is_in(kind, value_set=wanted).to_numpy()
    return LateRows(events, user, time_us, known_us, counts, log_row)


@dataclass(frozen=True)
class _Groups:
    """Targets that share a history: g histories, n targets.

    A history are the rows ``first`` to ``last`` of those that were known at ``hour_us``, and its
    own last one.
    """

    of_target: Ints  # (n,)
    first: Ints  # (g,)
    last: Ints  # (g,)
    hour_us: Ints  # (g,)


def known_requests(
    log: ReplayLog, late: LateEvents, rows: LateRows, settings: Settings,
    test_set: InMemoryDataset, targets: Targets, hours: HourRange,
) -> tuple[DataSet, Targets]:  # fmt: skip
    """The same targets, asked of histories that hold only what was known when they were asked.

    Args:
        log: as everything happened.
        late: its late events.
        rows: the same in the order of the log.
        settings: what a data set is.
        test_set: of ``hours``, as everything happened.
        targets: what is asked of it.
        hours: of the step.
    """
    first_us, stop_us = start_us(hours.first), start_us(hours.stop)
    if not len(rows.user):
        return test_set.data, targets
    concerns = rows.is_late & (rows.known_us > first_us) & (rows.time_us < stop_us)
    row_of = rows.log_row[test_set.event[targets.position]]
    users = np.unique(rows.user[concerns])
    (chosen,) = np.nonzero((row_of >= 0) & np.isin(rows.user[row_of], users))
    if not len(chosen):
        return test_set.data, targets
    row_of = row_of[chosen]
    groups = _grouped(rows, row_of)
    own, after = _histories_of(log, late, rows, settings, test_set, groups, row_of, hours)
    histories = _joined(test_set.data.histories, own, log.user_ids[rows.user[groups.last]])
    features = user_features(log, test_set.encoding, hours.first, histories.user_ids)
    user, length = targets.requests.user.copy(), targets.requests.length.copy()
    user[chosen] = len(test_set.data.histories.user_ids) + groups.of_target
    length[chosen] = np.diff(own.offsets)[groups.of_target] - 1 - after
    starts = np.asarray(histories.session_start)[histories.offsets[user] + length]
    requests = replace(targets.requests, user=user, length=length, starts=starts)
    data = replace(test_set.data, histories=replace(histories, user_features=features))
    return data, replace(targets, requests=requests)


def _grouped(rows: LateRows, row_of: Ints) -> _Groups:
    """Targets of a user and hour share a history; one that is late itself has its own.

    ``row_of`` (n,) are the targets' rows.
    """
    hour = rows.time_us[row_of] // US_PER_HOUR
    alone = np.where(rows.is_late[row_of], row_of, -1)
    keys, group = np.unique(
        np.stack([rows.user[row_of], hour, alone], axis=1), axis=0, return_inverse=True
    )
    last = np.zeros(len(keys), np.int64)
    np.maximum.at(last, group.ravel(), row_of)
    first = np.searchsorted(rows.user, keys[:, 0])
    return _Groups(group.ravel(), first, last, keys[:, 1] * US_PER_HOUR)


def _histories_of(
    log: ReplayLog, late: LateEvents, rows: LateRows, settings: Settings,
    test_set: InMemoryDataset, groups: _Groups, row_of: Ints, hours: HourRange,
) -> tuple[UserEvents, Ints]:  # fmt: skip
    """The history of each group (g), and of each target (n,) how many of its events come after."""
    group, entry = ranges(groups.first, groups.last - groups.first + 1)
    stays = ~rows.is_late[entry] | (rows.known_us[entry] <= groups.hour_us[group])
    stays |= entry == groups.last[group]
    counted = np.append(0, np.cumsum(stays & rows.counts[entry]))
    begin = np.cumsum(groups.last - groups.first + 1) - (groups.last - groups.first + 1)
    at = begin[groups.of_target] + row_of - groups.first[groups.of_target]
    end = begin + groups.last - groups.first + 1
    after = counted[end[groups.of_target]] - counted[at + 1]
    # Each group is a user of its own; names in the order of their numbers.
    names = pa.array([f"{number:012d}" for number in range(len(groups.last))], pa.string())
    events = rows.events.take(pa.array(entry[stays]))
    events = events.set_column(
        events.column_names.index("user_id"), "user_id", names.take(pa.array(group[stays]))
    )
    until = HourRange(late.hours.first, hours.stop)
    sessions = sessions_in_memory(
        events, OPEN_SESSIONS.schema.empty_table(), settings.sessions, until
    )
    own_log = rows_log(sessions, log.context_names, until)
    rules = settings.dataset
    encoded = arrays.encoded(
        recoded(own_log, log, own_log.user_ids), rules, frame_of(rules, hours),
        test_set.encoding, test_set.data.item_events, test_set.data.manifest.dwell, keep_idle=True,
    )  # fmt: skip
    return encoded.histories, after


def _joined(histories: Histories, own: UserEvents, user_ids: Objects) -> Histories:
    """The histories, and after them those of the groups, which are of these users."""
    columns: dict[str, Any] = {
        name: np.concatenate([np.asarray(getattr(histories, name)), values])
        for name, values in vars(own).items()
        if name not in ("user_ids", "offsets")
    }
    return replace(
        histories,
        **columns,
        user_ids=np.concatenate([histories.user_ids, user_ids]),
        offsets=np.concatenate([histories.offsets, own.offsets[1:] + histories.offsets[-1]]),
    )
