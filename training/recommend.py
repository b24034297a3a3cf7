"""Recommend: the live model's best items for every known user, as a table and as a file."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.errors import HourglassError
from pipeline.hours import Hour, HourRange
from pipeline.lake import Lake
from pipeline.schemas import RECOMMENDATIONS
from pipeline.settings import Settings
from training.artefact import load_model
from training.evaluate import mask_last_item
from training.judgement import fresh
from training.reader import DataSet, Histories, Requests, read_dataset
from training.registry import LiveModel

_FLOATS_AT_ONCE = 1 << 24
_HOUR_US = 3_600_000_000


@dataclass(frozen=True)
class Recommended:
    """What was published."""

    users: int
    rows: int
    path: Path


def recommend(
    settings: Settings,
    lake: Lake,
    live: LiveModel,
    known: Path,
    as_of: Hour,
    report: Callable[[int, int], None],
) -> Recommended:
    """Publish the top K of every user whose history ``known`` holds, as of the start of an hour.

    ``known`` was made from the model's own data set, so their items agree.  Publishing the hour
    again replaces it.

    Raises:
        HourglassError: the model or the histories are damaged, or the model knows later hours.
    """
    data = read_dataset(known)
    model = fresh(load_model(live.folder), data)
    if model.card.as_of > as_of:
        raise HourglassError(
            f"{live.model_id} was trained as of {model.card.as_of}, after {as_of}: "
            "recommend for a later hour"
        )
    users = len(data.histories.user_ids)
    tables = []
    for done, block in _blocks(users, len(model.item_ids)):
        now_us = np.full(len(block), as_of.index * _HOUR_US, dtype=np.int64)
        context = last_context(data.histories, block)
        requests = Requests(block, data.histories.lengths[block], now_us, context)
        scores = model.system.score(data.histories, requests)  # (n, V)
        if settings.evaluation.repeats == "drop":
            # As the model was judged: what was just seen is not offered again.
            mask_last_item(scores, data.histories, requests)
        if settings.recommend.exclude_seen:
            _mask_seen(scores, data.histories, block)
        top, best = top_k(scores, settings.recommend.k)
        tables.append(_rows(data, model.item_ids, block, top, best, live, as_of))
        report(done, users)
    rows = pa.concat_tables(tables) if tables else RECOMMENDATIONS.schema.empty_table()
    path = _export(rows, settings.path("recommendations") / str(as_of))
    hour = HourRange(as_of, as_of + 1)
    where = f"hour >= '{hour.first.start.isoformat()}' AND hour < '{hour.stop.start.isoformat()}'"
    made_by = {"hourglass.step": "recommend", "hourglass.model": live.model_id}
    lake.overwrite(RECOMMENDATIONS, where, rows, made_by)
    return Recommended(users, rows.num_rows, path)


def top_k(scores: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Columns and scores of the k best items of each row, best first: (n, k).

    Which of several items of equal score at the k-th place is taken is not promised.
    """
    k = min(k, scores.shape[1])
    chosen = np.argpartition(-scores, k - 1, axis=1)[:, :k]  # (n, k)
    chosen.sort(axis=1)  # so that the stable sort below shows equal scores in a fixed order
    found = np.take_along_axis(scores, chosen, axis=1)
    order = np.argsort(-found, axis=1, kind="stable")
    return np.take_along_axis(chosen, order, axis=1), np.take_along_axis(found, order, axis=1)


def _blocks(users: int, items: int) -> Iterator[tuple[int, NDArray[np.int64]]]:
    size = max(1, _FLOATS_AT_ONCE // max(1, items))
    for first in range(0, users, size):
        stop = min(first + size, users)
        yield stop, np.arange(first, stop, dtype=np.int64)


def last_context(histories: Histories, block: NDArray[np.int64]) -> NDArray[np.int32]:
    """The context (n, C) in which each user was last seen: a user's next request is most like it.

    A field that the last event does not tell stays unknown.
    """
    context = np.zeros((len(block), histories.context.shape[1]), np.int32)
    (known,) = np.nonzero(histories.lengths[block] > 0)
    context[known] = histories.context[histories.offsets[block[known] + 1] - 1]
    return context


def _mask_seen(scores: NDArray[np.float32], histories: Histories, block: NDArray[np.int64]) -> None:
    first, stop = histories.offsets[block[0]], histories.offsets[block[-1] + 1]
    rows = np.repeat(np.arange(len(block)), histories.lengths[block])
    scores[rows, histories.item[first:stop] - 1] = -np.inf


def _rows(
    data: DataSet,
    item_ids: NDArray[np.object_],
    block: NDArray[np.int64],
    top: NDArray[np.int64],
    best: NDArray[np.float32],
    live: LiveModel,
    as_of: Hour,
) -> pa.Table:
    n, k = top.shape
    offered = np.isfinite(best).ravel()
    columns = {
        "hour": pa.array([as_of.start] * (n * k), RECOMMENDATIONS.schema.field("hour").type),
        "user_id": np.repeat(data.histories.user_ids[block], k),
        "rank": np.tile(np.arange(1, k + 1, dtype=np.int32), n),
        "item_id": item_ids[top.ravel()],
        "score": best.ravel(),
        "model": [live.model_id] * (n * k),
        "model_version": [live.version] * (n * k),
        "made_at": pa.array([as_of.start] * (n * k), RECOMMENDATIONS.schema.field("hour").type),
    }
    rows = pa.table(columns).cast(RECOMMENDATIONS.schema)
    return rows.filter(pa.array(offered))


def _export(rows: pa.Table, folder: Path) -> Path:
    """Write one Parquet file that readers see whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f".{uuid.uuid4().hex}"
    pq.write_table(rows.drop_columns(["hour"]), unfinished, compression="zstd")
    path = folder / "recommendations.parquet"
    os.replace(unfinished, path)  # noqa: PTH105 - one call, one atomic step
    return path
