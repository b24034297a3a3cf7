"""What a step of the hour came to, and how people and machines are told."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pipeline.terminal import print_row
from pipeline.workspace import CommandContext

if TYPE_CHECKING:
    from rich.console import RenderableType

T = TypeVar("T")


@dataclass(frozen=True)
class StepResult(Generic[T]):
    """What a step came to: a value for the steps after it, and how it is told.

    ``line`` stands among those of the hour's other steps.  The step's command prints ``facts`` for
    machines; for people ``tables``, then ``text``, or ``line`` where there is none.
    """

    value: T
    line: str
    facts: Mapping[str, Any]
    text: str | None = None
    tables: Callable[[], Sequence[RenderableType]] = tuple


def print_result(ctx: CommandContext, result: StepResult[Any]) -> None:
    """Print what a step came to, in the form that was asked for."""
    text = result.line if result.text is None else result.text
    if not ctx.as_json:
        for table in result.tables():
            ctx.console.print(table)
    if ctx.as_json or text:
        ctx.print_result(text, result.facts)


class Steps:
    """Shows the running step, prints a row of each that is over, and keeps its seconds.

    Args:
        ctx: says where to.
        coming: names of the steps in order, as far as they are known.
    """

    def __init__(self, ctx: CommandContext, coming: Sequence[str] = ()) -> None:
        self._ctx = ctx
        self._coming = tuple(coming)
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[Callable[[str], None]]:
        """Yields what is to be called with the sentence about the step's outcome."""
        began_s = time.monotonic()
        sentences: list[str] = []
        if name in self._coming:
            self._coming = self._coming[self._coming.index(name) + 1 :]
        with self._ctx.step(name, self._coming), self._ctx.lineage(name):
            yield sentences.append
        took_s = time.monotonic() - began_s
        self.seconds[name] = self.seconds.get(name, 0.0) + took_s
        print_row(self._ctx.console, name, took_s, "".join(sentences))

    def print_line(self, name: str, sentence: str) -> None:
        """A row about a step that did not come to its end, or is not there yet."""
        print_row(self._ctx.console, name, None, sentence)
