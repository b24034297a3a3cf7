"""What is offered to a block of users, and the rows of the table that say so."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.array_types import Floats, Floats32, Ints, Objects
from pipeline.hours import Hour
from pipeline.lake.tables import RECOMMENDATIONS

MODEL, POPULARITY, EXPLORATION, NOTHING = 0, 1, 2, -1
_SOURCES = ("model", "popularity", "exploration")


@dataclass(frozen=True)
class RankedItems:
    """The places of b users, best first; an empty place has the source NOTHING."""

    user_ids: Objects  # (b,)
    item: Ints  # (b, K) number in the catalogue
    score: Floats32  # (b, K)
    source: NDArray[np.int8]  # (b, K) MODEL, POPULARITY, EXPLORATION or NOTHING
    propensity: Floats | None = None  # (b, K) of each item in its place; None = nothing is explored

    @classmethod
    def of_model(cls, user_ids: Objects, item: Ints, score: Floats32, k: int) -> RankedItems:
        """From a model's best items, (b, K or fewer); minus infinity marks that there is none."""
        wide = ((0, 0), (0, k - item.shape[1]))
        score = np.pad(score, wide, constant_values=-np.inf)
        source = np.where(np.isfinite(score), MODEL, NOTHING).astype(np.int8)
        return cls(user_ids, np.pad(item, wide), score, source)

    @classmethod
    def joined(cls, blocks: Sequence[RankedItems]) -> RankedItems:
        """One block of several."""
        explored = [block.propensity for block in blocks if block.propensity is not None]
        return cls(
            np.concatenate([block.user_ids for block in blocks]),
            np.concatenate([block.item for block in blocks]),
            np.concatenate([block.score for block in blocks]),
            np.concatenate([block.source for block in blocks]),
            np.concatenate(explored) if explored else None,
        )

    def followed_by(self, rows: Ints, item: Ints, count: Ints) -> RankedItems:
        """With popular items (r, K) in the empty places of some rows (r,); -1 is no item.

        Nothing is drawn for these places: their propensity is 1.
        """
        places, scores, sources = self.item.copy(), self.score.copy(), self.source.copy()
        k = places.shape[1]
        offered = (self.source[rows] != NOTHING).sum(axis=1)  # (r,)
        which, rank = np.nonzero(np.arange(k) >= offered[:, None])
        nth = rank - offered[which]
        exists = item[which, nth] >= 0
        which, rank, nth = which[exists], rank[exists], nth[exists]
        at = rows[which], rank
        places[at], scores[at] = item[which, nth], count[which, nth]
        sources[at] = POPULARITY
        propensity = None if self.propensity is None else self.propensity.copy()
        if propensity is not None:
            propensity[at] = 1.0
        return RankedItems(self.user_ids, places, scores, sources, propensity)


def gathered(blocks: Iterator[RankedItems], users: int) -> Iterator[RankedItems]:
    """Blocks of at least so many users, but for the last: to write many small ones is slow."""
    waiting: list[RankedItems] = []
    for block in blocks:
        waiting.append(block)
        if sum(len(part_block.user_ids) for part_block in waiting) >= users:
            yield RankedItems.joined(waiting)
            waiting = []
    if waiting:
        yield RankedItems.joined(waiting)


@dataclass(frozen=True)
class Stamp:
    """Who recommends, and as of when."""

    model_id: str
    version: str
    at: datetime


def rows_of(ranked: RankedItems, item_ids: pa.Array, stamp: Stamp) -> pa.Table:
    """Rows of `recommendations`; texts that repeat are coded by dictionaries.

    ``item_ids`` (M,) are the catalogue's.  With exploration there is a column `propensity` too.
    """
    k = ranked.item.shape[1]
    (cells,) = np.nonzero((ranked.source != NOTHING).ravel())
    user, rank = np.divmod(cells, k)
    schema = RECOMMENDATIONS.schema
    columns = {
        "hour": _same(pa.scalar(Hour.of(stamp.at).start, schema.field("hour").type), len(cells)),
        "user_id": _coded(user, pa.array(ranked.user_ids, pa.string())),
        "rank": pa.array((rank + 1).astype(np.int32)),
        "item_id": _coded(ranked.item.ravel()[cells], item_ids),
        "score": pa.array(ranked.score.ravel()[cells]),
        "model": _same(stamp.model_id, len(cells)),
        "model_version": _same(stamp.version, len(cells)),
        "made_at": _same(pa.scalar(stamp.at, schema.field("made_at").type), len(cells)),
        "source": _coded(ranked.source.ravel()[cells], pa.array(_SOURCES)),
    }
    if ranked.propensity is not None:
        columns["propensity"] = pa.array(ranked.propensity.ravel()[cells])
    return pa.table(columns)


def _coded(codes: NDArray[np.integer], values: pa.Array) -> pa.DictionaryArray:
    """Texts by their codes; the dictionary holds no other, or each file would hold them all."""
    used, places = np.unique(codes, return_inverse=True)
    return pa.DictionaryArray.from_arrays(pa.array(places.astype(np.int32)), values.take(used))


def _same(value: object, n: int) -> pa.Array:
    return pa.repeat(value, n)
