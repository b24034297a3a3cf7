"""Who an id was at a time: the intervals of the table ``people``, looked up for whole columns."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.array_types import Ints

#: An interval without a beginning, and without an end.
NO_START_US: Final = int(np.iinfo(np.int64).min)
NO_END_US: Final = int(np.iinfo(np.int64).max)


@dataclass(frozen=True)
class Intervals:
    """Intervals of time of some ids, by id and time; those of one id do not overlap.

    ``ids`` are distinct (i,), and ``starts`` (i + 1,) says where the intervals of each begin.  Of
    each interval (n,) there are its bounds in microseconds, the end itself outside, and where it
    is told the person.  ``begins_us`` are the distinct beginnings in order (b,).
    """

    ids: pa.StringArray
    starts: Ints
    from_us: Ints
    to_us: Ints
    begins_us: Ints
    persons: pa.StringArray | None = None

    def __len__(self) -> int:
        return len(self.from_us)

    @cached_property
    def _keys(self) -> Ints:
        """Id and beginning of each interval as one number, in order (n,)."""
        of_id = np.repeat(np.arange(len(self.ids)), np.diff(self.starts))
        return _keys(of_id, self.begins_us, self.from_us)

    def at(self, ids: pa.ChunkedArray, time_us: Ints) -> Ints:
        """For each row (r,) the number of the interval that it lies in, -1 where in none.

        Args:
            ids: texts (r,); null is in no interval.
            time_us: times (r,), in microseconds.
        """
        interval = np.full(len(ids), -1, np.int64)
        id_index = self._id_index_of(ids)
        rows = np.flatnonzero(id_index >= 0)
        id_index, times = id_index[rows], time_us[rows]
        latest = self.starts[id_index]
        # Most ids have one interval, which need not be searched for.
        many = np.flatnonzero(self.starts[id_index + 1] - latest > 1)
        if len(many):
            wanted = _keys(id_index[many], self.begins_us, times[many])
            begun = np.searchsorted(self._keys, wanted, "right") - 1
            latest[many] = np.maximum(begun, latest[many])
        inside = (self.from_us[latest] <= times) & (times < self.to_us[latest])
        interval[rows[inside]] = latest[inside]
        return interval

    def _id_index_of(self, ids: pa.ChunkedArray) -> Ints:
        """Where in ``ids`` each text stands (r,), -1 where it does not."""
        texts = ids.cast(pa.string())
        if len(self.ids) <= len(texts):
            indices = pc.index_in(texts, value_set=self.ids, skip_nulls=True)
            return np.asarray(indices.fill_null(-1).to_numpy(), np.int64)
        # The fewer texts are hashed, the others only looked up.
        encoded = texts.combine_chunks().dictionary_encode()
        text_of_id = pc.index_in(self.ids, value_set=encoded.dictionary).fill_null(-1).to_numpy()
        hits = np.flatnonzero(text_of_id >= 0)
        # The last one stands for null.
        index_of_text = np.full(len(encoded.dictionary) + 1, -1, np.int64)
        index_of_text[text_of_id[hits]] = hits
        return np.asarray(index_of_text[encoded.indices.fill_null(len(encoded.dictionary))])


def intervals_of(rows: pa.Table) -> Intervals:
    """The intervals of rows of ``people``, in any order, with or without their persons."""
    encoded = rows["anonymous_id"].combine_chunks().dictionary_encode()
    id_index = encoded.indices.to_numpy().astype(np.int64)
    from_us = times_us(rows["valid_from"], NO_START_US)
    begins_us = np.unique(from_us)
    order = np.argsort(_keys(id_index, begins_us, from_us))
    persons = None
    if "person_id" in rows.column_names:
        persons = rows["person_id"].combine_chunks().take(pa.array(order))
    to_us = times_us(rows["valid_to"], NO_END_US)
    counts = np.bincount(id_index, minlength=len(encoded.dictionary))
    starts = np.concatenate([[0], np.cumsum(counts)])
    return Intervals(encoded.dictionary, starts, from_us[order], to_us[order], begins_us, persons)


def times_us(times: pa.ChunkedArray, absent_us: int) -> Ints:
    """Microseconds of times (n,), and what stands for those that are not told."""
    microseconds: Ints = times.cast(pa.int64()).fill_null(absent_us).to_numpy()
    return microseconds


def _keys(id_index: Ints, begins_us: Ints, time_us: Ints) -> Ints:
    """Id and time as one number (r,): a time counts as many as the beginnings up to it."""
    return id_index * (len(begins_us) + 1) + np.searchsorted(begins_us, time_us, "right")
