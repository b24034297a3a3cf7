"""One change of the live model at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.process.locks import held

WAIT_S = 30.0


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

    def busy(holder: str) -> str:
        return f"the live model is being changed by {holder}"

    with held(records / ".live.lock", f"process {os.getpid()}, {doing}", wait_s, busy):
        yield
