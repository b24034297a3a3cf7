"""Tells the ends of epochs apart in the progress that a fit reports."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from training.interface import FitProgress

_CURVES = ("loss", "validation_loss", "events_per_s", "learning_rate")


@dataclass(frozen=True)
class EpochEnd:
    """The last that was heard of an epoch."""

    part: int  # 0, or 1 of a second fit on everything, once the number of epochs is known
    progress: FitProgress

    @property
    def curves(self) -> dict[str, float]:
        """Figures of the epoch by the names of their curves."""
        prefix = "refit" if self.part else "epoch"
        known = dataclasses.asdict(self.progress)
        curves = {f"{prefix}_{n}": known[n] for n in _CURVES if known.get(n) is not None}
        if known["figure"] is not None:
            name = known["figure"].lower().replace("@", "_")
            curves[f"{prefix}_validation_{name}"] = known["figure_value"]
        return curves


class Epochs:
    """Watches one fit.

    Args:
        part: parts of the fit that an earlier attempt ended.
    """

    def __init__(self, part: int = 0) -> None:
        self._part = part
        self._last: FitProgress | None = None

    @property
    def part(self) -> int:
        """The part that was heard of last."""
        return self._part

    def hear(self, progress: FitProgress) -> EpochEnd | None:
        """The epoch before, if this is the first that is heard of another one."""
        ended, last = None, self._last
        if last is not None and progress.epoch != last.epoch:
            ended = EpochEnd(self._part, last)
        if last is not None and progress.fraction < last.fraction:
            ended = EpochEnd(self._part, last)
            self._part += 1
        self._last = progress
        return ended

    def stop(self) -> EpochEnd | None:
        """The epoch that was heard of last."""
        return None if self._last is None else EpochEnd(self._part, self._last)
