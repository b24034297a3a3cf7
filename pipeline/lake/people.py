"""Who an id was at a time: the intervals of the table ``people``, looked up for whole columns."""

from __future__ import annotations

from dataclasses import dataclass
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

    ``ids`` are distinct (i,), ``begins_us`` the distinct beginnings in order (b,).  Of each
    interval (n,) there is the place of its id in ``ids``, a ``key``, in order, that is made of this
    place and of the rank of its beginning, its end, itself outside, and where it is told the
    person.
    """

    ids: pa.StringArray
    begins_us: Ints
    id_index: Ints
    key: Ints
    to_us: Ints
    persons: pa.StringArray | None = None

    def __len__(self) -> int:
        return len(self.key)

    def at(self, ids: pa.ChunkedArray, time_us: Ints) -> Ints:
        """For each row (r,) the number of the interval that it lies in, -1 where in none.

        Args:
            ids: texts (r,); null is in no interval.
            time_us: times (r,), in microseconds.
        """
        interval = np.full(len(ids), -1, np.int64)
        id_index = self._id_index_of(ids)
        rows = np.flatnonzero(id_index >= 0)
        if not len(rows):
            return interval
        times = time_us[rows]
        key = _keys(id_index[rows], self.begins_us, times)
        latest = np.searchsorted(self.key, key, "right") - 1
        inside = (latest >= 0) & (self.id_index[latest] == id_index[rows])
        inside &= times < self.to_us[latest]
        interval[rows[inside]] = latest[inside]
        return interval

    def _id_index_of(self, ids: pa.ChunkedArray) -> Ints:
        """Where in ``ids`` each text stands (r,), -1 where it does not."""
        encoded = ids.combine_chunks().dictionary_encode()
        if isinstance(encoded, pa.ChunkedArray):
            encoded = encoded.combine_chunks()
        # The few texts of some events are hashed, the many ids only looked up.
        texts = encoded.dictionary.cast(pa.string())
        text_of_id = pc.index_in(self.ids, value_set=texts).fill_null(-1).to_numpy()
        hits = np.flatnonzero(text_of_id >= 0)
        index_of_text = np.full(len(texts) + 1, -1, np.int64)
        index_of_text[text_of_id[hits]] = hits
        # The last one stands for null.
        index: Ints = index_of_text[encoded.indices.fill_null(len(texts)).to_numpy()]
        return index


def intervals_of(rows: pa.Table) -> Intervals:
    """The intervals of rows of ``people``, in any order, with or without their persons."""
    encoded = rows["anonymous_id"].combine_chunks().dictionary_encode()
    id_index = encoded.indices.to_numpy().astype(np.int64)
    from_us = times_us(rows["valid_from"], NO_START_US)
    begins_us = np.unique(from_us)
    key = _keys(id_index, begins_us, from_us)
    order = np.argsort(key)
    persons = None
    if "person_id" in rows.column_names:
        persons = rows["person_id"].combine_chunks().take(pa.array(order))
    to_us = times_us(rows["valid_to"], NO_END_US)[order]
    return Intervals(encoded.dictionary, begins_us, id_index[order], key[order], to_us, persons)


def times_us(times: pa.ChunkedArray, absent_us: int) -> Ints:
    """Microseconds of times (n,), and what stands for those that are not told."""
    microseconds: Ints = times.cast(pa.int64()).fill_null(absent_us).to_numpy()
    return microseconds


def _keys(id_index: Ints, begins_us: Ints, time_us: Ints) -> Ints:
    """Id and time as one number (r,): a time counts as many as the beginnings up to it."""
    return id_index * (len(begins_us) + 1) + np.searchsorted(begins_us, time_us, "right")
