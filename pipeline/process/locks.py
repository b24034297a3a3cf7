"""One process at a time: on a lake, at the live model, at a replay."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import HourglassError

_POLL_S = 0.1


@contextmanager
def locked(
    path: Path,
    holder: str,
    wait_s: float,
    busy: Callable[[str], str],
    print_line: Callable[[str], None] = lambda _: None,
) -> Iterator[None]:
    """Hold the lock of a file; the system frees it even when the process is killed.

    Args:
        path: of the file, made where it is missing.
        holder: what others are told of this process while it holds the lock.
        wait_s: how long to wait for another process.
        busy: says who holds it, from what the holder told of itself.
        print_line: is told that once, when waiting begins.

    Raises:
        HourglassError: another process still holds it after ``wait_s``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as lock:
        deadline, announced = time.monotonic() + wait_s, False
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                lock.seek(0)
                sentence = busy(lock.read().strip() or "unknown")
                if time.monotonic() >= deadline:
                    raise HourglassError(
                        f"{sentence}: waited {wait_s:.0f} s; try again when it has finished"
                    ) from error
                if not announced:
                    print_line(sentence)
                    announced = True
                time.sleep(_POLL_S)
        lock.truncate(0)
        lock.write(holder)
        lock.flush()
        try:
            yield
        finally:
            lock.truncate(0)


@contextmanager
def lake_lock(
    folder: Path, wait_s: float, print_line: Callable[[str], None] = lambda _: None
) -> Iterator[None]:
    """Be the lake's only writer; ``print_line`` is told once when another process is.

    Raises:
        HourglassError: another process still writes after ``wait_s``.
    """

    def busy(pid: str) -> str:
        return f"another process (pid {pid}) is writing to the lake at {folder}"

    def waiting(sentence: str) -> None:
        print_line(f"waiting: {sentence}")

    with locked(folder / "writer.lock", str(os.getpid()), wait_s, busy, waiting):
        yield
