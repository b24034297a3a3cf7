"""Values of pairs of row and column, worked on row by row."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.array_types import Floats, Floats32, Ints


def in_order(row: NDArray[Any], exact: Floats) -> Floats32:
    """Single precision of values above 0; of each row, what differed still differs as it did.

    A trace of popularity would be lost beside a whole number.  The bits of positive floats count
    up with them: each value goes up by the fewest steps that keep it above those below it.
    """
    order = np.lexsort((exact, row))
    ordered, of_row = exact[order], row[order].astype(np.int64)
    # (n,) a row's bits lie in a range of their own.
    bits = ordered.astype(np.float32).view(np.int32).astype(np.int64) + (of_row << 33)
    nth = np.cumsum(np.diff(ordered, prepend=ordered[:1]) != 0)
    bits = np.maximum.accumulate(bits - nth) + nth - (of_row << 33)
    rounded = np.empty(len(row), np.float32)
    rounded[order] = bits.astype(np.int32).view(np.float32)
    return rounded


def most_of_each_row(row: NDArray[Any], value: NDArray[Any], most: int) -> Ints:
    """Positions of the ``most`` largest values of each row; earlier positions win ties."""
    order = np.lexsort((-value, row))
    ordered = row[order]
    first = np.searchsorted(ordered, ordered, side="left")
    largest: Ints = order[np.arange(len(order)) - first < most]
    return largest


def largest_of_each_row(
    row: NDArray[Any], value: NDArray[Any], tie: NDArray[Any], most: int
) -> Ints:
    """Positions of the ``most`` largest values of each row; of equal ones those of smaller ``tie``.

    For long rows of which few values are kept: `most_of_each_row` sorts them all.  Rows ascend.
    """
    bounds = [0, *(np.flatnonzero(np.diff(row, append=-1)) + 1).tolist()]
    largest = []
    for first, stop in pairwise(bounds):
        places = np.arange(first, stop)
        if stop - first > most:
            mine = value[first:stop]
            edge = np.partition(mine, -most)[-most]
            above, level = np.flatnonzero(mine > edge), np.flatnonzero(mine == edge)
            order = np.argsort(tie[first:stop][level], kind="stable")
            places = first + np.concatenate([above, level[order[: most - len(above)]]])
        largest.append(places)
    return np.concatenate(largest) if largest else np.empty(0, np.int64)
