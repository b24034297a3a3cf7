"""Steps that a person watches: what is done, how long it took, what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pipeline.workspace import CommandContext


class Steps:
    """Prints one line a step, and keeps the seconds of each."""

    def __init__(self, ctx: CommandContext) -> None:
        self._ctx = ctx
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[Callable[[str], None]]:
        """Yields what is to be called with the sentence about the step's outcome."""
        began_s = time.monotonic()
        sentences: list[str] = []
        with self._ctx.status(name):
            yield sentences.append
        took_s = time.monotonic() - began_s
        self.seconds[name] = self.seconds.get(name, 0.0) + took_s
        self._ctx.console.print(f"{name:<12}{took_s:6.1f} s  {''.join(sentences)}", markup=False)

    def print_line(self, name: str, sentence: str) -> None:
        """A line about a step that did not come to its end."""
        self._ctx.console.print(f"{name:<12}          {sentence}", markup=False)
