"""Repeat consumption: events on what the user has had before (ASARS fig. 1)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.report.sessions import Spread, size_classes, spread

_LONGEST_OCTAVE = 6
_SECOND_US = 1_000_000


@dataclass(frozen=True)
class Repeats:
    """Shares of the events of closed sessions, by what the user knew of the item.

    ``within``: seen earlier in this session, ``immediate`` of them by the event before; ``across``:
    not in this session yet, but in an earlier one of the same user; the rest is new to the user.
    All within the range that was looked at: what came before it is not known.

    ``by_position`` (3, P) are the three shares (within, across, new) at the positions ``labels``;
    ``returns`` is the time since the user's last event on the item, of ``across``.
    """

    events: int
    within: float
    immediate: float
    across: float
    labels: tuple[str, ...]
    by_position: NDArray[np.float64]
    returns: Spread | None

    @property
    def new(self) -> float:
        """Share of the events on items that are new to their user."""
        return 1.0 - self.within - self.across


def repeats(sessions: pa.Table) -> Repeats | None:
    """Tell repeats from discoveries; None without events.

    Args:
        sessions: columns user_id, session_id, item_id, session_start, event_time, position.
    """
    if not sessions.num_rows:
        return None
    user, session, item = (_codes(sessions[name]) for name in ("user_id", "session_id", "item_id"))
    start_us, time_us = (
        pc.cast(sessions[name], pa.int64()).to_numpy() for name in ("session_start", "event_time")
    )
    position = sessions["position"].to_numpy()
    # Events of one user and item, in the order in which they happened.
    order = np.lexsort((position, time_us, session, start_us, item, user))
    follows = np.r_[False, _same(user[order]) & _same(item[order])]
    in_session = np.r_[False, _same(session[order])]
    within = _back(order, follows & in_session)
    # Had the item been met in this session before, the event would follow it there.
    across = _back(order, follows & ~in_session)
    last_us = np.r_[0, time_us[order][:-1]]
    waited_s = (time_us[order] - last_us)[follows & ~in_session] / _SECOND_US

    path = np.lexsort((position, session))
    immediate = np.r_[False, _same(session[path]) & _same(item[path])]
    octave = np.minimum(np.ceil(np.log2(position + 1)).astype(np.int64), _LONGEST_OCTAVE)
    labels, _ = size_classes(np.unique(2**octave))
    n = np.bincount(octave).astype(np.float64)
    parts = [np.bincount(octave, weights=kind) for kind in (within, across, ~within & ~across)]
    shares = np.array(parts) / np.maximum(n, 1)
    if len(n) > _LONGEST_OCTAVE:
        labels = (*labels[:-1], f"{2 ** (_LONGEST_OCTAVE - 1) + 1}+")
    return Repeats(
        sessions.num_rows,
        float(within.mean()),
        float(immediate.mean()),
        float(across.mean()),
        labels,
        shares,
        spread(waited_s),
    )


def _codes(column: pa.ChunkedArray) -> NDArray[np.int64]:
    codes: NDArray[np.int64] = column.combine_chunks().dictionary_encode().indices.to_numpy()
    return codes.astype(np.int64)


def _same(values: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each value but the first equals the one before it."""
    same: NDArray[np.bool_] = values[1:] == values[:-1]
    return same


def _back(order: NDArray[np.int64], found: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Put what was found in an order back in the rows' own order."""
    rows = np.zeros(len(order), dtype=np.bool_)
    rows[order] = found
    return rows
