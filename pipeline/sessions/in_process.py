"""The exchange of ``arrow_exchange`` within this process, for steps that are too small for Spark.

Tasks run one after another, and what they hand on stays in memory.  Each task receives what Spark
would give it, in the same order, so the tables come out the same.
"""

from __future__ import annotations

import traceback
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

import pyarrow as pa

from pipeline.sessions.arrow_exchange import Received, ShuffleBlock, by_kind

#: What waits for each task of the next stage.
Waiting = dict[int, list[ShuffleBlock]]


class TaskError(Exception):
    """A task has failed; the text is the last of its traceback, as Spark passes it on."""


def first_stage(tasks: int, work: Callable[[int], Iterable[ShuffleBlock]]) -> Waiting:
    """Run ``work`` for each task number, which is all that it is given."""
    return _delivered(parcel for task in range(tasks) for parcel in work(task))


def next_stage(
    waiting: Waiting, work: Callable[[int, Received], Iterable[ShuffleBlock]]
) -> Waiting:
    """Run ``work`` for each task on what waits for it, and let go of that."""

    def parcels() -> Iterator[ShuffleBlock]:
        for task in sorted(waiting):
            yield from work(task, by_kind(waiting.pop(task)))

    return _delivered(parcels())


def collected(waiting: Waiting, kind: str) -> list[pa.Table]:
    """The tables of a kind that the last stage handed out."""
    return [parcel[3] for parcels in waiting.values() for parcel in parcels if parcel[2] == kind]


def _delivered(parcels: Iterable[ShuffleBlock]) -> Waiting:
    waiting: Waiting = defaultdict(list)
    try:
        for parcel in parcels:
            waiting[parcel[0]].append(parcel)
    except Exception as error:
        raise TaskError("".join(traceback.format_exception_only(error)).rstrip()) from error
    return waiting
