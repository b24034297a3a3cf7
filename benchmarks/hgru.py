"""HGRU-style stepping, which HRNN replaces by inputs: a GRU of sessions above a GRU of events.

Where a session ends, the upper GRU is told the lower one's state; the lower one begins the next
session with a state made of the upper one's, and is rerun on the step that was due (HRNN section
2.2, figure 2).  Users reach the ends of their sessions at different steps, so steps are computed
one after the other.  B rows, T steps, D width.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from training.batching.targets import TargetSplit
from training.data.reader import DataSet
from training.models.hrnn import HrnnParameters
from training.nn.build import negatives_of
from training.nn.input_encoding import InputEncoding
from training.nn.learner import RankingLearner, RecurrentLearner, TrainingData
from training.nn.losses import loss_named
from training.nn.network import NetOptions, StateNet
from training.nn.step_inputs import EventSteps
from training.trainer.interface import Batch


class HgruNet(StateNet):
    """Item tables and inputs of HRNN, with two levels of states: (B, 2D) holds lower and upper."""

    def __init__(self, memory: InputEncoding, n_items: int, options: NetOptions) -> None:
        super().__init__(memory.shape(n_items), options)
        self.sessions = nn.GRUCell(options.width, options.width)
        self.opening = nn.Linear(options.width, options.width)

    def begin(self, rows: int) -> Tensor:
        """The states before a history, (rows, 2D)."""
        return self.opening.weight.new_zeros(rows, 2 * self.options.width)

    def forward(self, inputs: Tensor, state: Tensor, keep: Tensor | None) -> Tensor:
        """Both levels' states after each step, (B, T, 2D)."""
        assert keep is not None
        width = self.options.width
        lower, upper = state.split(width, dim=1)
        ends = (inputs[..., width] > 0) & keep  # the first thing told beside the item
        held = keep[..., None].to(inputs.dtype)
        after = []
        for step in range(inputs.shape[1]):
            told, kept = inputs[:, step], held[:, step]
            upper = upper * kept
            moved = self.cell(told, lower * kept)
            rows = ends[:, step].nonzero()[:, 0]
            if len(rows):
                risen = self.sessions(moved[rows], upper[rows])
                upper = upper.index_copy(0, rows, risen)
                rerun = self.cell(told[rows], torch.tanh(self.opening(risen)))
                moved = moved.index_copy(0, rows, rerun)
            lower = moved
            after.append(torch.cat([lower, upper], dim=1))
        return torch.stack(after, dim=1)


class HgruLearner(RankingLearner):
    """Scores items with the lower states; both levels are carried."""

    def _states(self, batch: Batch, inputs: Tensor) -> Tensor:
        both = RecurrentLearner._states(self, batch, inputs)
        return both[..., : self.net.options.width]


def learner_of(data: DataSet, chosen: HrnnParameters, stepping: bool, seed: int) -> RankingLearner:
    """A learner that is the same in all but how its states come about."""
    memory = InputEncoding.of(data, forgets=False, context=False, items=False, users=False)
    options = NetOptions(
        width=chosen.width,
        tied=chosen.tied,
        sparse=True,
        input_dropout=chosen.input_dropout,
        sequence_dropout=chosen.sequence_dropout,
        dropout=chosen.dropout,
        session=True,
        delta=True,
        dwell=True,
        feedback=False,
        prior=False,
    )
    n_items, histories = len(data.item_ids), data.histories
    everything = TargetSplit(histories.is_target, np.zeros(0, np.int64))
    torch.manual_seed(seed)
    net = (
        HgruNet(memory, n_items, options) if stepping else StateNet(memory.shape(n_items), options)
    )
    return (HgruLearner if stepping else RankingLearner)(
        net,
        TrainingData(
            EventSteps(histories, memory.rule, memory.scale), histories.item, None, lambda: None
        ),
        lambda event: histories.offsets.searchsorted(event, side="right") - 1,
        loss_named(chosen.loss, chosen.score_penalty),
        negatives_of(chosen, data, everything),
        None,
        None,
    )
