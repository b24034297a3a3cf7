"""What stands of all that was ever said of who is who, in whatever order it came.

Records of the same id and the same beginning correct each other: the one that was told last
stands.  Where what was told at the same time differs, none of that counts.  A record that names no
person takes its interval away, and none that it corrected comes back.  Of the records that stand,
those that begin later go before: as long as they last, they hold.

    from  to    person  told          from  to    person
    0     -     p       -             0     10    p
    10    20    q       5     ->      10    20    q
    10    20    r       3             20    -     p
    30    40    (none)  -
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.array_types import Bools, Ints
from pipeline.lake.people import NO_END_US, NO_START_US
from pipeline.lake.tables import PEOPLE, TIMESTAMP


class Standing(NamedTuple):
    """Rows of ``people``, by id and time, and the records that contradict each other.

    Of each contradiction there is a row of :data:`RECORDS` in ``contradicted`` and another one in
    ``contradicting``.  Those that a later record corrects are left out.
    """

    people: pa.Table
    contradicted: pa.Table
    contradicting: pa.Table


class _Columns(NamedTuple):
    """Records, or intervals, as numbers (n,): ids and persons are numbers of their texts."""

    anonymous: Ints
    from_us: Ints
    to_us: Ints
    person: Ints

    def take(self, rows: Ints) -> _Columns:
        """Some rows, in an order."""
        return _Columns(*(column[rows] for column in self))


def resolve(records: pa.Table) -> Standing:
    """The intervals in which ids are persons, by all records together.

    Args:
        records: rows of :data:`RECORDS` in any order; the same one may be there many times.
    """
    # By number in the order of the texts, so that the result is in their order too.
    texts = pc.unique(
        pa.chunked_array(
            [*records["anonymous_id"].chunks, *records["person_id"].drop_null().chunks],
            pa.string(),
        )
    )
    texts = texts.take(pc.sort_indices(texts))
    anonymous, person = (
        pc.index_in(records[name], value_set=texts).fill_null(-1).to_numpy().astype(np.int64)
        for name in ("anonymous_id", "person_id")
    )
    from_us, to_us, told_us = (records[f"{name}_us"].to_numpy() for name in ("from", "to", "told"))
    order = np.lexsort((person, to_us, told_us, from_us, anonymous))
    columns = _Columns(anonymous, from_us, to_us, person).take(order)
    stands, contradicted, contradicting = _by_time_told(columns, told_us[order])
    intervals = _without_overlaps(columns.take(np.flatnonzero(stands & (columns.person >= 0))))
    intervals = _joined(intervals.take(np.flatnonzero(intervals.anonymous != intervals.person)))
    people = pa.table(
        {
            "anonymous_id": texts.take(pa.array(intervals.anonymous)),
            "person_id": texts.take(pa.array(intervals.person)),
            "valid_from": _times(intervals.from_us, NO_START_US),
            "valid_to": _times(intervals.to_us, NO_END_US),
        },
        schema=PEOPLE.schema,
    )
    return Standing(
        people,
        *(records.take(pa.array(order[rows])) for rows in (contradicted, contradicting)),
    )


def _by_time_told(columns: _Columns, told_us: Ints) -> tuple[Bools, Ints, Ints]:
    """Which rows (n,) stand, of equal ones the first, and pairs of rows that contradict each other.

    Rows are in order of id, beginning, time told, end and person.
    """
    n = len(told_us)
    if not n:
        nothing = np.zeros(0, np.int64)
        return np.zeros(0, np.bool_), nothing, nothing
    new_key = _changes(columns.anonymous, columns.from_us)
    new_saying = new_key | _changes(told_us)
    # A saying is all that was told at one time of an id and beginning.
    first = np.flatnonzero(new_saying)
    saying = np.cumsum(new_saying) - 1
    differs = ~new_saying & _changes(columns.to_us, columns.person)
    is_clear = np.bincount(saying, differs, len(first)) == 0
    key = np.cumsum(new_key)[first] - 1
    last_clear = np.full(key[-1] + 1, -1, np.int64)
    clear = np.flatnonzero(is_clear)
    # Of several the last is written last.
    last_clear[key[clear]] = clear
    stands = np.zeros(n, np.bool_)
    stands[first[last_clear[last_clear >= 0]]] = True
    uncorrected = ~is_clear & (np.arange(len(first)) > last_clear[key])
    others = np.flatnonzero(differs & uncorrected[saying])
    _, first_other = np.unique(saying[others], return_index=True)
    return stands, first[uncorrected], others[first_other]


def _without_overlaps(records: _Columns) -> _Columns:
    """Intervals of one id that do not overlap: where several records hold, the latest beginning.

    Records are in order of id and beginning, and of an id no two begin at once.
    """
    n = len(records.anonymous)
    if not n:
        return records
    new_id = _changes(records.anonymous)
    overlaps = np.zeros(n, np.bool_)
    overlaps[1:] = ~new_id[1:] & (records.to_us[:-1] > records.from_us[1:])
    starts = np.flatnonzero(new_id)
    # Most ids are one person once: only of the others intervals are looked at one by one.
    of_id = np.cumsum(new_id) - 1
    entangled = np.bincount(of_id, overlaps, len(starts)) > 0
    plain = records.take(np.flatnonzero(~entangled[of_id]))
    if not entangled.any():
        return plain
    cut: list[tuple[int, int, int, int]] = []
    bounds = np.append(starts, n)
    for at in np.flatnonzero(entangled).tolist():
        rows = slice(bounds[at], bounds[at + 1])
        columns = (column[rows].tolist() for column in (records.from_us, records.to_us))
        anonymous = int(records.anonymous[bounds[at]])
        persons = records.person[rows].tolist()
        cut += (
            (anonymous, from_us, to_us, person)
            for from_us, to_us, person in _cut(list(zip(*columns, persons, strict=True)))
        )
    together = [
        np.concatenate(pair)
        for pair in zip(plain, np.array(cut, np.int64).reshape(-1, 4).T, strict=True)
    ]
    intervals = _Columns(*together)
    return intervals.take(np.lexsort((intervals.from_us, intervals.anonymous)))


def _cut(records: list[tuple[int, int, int]]) -> Iterator[tuple[int, int, int]]:
    """Intervals (from, to, person) of one id from its records, by their beginnings."""
    open_records: list[tuple[int, int, int]] = []
    for record, following in pairwise([*records, (NO_END_US, NO_END_US, -1)]):
        open_records.append(record)
        at_us, until_us = record[0], following[0]
        while open_records and at_us < until_us:
            _, to_us, person = open_records[-1]
            if to_us > at_us:
                yield at_us, min(to_us, until_us), person
                at_us = min(to_us, until_us)
            if to_us <= at_us:
                open_records.pop()


def _joined(intervals: _Columns) -> _Columns:
    """Intervals of one person that meet as one."""
    n = len(intervals.anonymous)
    if not n:
        return intervals
    begins = _changes(intervals.anonymous, intervals.person)
    begins[1:] |= intervals.to_us[:-1] != intervals.from_us[1:]
    starts = np.flatnonzero(begins)
    ends = np.append(starts[1:], n) - 1
    return intervals.take(starts)._replace(to_us=intervals.to_us[ends])


def _changes(*columns: Ints) -> Bools:
    """Whether each row differs from the one before in any of the columns; the first does."""
    differs = np.ones(len(columns[0]), np.bool_)
    differs[1:] = np.any([column[1:] != column[:-1] for column in columns], axis=0)
    return differs


def _times(microseconds: Ints, absent_us: int) -> pa.Array:
    return pa.array(microseconds, mask=microseconds == absent_us).cast(TIMESTAMP)
