"""What is in a data set, as arrays: computed in memory from a flat log.

``fitted`` learns an encoding from a window; ``encoded`` tells other hours in one that was learned
before.  Nothing that happened at or after the end of the frame is looked at; of an event whose
session went on after it, the dwell time is not known yet.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.array_types import Bools, Floats32, Ints, Ints32, Objects
from pipeline.dataset.inputs import Frame
from pipeline.dataset.manifest import DwellBins, StepCounts
from pipeline.dataset.rows.encoding import (
    Encoding,
    bins_of,
    context_codes,
    context_fields,
    dwell_bins,
    event_types,
    extended_vocabulary,
)
from pipeline.dataset.rows.event_log import FlatLog, HourlyCounts, start_us
from pipeline.dataset.rows.support_filter import filter_support, refuse_nothing
from pipeline.hours import US_PER_S, HourRange
from pipeline.settings.tables import DatasetSettings


@dataclass(frozen=True)
class UserEvents:
    """Each user's events in time order, end to end: U users, N events, C context fields.

    Events ``offsets[u]`` to ``offsets[u + 1]`` are user u's; the first ``n_context[u]`` of them
    are context, never targets.
    """

    user_ids: Objects  # (U,) ascending
    offsets: Ints  # (U + 1,)
    n_context: Ints32  # (U,)
    item: Ints32  # (N,) 1-based
    time_us: Ints  # (N,)
    session_start: Bools  # (N,)
    dwell_s: Floats32  # (N,) NaN = none
    dwell_bin: NDArray[np.int16]  # (N,) 0 = unknown
    event_type: NDArray[np.int16]  # (N,)
    value: Floats32  # (N,) NaN = none
    context: Ints32  # (N, C) 0 = unknown


@dataclass(frozen=True)
class DatasetArrays:
    """What is in a data set, but for what is known of its items and users."""

    encoding: Encoding
    dwell: DwellBins
    steps: tuple[StepCounts, ...]  # of the support filter; empty where there was none
    n_window_events: int  # before items that are not known were left out
    item_events: Ints  # (V,) support in the window
    item_index: Ints  # of each item of the log in the vocabulary; -1 where it may not be learned
    histories: UserEvents
    event: Ints  # (N,) place in the log of each event of the histories
    popularity: HourlyCounts  # item is 1-based; by hour and item


def fitted(
    log: FlatLog, rules: DatasetSettings, frame: Frame, former: Encoding, cold: Ints
) -> DatasetArrays:
    """What a model may learn from at the end of a frame.

    Args:
        log: holds the sessions of all hours of the frame.
        rules: what is let in.
        frame: the hours.
        former: the encoding that is extended.
        cold: codes of items that join the vocabulary though there is no event to learn from.

    Raises:
        HourglassError: no event is left by the support filter.
    """
    event = _events(log, rules, frame)
    in_window = log.time_us[event] >= start_us(frame.window_start)
    remaining, steps = filter_support(log, event[in_window], rules)
    refuse_nothing(steps, frame)
    n_items = len(log.item_ids)
    support = np.bincount(log.item[remaining], minlength=n_items)
    items, item_events = extended_vocabulary(support, former.items, cold)
    index = index_of_items(log, items)
    if rules.cold_items:
        # What they have is too little to learn from: it stays out as without them.
        index[items[item_events == 0]] = -1
    remains = np.zeros(len(log), np.bool_)
    remains[remaining] = True
    chosen = np.where(in_window, remains[event], index[log.item[event]] >= 0)
    encoding = Encoding(
        items,
        event_types(log, event, former.event_types),
        context_fields(log, remaining, rules, former.context_fields),
    )
    rows = _Rows(event[chosen], in_window[chosen], frame, encoding, index)
    dwell = dwell_bins(log, rules, frame)
    histories, places = _histories(log, rows, dwell, rules.max_history_events)
    return DatasetArrays(
        encoding=encoding,
        dwell=dwell,
        steps=steps,
        n_window_events=int(in_window.sum()),
        item_events=item_events,
        item_index=index,
        histories=histories,
        event=places,
        popularity=popularity(log, frame.popular_hours(rules), index),
    )


def encoded(
    log: FlatLog,
    rules: DatasetSettings,
    frame: Frame,
    encoding: Encoding,
    item_events: Ints,
    dwell: DwellBins,
    keep_idle: bool = False,
) -> DatasetArrays:
    """The events of a frame's window, and each user's history before them, in a given encoding.

    Types of events that are new join it.  ``keep_idle`` keeps users without an event in the window.
    """
    event = _events(log, rules, frame)
    in_window = log.time_us[event] >= start_us(frame.window_start)
    encoding = Encoding(
        encoding.items,
        event_types(log, event, encoding.event_types),
        encoding.context_fields,
        encoding.encoders,
    )
    index = index_of_items(log, encoding.items)
    chosen = index[log.item[event]] >= 0
    rows = _Rows(event[chosen], in_window[chosen], frame, encoding, index)
    histories, places = _histories(log, rows, dwell, rules.max_history_events, keep_idle)
    return DatasetArrays(
        encoding=encoding,
        dwell=dwell,
        steps=(),
        n_window_events=int(in_window.sum()),
        item_events=item_events,
        item_index=index,
        histories=histories,
        event=places,
        popularity=popularity(log, frame.popular_hours(rules), index),
    )


def index_of_items(log: FlatLog, items: Ints) -> Ints:
    """Place in a vocabulary of codes (V,) of each item of the log; -1 where it is not in it."""
    index = np.full(len(log.item_ids), -1, np.int64)
    index[items] = np.arange(len(items))
    return index


def popularity(log: FlatLog, hours: HourRange, item_index: Ints) -> HourlyCounts:
    """Events by hour and item, which is numbered from 1 by its place, see `index_of_items`."""
    counts = log.counts
    rows = slice(*np.searchsorted(counts.hour, [hours.first.index, hours.stop.index]))
    number = item_index[counts.item[rows]] + 1
    numbered = np.flatnonzero(number)
    hour, number = counts.hour[rows][numbered], number[numbered]
    order = np.argsort(hour * (len(item_index) + 1) + number)
    return HourlyCounts(hour[order], number[order], counts.events[rows][numbered[order]])


@dataclass(frozen=True)
class _Rows:
    """Events that make histories, as places in the log, in its order: n rows."""

    event: Ints  # (n,)
    in_window: Bools  # (n,)
    frame: Frame
    encoding: Encoding
    item_index: Ints


def _events(log: FlatLog, rules: DatasetSettings, frame: Frame) -> Ints:
    """Events of the hours of a frame, of the types to learn from, as places in the log.

    A user with an event in these hours that is marked as a robot's has none here.
    """
    wanted = log.time_us >= start_us(frame.history_start)
    wanted &= log.time_us < start_us(frame.as_of)
    if (marked := wanted & log.is_robot).any():
        wanted &= ~np.isin(log.user, log.user[marked])
    if rules.event_types:
        is_wanted = np.array([kind in rules.event_types for kind in log.kinds], np.bool_)
        wanted &= is_wanted[log.kind]
    return np.flatnonzero(wanted)


def _histories(
    log: FlatLog, rows: _Rows, dwell: DwellBins, max_context: int, keep_idle: bool = False
) -> tuple[UserEvents, Ints]:
    """Events by user, and the place of each in the log.

    Users without an event in the window are left out unless ``keep_idle``.
    """
    event = rows.event
    n, user = len(event), log.user[event]
    # Anew, because the session's true first event may have been on an item left out.
    first = np.full(log.n_sessions, -1, np.int64)
    first[log.session[event][::-1]] = np.arange(n)[::-1]
    starts = first[log.session[event]] == np.arange(n)
    n_users = len(log.user_ids)
    n_window = np.bincount(user[rows.in_window], minlength=n_users)
    n_context = np.bincount(user[~rows.in_window], minlength=n_users)
    begin = np.cumsum(n_window + n_context) - n_window - n_context
    # Only the latest context stays, counted back from the window.
    latest = np.minimum(n_context, max_context)
    is_there = n_window + latest > 0 if keep_idle else n_window > 0
    nth = np.arange(n) - begin[user]
    stays = (rows.in_window | (nth >= (n_context - max_context)[user])) & is_there[user]
    event, starts = event[stays], starts[stays]
    there = np.flatnonzero(is_there)
    is_told = log.told_us[event] < start_us(rows.frame.as_of)
    dwell_s = np.where(is_told, log.dwell_us[event] / US_PER_S, np.nan)
    encoding = rows.encoding
    number = {kind: code for code, kind in enumerate(encoding.event_types)}
    kinds = np.array([number.get(kind, -1) for kind in log.kinds], np.int16)
    user_events = UserEvents(
        user_ids=log.user_ids[there],
        offsets=np.append(0, np.cumsum((n_window + latest)[there])).astype(np.int64),
        n_context=latest[there].astype(np.int32),
        item=(rows.item_index[log.item[event]] + 1).astype(np.int32),
        time_us=log.time_us[event],
        session_start=starts,
        dwell_s=dwell_s.astype(np.float32),
        dwell_bin=bins_of(dwell_s, dwell),
        event_type=kinds[log.kind[event]],
        value=log.value[event],
        context=context_codes(log, event, encoding.context_fields),
    )
    return user_events, event


# The shards' columns: a row is a user, a list its events.


def shard_schema(n_fields: int) -> pa.Schema:
    """The columns of a shard, with that many context fields; as the first data sets had them."""

    def lists(kind: pa.DataType, nullable: bool = True) -> pa.DataType:
        return pa.list_(pa.field("element", kind, nullable))

    columns = {
        "n_context": pa.int32(),
        "item": lists(pa.int32()),
        "time_us": lists(pa.int64()),
        "session_start": lists(pa.bool_(), nullable=False),
        "dwell_s": lists(pa.float32()),
        "dwell_bin": lists(pa.int16()),
        "event_type": lists(pa.int16()),
        "value": lists(pa.float32()),
        **{f"context_{column}": lists(pa.int32()) for column in range(n_fields)},
    }
    fields = [pa.field(name, kind, nullable=False) for name, kind in columns.items()]
    return pa.schema([pa.field("user_id", pa.string()), *fields])


def shard_tables(histories: UserEvents, cuts: list[int]) -> Iterator[pa.Table]:
    """The rows of each shard; ``cuts`` are the first user of each after the first."""
    schema = shard_schema(histories.context.shape[1])
    for first, stop in zip([0, *cuts], [*cuts, len(histories.user_ids)], strict=True):
        begin, end = int(histories.offsets[first]), int(histories.offsets[stop])
        offsets = pa.array(histories.offsets[first : stop + 1] - begin, pa.int32())
        columns = [
            pa.array(histories.user_ids[first:stop], pa.string()),
            pa.array(histories.n_context[first:stop]),
        ]
        for field in list(schema)[2:]:
            if field.name.startswith("context_"):
                values = histories.context[begin:end, int(field.name.removeprefix("context_"))]
            else:
                values = getattr(histories, field.name)[begin:end]
            entries = pa.array(values, field.type.value_type, from_pandas=True)
            columns.append(pa.ListArray.from_arrays(offsets, entries, type=field.type))
        yield pa.Table.from_arrays(columns, schema=schema)
