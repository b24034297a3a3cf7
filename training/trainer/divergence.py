"""Ends a fit that can come to nothing good, with a sentence that says what to change."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pipeline.errors import HourglassError
from training.trainer.checkpoint import TrainState

OPENING_TARGETS = 1000  # so many are enough for the mean loss before learning
WINDOW_BATCHES = 100  # a few bad batches are no divergence
_RISE = 2.0  # times the opening loss, or times 1 where that is less


@dataclass(frozen=True)
class Step:
    """Which batch a sentence is about; both numbers count from 1."""

    epoch: int
    batch: int
    learning_rate: float

    def __str__(self) -> str:
        return f"epoch {self.epoch}, batch {self.batch}, at learning rate {self.learning_rate:.3g}"


@dataclass(frozen=True)
class DivergenceGuard:
    """What a fit is stopped for.

    ``model_name`` is named in every sentence, ``advice`` says what to change.
    """

    model_name: str
    advice: str

    def check_opening(self, loss: float) -> None:
        """Refuse to learn where the mean loss is no number before anything was learned.

        Raises:
            HourglassError: it is not finite.
        """
        if not math.isfinite(loss):
            raise HourglassError(
                f"{self.model_name}: the loss is {loss} before anything was learned: the data or "
                "the weights to start from hold a value that is not a number: check the data set, "
                "or start afresh"
            )

    def check_batch(self, step: Step, loss: float, gradient: float) -> None:
        """Refuse a batch whose loss or gradient is not a number.

        ``gradient`` is any number that is finite only if every part of the gradient is.

        Raises:
            HourglassError: one of the two is not finite.
        """
        for name, value in (("loss", loss), ("gradient", gradient)):
            if not math.isfinite(value):
                raise HourglassError(
                    f"{self.model_name}: the {name} became {value} in {step}: {self.advice}"
                )

    def divergence(self, step: Step, loss: float, state: TrainState) -> None:
        """Count a batch's mean loss in ``state``, and refuse to go on if learning makes it worse.

        A fit diverges if in more than half of `WINDOW_BATCHES` batches the mean loss exceeds the
        mean before anything was learned by twice its size, or by 2 where that is more.  Noise and
        hard data do not do that: of numbers that are not negative, at most a third exceed three
        times their mean (Markov's inequality).

        Raises:
            HourglassError: the fit diverges.
        """
        opening, limit = state.opening_loss, _limit(state)
        state.window_batches += 1
        state.window_above += loss > limit
        if state.window_batches < WINDOW_BATCHES:
            return
        above, state.window_batches, state.window_above = state.window_above, 0, 0
        if 2 * above > WINDOW_BATCHES:
            raise HourglassError(
                f"{self.model_name}: the fit diverges: in {above} of {WINDOW_BATCHES} batches up "
                f"to {step}, the mean loss was above {limit:.4g}; it was {opening:.4g} before "
                f"anything was learned: {self.advice}"
            )

    def check_epoch(self, state: TrainState) -> None:
        """Refuse an epoch whose mean loss is that far above; a short fit has no 100 batches.

        Raises:
            HourglassError: the fit diverges.
        """
        mean = state.loss_sum / max(1, state.loss_targets)
        if mean > _limit(state):
            raise HourglassError(
                f"{self.model_name}: the fit diverges: the mean loss of epoch {state.epoch} was "
                f"{mean:.4g}; it was {state.opening_loss:.4g} before anything was learned: "
                f"{self.advice}"
            )

    def check_validation(self, epoch: int, loss: float) -> None:
        """Refuse a validation loss that is not a number.

        Raises:
            HourglassError: it is not finite.
        """
        if not math.isfinite(loss):
            raise HourglassError(
                f"{self.model_name}: the validation loss became {loss} after epoch {epoch}: "
                f"{self.advice}"
            )


def _limit(state: TrainState) -> float:
    return state.opening_loss + _RISE * max(1.0, abs(state.opening_loss))
