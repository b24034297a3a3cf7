"""Where the seconds of a run go."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


class Stopwatch:
    """Seconds by step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        """Count what the block takes to a step."""
        began = time.perf_counter()
        try:
            yield
        finally:
            took = time.perf_counter() - began
            self.seconds[step] = self.seconds.get(step, 0.0) + took

    def each(self, step: str, blocks: Iterator[T]) -> Iterator[T]:
        """The same blocks; what making them takes is counted."""
        while True:
            with self(step):
                block = next(blocks, None)
            if block is None:
                return
            yield block
