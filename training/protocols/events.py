"""Flat events of a log in memory.  N events, U users, V items."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.array_types import Bools, Floats32, Ints, Objects
from pipeline.hours import HOUR_S, US_PER_S


@dataclass(frozen=True)
class Log:
    """Events by user, each user's in time order."""

    user: Ints  # (N,) row of user_ids, ascending
    item: Ints  # (N,) row of item_ids
    time_us: Ints  # (N,)
    event_type: Ints  # (N,) row of event_types
    value: Floats32  # (N,) NaN = none
    session: Ints  # (N,) ascends; sessions are apart
    user_ids: Objects  # (U,) as text; some may have no event
    item_ids: Objects  # (V,)
    event_types: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.user)

    def take(self, rows: Bools | Ints) -> Log:
        """The events in those rows, which ascend; ids keep their rows."""
        return replace(
            self,
            user=self.user[rows],
            item=self.item[rows],
            time_us=self.time_us[rows],
            event_type=self.event_type[rows],
            value=self.value[rows],
            session=self.session[rows],
        )


@dataclass(frozen=True)
class Coded:
    """Labels of N events: the row of each in the distinct ones, as text."""

    code: Ints  # (N,)
    ids: Objects  # (number of distinct labels,)

    @classmethod
    def of(cls, labels: NDArray[Any]) -> Coded:
        """Labels of any kind, (N,), numbered in the order in which they first occur."""
        code, distinct = pd.factorize(labels)
        return cls(code.astype(np.int64), np.array([str(label) for label in distinct], object))


def log_of(
    user: Coded,
    item: Coded,
    time_us: Ints,
    event_type: Coded | str = "view",
    value: Floats32 | None = None,
    gap_s: int | None = HOUR_S,
) -> Log:
    """Sort events and part their sessions.

    Args:
        user: of each event.
        item: of each event.
        time_us: (N,); events of the same microsecond keep their order.
        event_type: of each event, or one type for all.
        value: (N,).
        gap_s: a silence this long begins a session; None: a user's history is one session.
    """
    order = np.lexsort((time_us, user.code))
    if isinstance(event_type, str):
        event_type = Coded(np.zeros(len(time_us), np.int64), np.array([event_type], object))
    values = np.full(len(time_us), np.nan, np.float32) if value is None else value[order]
    log = Log(
        user=user.code[order],
        item=item.code[order],
        time_us=time_us[order],
        event_type=event_type.code[order],
        value=values.astype(np.float32),
        session=np.zeros(len(time_us), np.int64),
        user_ids=user.ids,
        item_ids=item.ids,
        event_types=tuple(event_type.ids),
    )
    return replace(log, session=sessions_of(log.user, log.time_us, gap_s))


def sessions_of(user: Ints, time_us: Ints, gap_s: int | None) -> Ints:
    """Number of the session of each event, (N,), over all users; see `log_of`."""
    begins = starts_of(user)
    if gap_s is not None:
        begins |= np.diff(time_us, prepend=time_us[:1]) >= gap_s * US_PER_S
    return np.cumsum(begins, dtype=np.int64) - 1


def starts_of(groups: Ints) -> Bools:
    """Whether an event is the first of its group, (N,); events of a group are side by side."""
    starts = np.ones(len(groups), np.bool_)
    starts[1:] = groups[1:] != groups[:-1]
    return starts


def group_sizes(groups: Ints) -> tuple[Ints, Ints]:
    """First row and length of each group of neighbours, both (number of groups,)."""
    first = np.flatnonzero(starts_of(groups))
    return first, np.diff(np.append(first, len(groups)))


def places_in(groups: Ints) -> tuple[Ints, Ints]:
    """Place of each event in its group, 0 first, and the group's length, both (N,)."""
    first, lengths = group_sizes(groups)
    of_event = np.repeat(lengths, lengths)
    return np.arange(len(groups), dtype=np.int64) - np.repeat(first, lengths), of_event


def joined(first: Log, second: Log) -> Log:
    """Two logs without common users as one."""
    item = Coded.of(
        np.concatenate([first.item_ids[first.item], second.item_ids[second.item]]),
    )
    types = tuple(dict.fromkeys((*first.event_types, *second.event_types)))
    row_of_type = np.array([types.index(name) for name in second.event_types], np.int64)
    after_session = int(first.session[-1]) + 1 if len(first) else 0
    return Log(
        user=np.concatenate([first.user, second.user + len(first.user_ids)]),
        item=item.code,
        time_us=np.concatenate([first.time_us, second.time_us]),
        event_type=np.concatenate([first.event_type, row_of_type[second.event_type]]),
        value=np.concatenate([first.value, second.value]),
        session=np.concatenate([first.session, second.session + after_session]),
        user_ids=np.concatenate([first.user_ids, second.user_ids]),
        item_ids=item.ids,
        event_types=types,
    )
