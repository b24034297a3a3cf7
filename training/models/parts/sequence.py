"""Any encoder, with all that the training engine and the trend bring; a value, not a subclass."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.errors import UsageError
from training.models.parts.trend import TrendModel, TrendParameters
from training.nn.parameters import WINDOW_PLANS
from training.nn.steps import EncoderMaker, RecurrentEncoder


@dataclass(frozen=True)
class SequenceParameters(TrendParameters):
    """As published: steps are told items only, and popularity is not kept apart.

    ``trend: true`` adds log q of the hour and the mixture, as in `hrnn_trend`, to any encoder.
    """

    plan: str = "windows"
    max_len: int = 50
    session_input: bool = False
    delta_input: bool = False
    dwell_input: bool = False
    trend: bool = False


class SequenceModel(TrendModel):
    """What is fitted, kept, continued and asked around an encoder.

    Args:
        name: the type's name.
        parameters: of the engine, and the encoder's own.
        encoder: makes the encoder of the parameters: a module of ``forward(steps)``, or a
            `RecurrentEncoder`.

    Raises:
        UsageError: the plan carries a state, and the encoder has none.
    """

    def __init__(self, name: str, parameters: TrendParameters, encoder: EncoderMaker) -> None:
        self.name = name
        super().__init__(parameters, encoder)
        carries = isinstance(encoder, type) and issubclass(encoder, RecurrentEncoder)
        if parameters.plan not in WINDOW_PLANS and not carries:
            raise UsageError(
                f"{name}: plan = {parameters.plan!r} carries a state from batch to batch, which "
                f"{name} does not have: use {' or '.join(WINDOW_PLANS)}"
            )
