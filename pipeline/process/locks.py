"""One process at a time: on a lake, at the live model, at a replay."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from pipeline.errors import HourglassError

_POLL_S = 0.1


def this_process() -> str:
    """What others are told of it: machines may share a folder, so its number alone says little."""
    return f"pid {os.getpid()} on {socket.gethostname()}"


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
        busy: says who holds it, from what the holder told of itself and since when it holds it.
        print_line: is told that once, when waiting begins.

    Raises:
        HourglassError: another process still holds it after ``wait_s``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # On a file system without locks this fails; it never trusts in a file that a killed process
    # would leave behind.
    lock = FileLock(os.path.realpath(path), preserve_lock_file=True)

    def sentence() -> str:
        holder = path.read_text(encoding="utf-8").strip()
        # By the clock of the machine that has the file.
        since = datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds")
        return busy(f"{holder}, since {since}" if holder else "unknown")

    try:
        lock.acquire(blocking=False)
    except Timeout:
        if wait_s > 0:
            print_line(sentence())
        try:
            lock.acquire(timeout=wait_s, poll_interval=_POLL_S)
        except Timeout as error:
            raise HourglassError(
                f"{sentence()}: waited {wait_s:.0f} s; try again when it has finished"
            ) from error
    try:
        path.write_text(holder, encoding="utf-8")
        yield
    finally:
        with suppress(OSError):
            os.truncate(path, 0)
        lock.release()


@contextmanager
def lake_lock(
    folder: Path, wait_s: float, print_line: Callable[[str], None] = lambda _: None
) -> Iterator[None]:
    """Be the lake's only writer; ``print_line`` is told once when another process is.

    Raises:
        HourglassError: another process still writes after ``wait_s``.
    """

    def busy(holder: str) -> str:
        return f"another process ({holder}) is writing to the lake at {folder}"

    def waiting(sentence: str) -> None:
        print_line(f"waiting: {sentence}")

    with locked(folder / "writer.lock", this_process(), wait_s, busy, waiting):
        yield
