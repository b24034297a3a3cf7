"""What a step of the hour came to, and how people and machines are told."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

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
    """Prints one line a step, and keeps the seconds of each."""

    def __init__(self, ctx: CommandContext) -> None:
        self._ctx = ctx
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[Callable[[str], None]]:
        """Yields what is to be called with the sentence about the step's outcome."""
        began_s = time.monotonic()
        sentences: list[str] = []
        with self._ctx.status(name), self._ctx.lineage(name):
            yield sentences.append
        took_s = time.monotonic() - began_s
        self.seconds[name] = self.seconds.get(name, 0.0) + took_s
        self._ctx.console.print(f"{name:<12}{took_s:6.1f} s  {''.join(sentences)}", markup=False)

    def print_line(self, name: str, sentence: str) -> None:
        """A line about a step that did not come to its end."""
        self._ctx.console.print(f"{name:<12}          {sentence}", markup=False)
