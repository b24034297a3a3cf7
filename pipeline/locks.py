"""One writer at a time on a lake."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import HourglassError


@contextmanager
def writing(
    folder: Path, wait_s: float, say: Callable[[str], None] = lambda _: None
) -> Iterator[None]:
    """Hold the lake's writer lock; the system frees it even when the process is killed.

    ``say`` is told once when another process holds it.

    Raises:
        HourglassError: another process still holds it after ``wait_s``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "writer.lock"
    with path.open("a+", encoding="utf-8") as lock:
        deadline = time.monotonic() + wait_s
        said = False
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if time.monotonic() >= deadline:
                    lock.seek(0)
                    holder = lock.read().strip() or "unknown"
                    raise HourglassError(
                        f"another process (pid {holder}) is writing to the lake at {folder}: "
                        f"waited {wait_s:.0f} s; try again when it has finished"
                    ) from error
                if not said:
                    lock.seek(0)
                    say(f"waiting for process {lock.read().strip() or 'unknown'}, which is writing")
                    said = True
                time.sleep(0.2)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        try:
            yield
        finally:
            lock.truncate(0)
