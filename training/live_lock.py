"""One change of the live model at a time."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import HourglassError

WAIT_S = 30.0
_POLL_S = 0.1


@contextmanager
def changing(records: Path, doing: str, wait_s: float = WAIT_S) -> Iterator[None]:
    """Hold the right to change what is live; the system frees it even when the process is killed.

    Args:
        records: ``<work>/decisions``, which everyone who changes the live model shares.
        doing: what others are told, such as ``promoting hrnn-0123``.
        wait_s: how long to wait for another process.

    Raises:
        HourglassError: another process still holds it after ``wait_s``.
    """
    records.mkdir(parents=True, exist_ok=True)
    with (records / ".live.lock").open("a+", encoding="utf-8") as lock:
        deadline = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if time.monotonic() >= deadline:
                    lock.seek(0)
                    holder = lock.read().strip() or "another process"
                    raise HourglassError(
                        f"the live model is being changed by {holder}: "
                        f"waited {wait_s:.0f} s; try again when it has finished"
                    ) from error
                time.sleep(_POLL_S)
        lock.truncate(0)
        lock.write(f"process {os.getpid()}, {doing}")
        lock.flush()
        try:
            yield
        finally:
            lock.truncate(0)
