"""The exchange of ``arrow_exchange`` within this process: threads instead of Spark's tasks.

What tasks hand on stays in memory.  Each task receives what Spark would give it, in the same order,
so the tables come out the same.  Nearly all of a task is Arrow and NumPy, which let go of Python's
lock while they work.
"""

from __future__ import annotations

import traceback
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pyarrow as pa

from pipeline.sessions.arrow_exchange import Received, ShuffleBlock, by_kind

#: What waits for each task of the next stage.
Waiting = dict[int, list[ShuffleBlock]]
_Task = Callable[[], Iterable[ShuffleBlock]]


class TaskError(Exception):
    """A task has failed; the text is the last of its traceback, as Spark passes it on."""


def first_stage(
    tasks: int, work: Callable[[int], Iterable[ShuffleBlock]], threads: int = 1
) -> Waiting:
    """Run ``work`` for each task number, which is all that it is given, so many at once."""
    return _delivered([partial(work, task) for task in range(tasks)], threads)


def next_stage(
    waiting: Waiting,
    work: Callable[[int, Received], Iterable[ShuffleBlock]],
    threads: int = 1,
) -> Waiting:
    """Run ``work`` for each task on what waits for it, and let go of that."""

    def run(task: int) -> Iterable[ShuffleBlock]:
        return work(task, by_kind(waiting.pop(task)))

    return _delivered([partial(run, task) for task in sorted(waiting)], threads)


def collected(waiting: Waiting, kind: str) -> list[pa.Table]:
    """The tables of a kind that the last stage handed out."""
    return [parcel[3] for parcels in waiting.values() for parcel in parcels if parcel[2] == kind]


def _delivered(tasks: list[_Task], threads: int) -> Waiting:
    """What tasks hand on, by whom it is for; the first that fails is told, the rest not begun."""
    waiting: Waiting = defaultdict(list)
    try:
        if threads == 1 or len(tasks) == 1:
            for task in tasks:
                _deliver(task(), waiting)
            return waiting
        with ThreadPoolExecutor(threads, "session-task") as pool:
            running = [pool.submit(_done, task) for task in tasks]
            try:
                for blocks in running:
                    _deliver(blocks.result(), waiting)
            finally:
                pool.shutdown(cancel_futures=True)
    except Exception as error:
        raise TaskError("".join(traceback.format_exception_only(error)).rstrip()) from error
    return waiting


def _done(task: _Task) -> list[ShuffleBlock]:
    return list(task())


def _deliver(blocks: Iterable[ShuffleBlock], waiting: Waiting) -> None:
    for block in blocks:
        waiting[block[0]].append(block)
