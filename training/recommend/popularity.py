"""What is popular now, overall and in a context: Recent-POP for users of whom nothing is known.

M items of the catalogue: those of the model first, then those that are popular but unknown to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.array_types import Ints, Objects
from pipeline.hours import Hour, HourRange
from pipeline.lake.lake import Lake, State
from pipeline.lake.tables import ITEM_HOURS, OPEN_SESSIONS, SESSIONS, TIMESTAMP

Context = Sequence[str | None]  # of one user, a value a field
_IN_CONTEXT = ("event_time", "item_id", "context", "is_robot")


@dataclass(frozen=True)
class Catalogue:
    """All items that may be offered, and those of them that may not; numbered from 0."""

    item_ids: Objects  # (M,)
    excluded: Ints  # ascending

    def numbers(self, ids: pa.Array) -> Ints:
        """Numbers of item ids; -1 = not one of them."""
        positions = pc.index_in(ids, value_set=pa.array(self.item_ids, pa.string()))
        numbers: Ints = pc.fill_null(positions, -1).to_numpy(zero_copy_only=False).astype(np.int64)
        return numbers

    def events_of(self, counts: pa.Table) -> Ints:
        """Events of each item, (M,), of what `counted` gives."""
        number = self.numbers(counts["item_id"].combine_chunks())
        events = np.zeros(len(self.item_ids), np.int64)
        events[number[number >= 0]] = counts["events"].to_numpy()[number >= 0]
        return events


@dataclass(frozen=True)
class Popular:
    """Items that may be offered, most popular first: (A,) numbers and (A,) counts."""

    order: Ints
    count: Ints


def counted(lake: Lake, state: State, hours: HourRange) -> pa.Table:
    """item_id, events: what the hours' events were on."""
    rows = lake.arrow(ITEM_HOURS, hours, state, ("item_id", "events"))
    sums = rows.group_by("item_id").aggregate([("events", "sum")])
    return sums.rename_columns(["item_id", "events"]).sort_by("item_id")


def popular_overall(catalogue: Catalogue, counts: pa.Table, support: Ints) -> Popular:
    """All items that may be offered, by recent events, then by ``support`` (M,), then by id."""
    n_items = len(catalogue.item_ids)
    events = catalogue.events_of(counts)
    by_id = np.argsort(pc.array_sort_indices(pa.array(catalogue.item_ids, pa.string())).to_numpy())
    order = np.lexsort((by_id, -support, -events))
    allowed = np.ones(n_items, np.bool_)
    allowed[catalogue.excluded] = False
    order = order[allowed[order]]
    return Popular(order, events[order])


@dataclass
class PopularInContext:
    """The best items of each context; a context's events are counted when it is first asked for.

    Where all fields together are too thin, the fields count one by one, in their order; where
    those are too, what is popular overall does.
    """

    catalogue: Catalogue
    overall: Popular
    fields: Sequence[str]
    min_events: int
    k: int
    read: Callable[[], tuple[Ints, Sequence[Objects]]]
    _events: tuple[Ints, Sequence[Objects]] | None = field(default=None, repr=False)
    _counts: dict[tuple[tuple[int, str], ...], tuple[Ints, Ints] | None] = field(
        default_factory=dict, repr=False
    )

    def best(self, context: Context) -> tuple[Ints, Ints]:
        """Numbers and counts (at most k each) of what is popular in a context, best first."""
        known_values = tuple((n, value) for n, value in enumerate(context) if value is not None)
        for subset in (
            (known_values, *((value_of_field,) for value_of_field in known_values))
            if len(known_values) > 1
            else (known_values,)
        ):
            if subset and (ranked := self._counted(subset)) is not None:
                return ranked
        return self.overall.order[: self.k], self.overall.count[: self.k]

    def _counted(self, context_values: tuple[tuple[int, str], ...]) -> tuple[Ints, Ints] | None:
        if context_values not in self._counts:
            self._counts[context_values] = self._count(context_values)
        return self._counts[context_values]

    def _count(self, context_values: tuple[tuple[int, str], ...]) -> tuple[Ints, Ints] | None:
        if self._events is None:
            self._events = self.read()
        number, values = self._events
        same = np.ones(len(number), np.bool_)
        for number_of_field, value in context_values:
            same &= values[number_of_field] == value
        if int(same.sum()) < self.min_events:
            return None
        items, counts = np.unique(number[same & (number >= 0)], return_counts=True)
        rank = self._rank[items]
        allowed = rank >= 0
        items, counts, rank = items[allowed], counts[allowed], rank[allowed]
        order = np.lexsort((rank, -counts))[: self.k]
        # After them what nobody in this context has met, as it is overall.
        others = self.overall.order[: self.k + len(items)]
        others = others[~np.isin(others, items)][: self.k - len(order)]
        none = np.zeros(len(others), np.int64)
        return np.concatenate([items[order], others]), np.concatenate([counts[order], none])

    @cached_property
    def _rank(self) -> Ints:
        """Each item's place overall, -1 = not offered, (M,)."""
        rank = np.full(len(self.catalogue.item_ids), -1, np.int64)
        rank[self.overall.order] = np.arange(len(self.overall.order))
        return rank


def events_in_context(
    lake: Lake, state: State, hours: HourRange, catalogue: Catalogue, fields: Sequence[str]
) -> tuple[Ints, Sequence[Objects]]:
    """Of each event of the hours its item's number, and its value of each context field.

    Of the events that count: those of sessions, robots' aside.
    """
    last = HourRange(hours.stop - 1, hours.stop)
    closed = lake.arrow(SESSIONS, hours, state, _IN_CONTEXT)
    opened = lake.arrow(OPEN_SESSIONS, last, state, _IN_CONTEXT)
    rows = pa.concat_tables([closed, opened])
    is_within = pc.greater_equal(rows["event_time"], pa.scalar(hours.first.start, TIMESTAMP))
    rows = rows.filter(pc.and_(is_within, pc.is_null(rows["is_robot"])))
    number = catalogue.numbers(_whole(rows["item_id"]))
    context = _whole(rows["context"])
    values = [
        pc.map_lookup(context, pa.scalar(name), "first").to_numpy(zero_copy_only=False)
        for name in fields
    ]
    return number, values


def recent(as_of: Hour, hours: int) -> HourRange:
    """The hours before a time."""
    return HourRange(as_of - hours, as_of)


def contexts_of(requested: Mapping[str, Objects], rows: Ints) -> tuple[Ints, list[Context]]:
    """The distinct contexts of some users, and which of them is whose, (len(rows),)."""
    import pandas as pd

    if not requested:
        return np.zeros(len(rows), np.int64), [()]
    frame = pd.DataFrame({name: values[rows] for name, values in requested.items()})
    groups = frame.groupby(list(requested), dropna=False, sort=True)
    which = groups.ngroup().to_numpy().astype(np.int64)
    _, first = np.unique(which, return_index=True)
    rows_of = frame.iloc[first].itertuples(index=False, name=None)
    return which, [tuple(None if pd.isna(v) else v for v in row) for row in rows_of]


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
