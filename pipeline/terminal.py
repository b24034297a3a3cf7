"""A live table of steps: the one that runs at the bottom, those that are over above it.

```text
ingest         1.2 s  300 records = 300 accepted + 0 duplicates + 0 quarantined
train          5.3 s  hrnn: epoch 3, loss 5.12, validation MRR@20 0.2610, 23,400 events/s
                      ━━━━━━━━━━━━━━━─────  75%, 12 s left
evaluate
gate
```

Rows of steps that are over are printed once and stay; only what is below is drawn again and again,
and nothing of it stays.  Whatever else is printed meanwhile comes above it.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.process.interrupts import restored_when_left

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_NAME_WIDTH, _SECONDS_WIDTH, _BAR_WIDTH = 12, 8, 20
_NARROW = 60  # characters; below, a sentence stands under its step
_AROUND = 4  # lines of a terminal that rows to come leave alone
_PER_S = 5  # drawn
_SHOW_CURSOR = b"\n\x1b[?25h"


def is_live(console: Console) -> bool:
    """Whether a table may be drawn: a real terminal that moves its cursor, whatever is forced."""
    return console.is_interactive and console.file.isatty()


def bar_signs(encoding: str, environ: Mapping[str, str]) -> tuple[str, str]:
    """What a bar is made of, done and to do, that the terminal can show.

    Python takes UTF-8 for the locale C, whose terminals may show nothing but ASCII.
    """
    named = [environ.get(name) for name in ("LC_ALL", "LANG")]
    locale = next((value for value in named if value), "")
    has_unicode = "utf" in encoding.lower() and locale not in ("C", "POSIX")
    return ("━", "─") if has_unicode else ("#", "-")


def print_row(console: Console, name: str, seconds: float | None, sentence: str) -> None:
    """The row of a step that is over: laid out for a terminal, one plain line elsewhere."""
    if not is_live(console):
        took = " " * (_SECONDS_WIDTH + 2) if seconds is None else f"{seconds:6.1f} s  "
        console.print(f"{name:<{_NAME_WIDTH}}{took}{sentence}", markup=False)
        return
    from rich.text import Text

    style = "red" if sentence.startswith("failed") else ""
    row = _row(name, seconds, [Text(sentence, style)] if sentence else [], console.width)
    console.print(row, soft_wrap=False)


@dataclass(frozen=True)
class _Detail:
    """What the running step is at, and the share of it that is done."""

    text: str = ""
    fraction: float | None = None
    left: str = ""


class StepTable:
    """Shows the running step, and the names of those to come.

    Args:
        console: `is_live`.
        name: of the step.
        coming: names of the steps after it.
        clock: gives seconds.
    """

    def __init__(
        self,
        console: Console,
        name: str,
        coming: Sequence[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.console = console
        self._name, self._coming, self._clock = name, coming, clock
        self._began_s = clock()
        self._detail = _Detail()

    @contextmanager
    def drawn(self) -> Iterator[None]:
        """Draw it until the step is over."""
        from rich.live import Live

        live = Live(
            console=self.console,
            get_renderable=self.renderable,
            refresh_per_second=_PER_S,
            transient=True,
            redirect_stdout=not self.console.stderr,
            redirect_stderr=sys.stderr.isatty(),
        )
        with restored_when_left(self._show_cursor), live:
            live.refresh()
            yield

    @contextmanager
    def doing(self, text: str) -> Iterator[None]:
        """Say what the step is at for a while."""
        before, self._detail = self._detail, _Detail(text)
        try:
            yield
        finally:
            self._detail = before

    def show(self, text: str, fraction: float, left: str = "") -> None:
        """Say how far the step has come, 0 to 1, and how long it will take."""
        self._detail = _Detail(text, min(1.0, max(0.0, fraction)), left)

    def renderable(self) -> RenderableType:
        """What is drawn now."""
        from rich.console import Group
        from rich.text import Text

        width, detail = self.console.width, self._detail
        lines: list[RenderableType] = []
        if detail.text:
            lines.append(Text(detail.text, no_wrap=True, overflow="crop"))
        if detail.fraction is not None:
            lines.append(self._bar(detail.fraction, detail.left))
        took_s = self._clock() - self._began_s
        rows = [_row(self._name, took_s, lines, width, "bold cyan")]
        room = max(0, self.console.height - _AROUND - len(lines))
        shown = self._coming if len(self._coming) <= room else self._coming[: max(0, room - 1)]
        rows += [Text(name, "dim") for name in shown]
        if left_out := len(self._coming) - len(shown):
            rows.append(Text(f"and {left_out} more", "dim"))
        return Group(*rows)

    def _bar(self, fraction: float, left: str) -> RenderableType:
        from rich.text import Text

        done, rest = bar_signs(self.console.encoding, os.environ)
        filled = round(fraction * _BAR_WIDTH)
        ending = f"  {fraction:.0%}" + (f", {left}" if left else "")
        return Text.assemble(
            (done * filled, "cyan"),
            (rest * (_BAR_WIDTH - filled), "dim"),
            ending,
            no_wrap=True,
            overflow="crop",
        )

    def _show_cursor(self) -> None:
        """Where nobody is left to draw; no lock is taken, since whoever has it may be stuck."""
        with suppress(OSError, ValueError):
            os.write(self.console.file.fileno(), _SHOW_CURSOR)


def _row(
    name: str,
    seconds: float | None,
    lines: Sequence[RenderableType],
    width: int,
    style: str = "bold",
) -> RenderableType:
    from rich.console import Group
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    took = "" if seconds is None else f"{seconds:.1f} s"
    if width < _NARROW:
        head = Text.assemble((f"{name:<{_NAME_WIDTH}}", style), f"{took:>{_SECONDS_WIDTH}}")
        return Group(head, *(Padding(line, (0, 0, 0, 2)) for line in lines))
    row = Table.grid(expand=True)
    row.add_column(width=_NAME_WIDTH, overflow="fold", no_wrap=False)
    row.add_column(width=_SECONDS_WIDTH, justify="right")
    row.add_column(width=2)
    row.add_column(ratio=1, overflow="fold", no_wrap=False)
    row.add_row(Text(name, style), took, "", Group(*lines) if lines else "")
    return row
