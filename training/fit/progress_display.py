"""Shows how a fit goes: a bar in a terminal, plain lines elsewhere, such as in Airflow's logs."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from training.model_types import FitProgress

if TYPE_CHECKING:
    from rich.progress import Progress

    from pipeline.terminal import StepTable
    from training.fit.model_configs import ModelConfig
    from training.fit.train import ProgressListener
    from training.model_types import FitProgress

_LINE_EVERY_S = 10.0
_CURVES = ("loss", "validation_loss", "events_per_s", "learning_rate")


def progress_text(progress: FitProgress, phase: int) -> str:
    """``epoch 3, loss 5.12, validation MRR@20 0.2610, 23,400 events/s``."""
    texts = [f"{'refit, ' if phase else ''}epoch {progress.epoch}", f"loss {progress.loss:.4g}"]
    if progress.figure is not None and progress.figure_value is not None:
        texts.append(f"validation {progress.figure} {progress.figure_value:.4f}")
    elif progress.validation_loss is not None:
        texts.append(f"validation loss {progress.validation_loss:.4g}")
    texts.append(f"{progress.events_per_s:,.0f} events/s")
    return ", ".join(texts)


def time_left(seconds: float) -> str:
    """``2 min 5 s left``."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s left" if minutes else f"{rest} s left"


class Silent:
    """Shows nothing: another process does."""

    def begin(self, model: ModelConfig, model_id: str, resumed_from: str | None) -> None:
        """Nothing."""

    def on_progress(self, progress: FitProgress, phase: int) -> None:
        """Nothing."""

    def on_epoch(self, ended: EpochEnd) -> None:
        """Nothing."""

    def message(self, sentence: str) -> None:
        """Nothing."""


class Lines:
    """Prints a line at the end of every epoch, and about every ten seconds.

    Args:
        print_line: puts it where people read.
        clock: gives seconds.
    """

    def __init__(
        self, print_line: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._print, self._clock = print_line, clock
        self._name = ""
        self._printed_s = clock()

    def begin(self, model: ModelConfig, model_id: str, resumed_from: str | None) -> None:
        """Name the model and, where it was begun before, the place it goes on from."""
        self._name = model.name
        self._print_timed(_beginning(model, model_id, resumed_from))

    def on_progress(self, progress: FitProgress, phase: int) -> None:
        """Print it if the last line is long enough ago."""
        if self._clock() - self._printed_s < _LINE_EVERY_S:
            return
        left = progress.seconds_left
        ending = "" if left is None else f", {time_left(left)}"
        self._print_timed(f"{self._name}: {progress_text(progress, phase)}{ending}")

    def on_epoch(self, ended: EpochEnd) -> None:
        """Print the figures of the epoch."""
        self._print_timed(f"{self._name}: end of {progress_text(ended.progress, ended.phase)}")

    def message(self, sentence: str) -> None:
        """Print a sentence."""
        self._print_timed(sentence)

    def _print_timed(self, line: str) -> None:
        self._printed_s = self._clock()
        self._print(line)


class Bar:
    """A bar of the running fit; a line stays of each that is over.

    Args:
        progress: of Rich, running.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("reading the data set", total=1.0, left="")
        self._name = ""

    def begin(self, model: ModelConfig, model_id: str, resumed_from: str | None) -> None:
        """Start the bar anew."""
        self._name = model.name
        if resumed_from is not None:
            self.message(_beginning(model, model_id, resumed_from))
        self._progress.reset(self._task, description=f"training {model.name}", left="")

    def on_progress(self, progress: FitProgress, phase: int) -> None:
        """Move the bar."""
        left = progress.seconds_left
        self._progress.update(
            self._task,
            completed=progress.fraction,
            description=f"{self._name}: {progress_text(progress, phase)}",
            left="" if left is None else time_left(left),
        )

    def on_epoch(self, ended: EpochEnd) -> None:
        """The bar said it already."""

    def message(self, sentence: str) -> None:
        """Print a sentence above the bar."""
        self._progress.console.print(sentence, markup=False)


class InTable:
    """Shows the running fit in the row of its step.

    Args:
        table: that is drawn.
    """

    def __init__(self, table: StepTable) -> None:
        self._table = table
        self._name = ""

    def begin(self, model: ModelConfig, model_id: str, resumed_from: str | None) -> None:
        """Start the bar anew."""
        self._name = model.name
        if resumed_from is not None:
            self.message(_beginning(model, model_id, resumed_from))
        self._table.show(f"training {model.name}", 0.0)

    def on_progress(self, progress: FitProgress, phase: int) -> None:
        """Move the bar."""
        left = progress.seconds_left
        text = f"{self._name}: {progress_text(progress, phase)}"
        self._table.show(text, progress.fraction, "" if left is None else time_left(left))

    def on_epoch(self, ended: EpochEnd) -> None:
        """The bar said it already."""

    def message(self, sentence: str) -> None:
        """Print a sentence above the table."""
        self._table.console.print(sentence, markup=False)


@contextmanager
def display(table: StepTable | None = None, silent: bool = False) -> Iterator[ProgressListener]:
    """The table where one is drawn, else what suits standard error.

    The processes that only help show nothing.  Without a table nothing is ever written to standard
    output, which is for the result.
    """
    if silent:
        yield Silent()
        return
    if table is not None:
        with table.doing("reading the data set"):
            yield InTable(table)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

    console = Console(stderr=True, highlight=False)
    if not console.is_interactive:
        yield Lines(lambda line: print(line, file=sys.stderr, flush=True))
    else:
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[left]}", markup=False),
        )
        with Progress(*columns, console=console, transient=True) as progress:
            yield Bar(progress)


def _beginning(model: ModelConfig, model_id: str, resumed_from: str | None) -> str:
    goes = "training" if resumed_from is None else "going on with"
    resumed_at = "" if resumed_from is None else f" from {resumed_from}"
    return f"{goes} {model.name} ({model_id}){resumed_at} ..."


# Tells the ends of epochs apart in the progress that a fit reports.


@dataclass(frozen=True)
class EpochEnd:
    """The last that was heard of an epoch."""

    phase: int  # 0, or 1 of a second fit on everything, once the number of epochs is known
    progress: FitProgress

    @property
    def curves(self) -> dict[str, float]:
        """Figures of the epoch by the names of their curves."""
        prefix = "refit" if self.phase else "epoch"
        figures = dataclasses.asdict(self.progress)
        curves = {f"{prefix}_{n}": figures[n] for n in _CURVES if figures.get(n) is not None}
        if figures["figure"] is not None:
            name = figures["figure"].lower().replace("@", "_")
            curves[f"{prefix}_validation_{name}"] = figures["figure_value"]
        return curves


class Epochs:
    """Watches one fit.

    Args:
        phase: how many fits an earlier attempt ended.
    """

    def __init__(self, phase: int = 0) -> None:
        self._phase = phase
        self._last: FitProgress | None = None

    @property
    def phase(self) -> int:
        """The fit that was heard of last: 0, or 1 of the second."""
        return self._phase

    def on_progress(self, progress: FitProgress) -> EpochEnd | None:
        """The epoch before, if this is the first that is heard of another one."""
        ended, last = None, self._last
        if last is not None and progress.epoch != last.epoch:
            ended = EpochEnd(self._phase, last)
        if last is not None and progress.fraction < last.fraction:
            ended = EpochEnd(self._phase, last)
            self._phase += 1
        self._last = progress
        return ended

    def stop(self) -> EpochEnd | None:
        """The epoch that was heard of last."""
        return None if self._last is None else EpochEnd(self._phase, self._last)
