"""A step computes without the lake's lock, and takes it to commit.

What a step commits follows from all that it read.  So it notes the version of each table before it
reads; when it has computed it takes the lock, and commits if every table still has that version.
Else another process committed meanwhile, and the step is done anew, now under the lock: it ends in
what it would have ended in had it held the lock all along, only later.

Example: ingest reads files for a minute, and sessionize commits an hour in that time.  Ingest finds
``sessions`` changed, drops what it made, and does it once more while others wait.

A version is the name of the table's metadata file, which no two commits share.  Ids of snapshots
would not do: where a killed step's commit is taken back, the former snapshot is current again, and
what was read between would pass for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TypeVar

from pipeline.errors import HourglassError
from pipeline.lake.lake import Lake

_Done = TypeVar("_Done")
# Waits until no other process writes to the lake, and keeps others from it.
Alone = Callable[[], AbstractContextManager[object]]


class LakeMovedError(Exception):
    """Another process committed since a step began to read."""


@dataclass
class Turn:
    """One attempt at a step, from what it reads to its commits."""

    lake: Lake
    alone: Alone
    base: Mapping[str, str]
    is_checked: bool = False
    is_committing: bool = False
    has_committed: bool = False

    @contextmanager
    def commits(self) -> Iterator[None]:
        """Be the lake's only writer, which is still as it was when the turn began.

        What is committed here becomes the base of what the turn does next.

        Raises:
            LakeMovedError: it is not; nothing may be concluded from what was read.
        """
        with self.alone():
            if self.lake.versions() != self.base:
                raise LakeMovedError
            self.is_committing = True
            yield
            self.is_committing, self.is_checked = False, True
            now = self.lake.versions()
            self.has_committed |= now != self.base
            self.base = now


def in_turn(lake: Lake, alone: Alone, work: Callable[[Turn], _Done]) -> _Done:
    """Have a step computed without the lock, and once more under it where that was too late.

    Args:
        lake: the tables.  What a killed step left half-done is taken back first.
        alone: takes the lock; `nullcontext` where the caller holds it.
        work: computes, and commits within `Turn.commits`.  It may be called twice, so until its
            first commit it must have done nothing that cannot be done again.

    Raises:
        HourglassError: another program wrote to the lake, or another process still writes.
    """
    with alone():
        turn = _begun(lake, alone)
    try:
        return _checked(turn, work)
    except Exception as error:
        # Half of another's commits may look like any damage: that is no fault of the lake's.
        if turn.is_committing or turn.has_committed:
            raise
        failure = error
    with alone():
        if lake.versions() == turn.base:
            raise failure
        # Its traceback holds all that was computed in vain.
        failure.__traceback__ = None
        try:
            return _checked(_begun(lake, nullcontext), work)
        except LakeMovedError as error:
            raise HourglassError(
                "another program committed to the lake meanwhile, though its lock was held: run "
                "the step again"
            ) from error


def _begun(lake: Lake, alone: Alone) -> Turn:
    lake.undo_unfinished()
    return Turn(lake, alone, lake.versions())


def _checked(turn: Turn, work: Callable[[Turn], _Done]) -> _Done:
    """What the work comes to; that there is nothing to commit is checked, too."""
    done = work(turn)
    if not turn.is_checked:
        with turn.commits():
            pass
    return done
