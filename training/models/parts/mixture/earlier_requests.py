"""Requests from before the part kept apart, slice by slice of time, each as if it were that part.

The part kept apart says what the network's taste is worth, since it did not learn from it.  On a
young log it holds few requests for items that were known before.  All other terms are counts, and
those can be taken as they stood at any time.

N events, V items.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.array_types import Bools, Ints
from training.data.reader import Histories

_N_SLICES = 8  # of as many events each; the first only tells what is known before the second
_PLENTY = 10  # times as many targets as are wanted: earlier ones are not looked at


@dataclass(frozen=True)
class TimeSlice:
    """Some targets, which are all at or after a time, and what was known of items before it."""

    begins_us: int
    event: Ints  # (n,) targets, ascending
    item_events: Ints  # (V,) before ``begins_us``


def time_slices(histories: Histories, n_items: int, event: Ints, before_us: int) -> list[TimeSlice]:
    """Slices of the targets ``event`` before a time, without those on items that were not known.

    Args:
        histories: of the users.
        n_items: V.
        event: places of the targets, ascending.
        before_us: the end of the last slice.
    """
    time_us = np.asarray(histories.time_us)
    item = np.asarray(histories.item).astype(np.int64) - 1
    past = event[time_us[event] < before_us]
    if not len(past):
        return []
    shares = np.arange(1, _N_SLICES) / _N_SLICES
    edges_us = np.unique(np.quantile(time_us[past], shares, method="higher")).tolist()
    slices = []
    for begins_us, ends_us in zip(edges_us, [*edges_us[1:], before_us], strict=True):
        item_events = np.bincount(item[time_us < begins_us], minlength=n_items)
        within = past[(time_us[past] >= begins_us) & (time_us[past] < ends_us)]
        known_items = within[item_events[item[within]] > 0]
        slices.append(TimeSlice(begins_us, known_items, item_events))
    return slices


def latest_slices(
    histories: Histories, slices: Sequence[TimeSlice], wanted: Sequence[int]
) -> Sequence[TimeSlice]:
    """The latest slices that hold plenty of both kinds; all where they never do.

    Each costs a count of what was known before it.
    """
    counts = np.zeros(2, np.int64)
    for number in reversed(range(len(slices))):
        begins = int(begins_of(histories, slices[number].event).sum())
        counts += (len(slices[number].event) - begins, begins)
        if (counts >= _PLENTY * np.asarray(wanted)).all():
            return slices[number:]
    return slices


def begins_of(histories: Histories, event: Ints) -> Bools:
    """Whether each event begins a session, or is all that is left of its beginning."""
    user = np.searchsorted(histories.offsets, event, side="right") - 1
    begins: Bools = np.asarray(histories.session_start)[event] | (event == histories.offsets[user])
    return begins


def thinned(events: Ints, most: int) -> Ints:
    """At most so many of them, evenly."""
    return events[:: max(1, -(-len(events) // most))] if most > 0 else events[:0]


def by_kind(histories: Histories, event: Ints) -> tuple[Ints, Ints]:
    """Targets within a session, and those that begin one."""
    begins = begins_of(histories, event)
    return event[~begins], event[begins]
