"""Which session each event belongs to, over whole columns (ASARS 3.1).

A chain is a run of a trail's events without a silence of ``gap_us``; a session is a chain, cut into
pieces of ``max_session_us`` counted from the chain's first event.  A trail is a user; where the log
names its sessions, a user's events of one name.  Passive events, which nobody does, are in no
chain: they tell how long the event before them lasted.

Only what decides about sessions is looked at here, and a trail goes by a digest of its name: the
events themselves stay in their files until it is known where each of them goes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.array_types import Bools, Ints
from pipeline.errors import HourglassError
from pipeline.hours import US_PER_HOUR

_DIGEST_BYTES = 16
# Arrow counts the bytes of a string array in 31 bits.
_MOST_IDS = (2**31 - 1) // 32
_HEX = np.frombuffer(b"0123456789abcdef", np.uint8)

Digests = NDArray[np.uint64]

# One event, as far as sessions go: its trail's digest (two halves), its time, where it is stored,
# for one that was carried in the first event of its chain, its rank among the user's events of
# the same time (0: there is no other), and whether it is marked as a robot's.
EVENT_INDEX = pa.schema(
    [
        pa.field("trail", pa.uint64(), nullable=False),
        pa.field("trail_low", pa.uint64(), nullable=False),
        pa.field("event_us", pa.int64(), nullable=False),
        pa.field("source", pa.int32(), nullable=False),
        pa.field("row", pa.int32(), nullable=False),
        pa.field("chain_us", pa.int64(), nullable=False),
        pa.field("tie_rank", pa.int32(), nullable=False),
        pa.field("is_robot", pa.bool_(), nullable=False),
    ]
)
# Where some types are passive: a digest of the event's item, whether it is of such a type, and for
# one that was carried in when the last passive event on it was.
PASSIVE_EVENT_INDEX = pa.schema(
    [
        *EVENT_INDEX,
        pa.field("item", pa.uint64(), nullable=False),
        pa.field("is_passive", pa.bool_(), nullable=False),
        pa.field("passive_us", pa.int64(), nullable=False),
    ]
)
#: ``chain_us`` of an event that no earlier hour has placed, ``passive_us`` where there is none.
NO_RUN = np.iinfo(np.int64).min

# Where an event goes: dwell_us is negative where nothing tells it.
ASSIGNED = pa.schema(
    [
        pa.field("trail", pa.uint64(), nullable=False),
        pa.field("source", pa.int32(), nullable=False),
        pa.field("row", pa.int32(), nullable=False),
        pa.field("hour", pa.int32(), nullable=False),
        pa.field("close_hour", pa.int32(), nullable=False),
        pa.field("position", pa.int32(), nullable=False),
        pa.field("start_us", pa.int64(), nullable=False),
        pa.field("chain_us", pa.int64(), nullable=False),
        pa.field("dwell_us", pa.int64(), nullable=False),
        pa.field("tie_rank", pa.int32(), nullable=False),
        pa.field("is_robot", pa.bool_(), nullable=False),
    ]
)
# And when the last passive event on it was, of each hour that has one, in order.
PASSIVE_ASSIGNED = pa.schema([*ASSIGNED, pa.field("passive_us", pa.list_(pa.int64()))])


@dataclass(frozen=True)
class SessionRules:
    """When a session ends, and when a run without silence is a robot's; in microseconds."""

    gap_us: int
    max_session_us: int
    robot_run_us: int | None = None


def session_key_hashes(names: Iterable[tuple[str, str]]) -> tuple[Digests, Digests]:
    """The two halves of a 128-bit digest of each trail: (user_id, given session or nothing)."""
    blake2b = hashlib.blake2b
    # The length keeps ("a", "bc") and ("ab", "c") apart.
    texts = [f"{len(user)}:{user}{session}".encode() for user, session in names]
    digests = b"".join([blake2b(text, digest_size=_DIGEST_BYTES).digest() for text in texts])
    halves = np.frombuffer(digests, ">u8").astype(np.uint64).reshape(-1, 2)
    return halves[:, 0], halves[:, 1]


def session_ids(session_key: Digests, start_us: Ints) -> pa.StringArray:
    """32 hexadecimal digits a row: half the trail's digest, then the session's start.

    Quickest where rows of a session follow one another.

    Raises:
        HourglassError: too many for one array.
    """
    starts = np.flatnonzero(_changes(session_key) | _changes(start_us))
    bits = np.stack([session_key[starts], start_us[starts].view(np.uint64)], axis=1)  # (S, 2)
    octets = bits.astype(">u8").view(np.uint8)  # (S, 16)
    digits = np.empty((len(starts), 32), np.uint8)
    digits[:, 0::2] = _HEX[octets >> 4]
    digits[:, 1::2] = _HEX[octets & 15]
    n = len(session_key)
    if n > _MOST_IDS:
        raise HourglassError(
            f"{n} events of sessions in one hour are more than the {_MOST_IDS} that fit one file"
        )
    rows = np.repeat(digits, np.diff(starts, append=n), axis=0)  # (N, 32)
    offsets = np.arange(0, 32 * n + 1, 32, dtype=np.int32)
    return pa.StringArray.from_buffers(n, pa.py_buffer(offsets), pa.py_buffer(rows.reshape(-1)))


def assign_sessions(parts: Sequence[pa.Table], rules: SessionRules) -> pa.Table:
    """Rows of :data:`ASSIGNED`, by trail and time, for rows of :data:`EVENT_INDEX`.

    Each part is in order of trail and time, equal times in the order of the log; no part holds a
    time before one of the parts that stand before it.  Of parts of :data:`PASSIVE_EVENT_INDEX`
    the rows are of :data:`PASSIVE_ASSIGNED`, one for each event that is not passive.
    """
    marks = pa.concat_tables(parts)
    column = {name: marks[name].to_numpy() for name in marks.column_names}
    order = _by_session_key(column["trail"], column["trail_low"])
    passive = None
    if "is_passive" in column:
        passive = _passive_times(column, order, rules.gap_us)
        order = order[~column["is_passive"][order]]
    trail, low, event_us = (column[name][order] for name in ("trail", "trail_low", "event_us"))
    n = len(order)
    first_of_trail = _changes(trail) | _changes(low)
    silence_us = np.diff(event_us, prepend=event_us[:1])
    first_of_chain = first_of_trail | (silence_us >= rules.gap_us)
    carried_us = column["chain_us"][order]
    chain_us = np.where(carried_us != NO_RUN, carried_us, event_us)[_firsts(first_of_chain)]

    piece = (event_us - chain_us) // rules.max_session_us
    first_of_session = first_of_chain | _changes(piece)
    first = _firsts(first_of_session)
    last_of_session = np.append(first_of_session[1:], True)[:n]
    ends = np.flatnonzero(last_of_session)
    sessions = np.cumsum(first_of_session) - 1
    last_us = event_us[ends[sessions]] if n else event_us
    next_us = np.append(event_us[1:], 0)[:n]
    dwell_us = np.where(last_of_session, -1, next_us - event_us)
    if passive is not None:
        is_told = passive.lengths > 0
        dwell_us[is_told] = passive.last_us - event_us[is_told]
    is_robot = column["is_robot"][order]
    if rules.robot_run_us is not None:
        is_robot = is_robot | (event_us - chain_us >= rules.robot_run_us)
    return pa.table(
        {
            "trail": trail,
            "source": column["source"][order],
            "row": column["row"][order],
            "hour": (event_us // US_PER_HOUR).astype(np.int32),
            "close_hour": ((last_us + rules.gap_us) // US_PER_HOUR).astype(np.int32),
            "position": (np.arange(n) - first).astype(np.int32),
            "start_us": event_us[first],
            "chain_us": chain_us,
            "dwell_us": dwell_us,
            "tie_rank": column["tie_rank"][order],
            "is_robot": is_robot,
            **({} if passive is None else {"passive_us": passive.lists}),
        },
        schema=ASSIGNED if passive is None else PASSIVE_ASSIGNED,
    )


@dataclass(frozen=True)
class _PassiveTimes:
    """Of each event that is not passive (M,) how many hours have passive ones on it.

    ``time_us`` is when the last of each such hour was: those of the first event, in order, then
    those of the second ...
    """

    lengths: Ints  # (M,)
    time_us: Ints

    @property
    def last_us(self) -> Ints:
        """The last of all, of those events that have any."""
        return self.time_us[np.cumsum(self.lengths)[self.lengths > 0] - 1]

    @property
    def lists(self) -> pa.ListArray:
        """The times of each event."""
        offsets = np.append(0, np.cumsum(self.lengths)).astype(np.int32)
        return pa.ListArray.from_arrays(pa.array(offsets), pa.array(self.time_us))


def _passive_times(column: Mapping[str, NDArray[Any]], order: Ints, gap_us: int) -> _PassiveTimes:
    """When passive events were on the others, those of each hour by its last.

    A passive event is on the event before it in its trail, which is not passive, where they are of
    one item; not where it lies ``gap_us`` or more after it, when the session has closed, and not
    at the same instant, where it says nothing.  All of them stay until hours are over: what stands
    open at the end of an hour must not know of the next.
    """
    is_passive = column["is_passive"][order]
    before = np.maximum.accumulate(np.where(is_passive, -1, np.arange(len(order))))
    rows = np.flatnonzero(is_passive & (before >= 0))
    passive, event = order[rows], order[before[rows]]
    tells = np.ones(len(rows), np.bool_)
    for name in ("trail", "trail_low", "item"):
        tells &= column[name][passive] == column[name][event]
    since_us = column["event_us"][passive] - column["event_us"][event]
    tells &= (since_us > 0) & (since_us < gap_us)
    nth = np.cumsum(~is_passive) - 1  # of those that are not passive
    carried_us = column["passive_us"][order]
    was_carried = np.flatnonzero(carried_us != NO_RUN)
    of_event = np.concatenate([nth[was_carried], nth[before[rows[tells]]]])
    time_us = np.concatenate([carried_us[was_carried], column["event_us"][passive[tells]]])
    by_event = np.lexsort((time_us, of_event))
    of_event, time_us = of_event[by_event], time_us[by_event]
    is_last = np.append(_changes(of_event) | _changes(time_us // US_PER_HOUR), True)[1:]
    of_event, time_us = of_event[is_last], time_us[is_last]
    return _PassiveTimes(np.bincount(of_event, minlength=int((~is_passive).sum())), time_us)


def _by_session_key(session_key: Digests, low: Digests) -> Ints:
    """Order of rows by trail that leaves the order within a trail as it is."""
    # Stable, and quick on what consists of a few ordered runs.
    order = np.argsort(session_key, kind="stable")
    same = session_key[order[1:]] == session_key[order[:-1]]
    if np.any(same & (low[order[1:]] != low[order[:-1]])):
        # Half a digest has met its twin.
        order = np.lexsort((low, session_key))
    return order


def _changes(values: NDArray[np.generic]) -> Bools:
    """Whether each row differs from the one before; the first does."""
    differs = np.ones(len(values), np.bool_)
    np.not_equal(values[1:], values[:-1], out=differs[1:])
    return differs


def _firsts(starts: Bools) -> Ints:
    """For each row, where the run that it belongs to starts."""
    return np.maximum.accumulate(np.where(starts, np.arange(len(starts)), 0))
