"""Two learners for the cost of HGRU's stepping, which HRNN replaces by inputs (HRNN 2.2)."""

from __future__ import annotations

import numpy as np
import torch

from training.batching.targets import TargetSplit
from training.data.reader import DataSet
from training.models.hrnn import HrnnParameters
from training.models.recurrent.hgru import Hgru, HgruParameters
from training.nn.build import negatives_of
from training.nn.gru import gru
from training.nn.input_encoding import InputEncoding
from training.nn.learner import RankingLearner, TrainingData
from training.nn.losses import loss_named
from training.nn.network import NetOptions, StateNet, UserRows
from training.nn.step_inputs import EventSteps


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
    net = StateNet(
        memory.shape(n_items),
        options,
        lambda sizes: Hgru(sizes, HgruParameters()) if stepping else gru(sizes, chosen),
    )
    return RankingLearner(
        net,
        TrainingData(
            EventSteps(histories, memory.rule, memory.scale),
            histories.item,
            UserRows(),
            lambda: None,
        ),
        lambda event: histories.offsets.searchsorted(event, side="right") - 1,
        loss_named(chosen.loss, chosen.score_penalty),
        negatives_of(chosen, data, everything),
        None,
        None,
    )
