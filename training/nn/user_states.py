"""User states at requests: one pass over each user's history, then one step for each request.

n requests, B rows, T steps, D width.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.array_types import Ints
from training.data.arrays import padded, ranges, scoring_batches
from training.data.reader import Histories, Requests
from training.nn.item_embedding import FeatureRows
from training.nn.network import StateNet, StepTensors
from training.nn.step_inputs import EventSteps, SessionRule, ValueScale, request_inputs

_CELLS = 16384  # padded steps whose states are in memory together; bounds memory, not results


def request_states(
    net: StateNet,
    histories: Histories,
    requests: Requests,
    rule: SessionRule,
    scale: ValueScale,
    users: FeatureRows | None,
    mix: float,
) -> Iterator[tuple[Ints, Tensor]]:
    """Rows of requests and their states (b, D); each request comes once.

    The request's own step follows the state of the user's ``length`` - 1 earlier steps, so the
    requests of a user share one pass over the history, however many they are.
    """
    device = net.items.vector.weight.device
    steps = EventSteps(histories, rule, scale)
    last = request_inputs(histories, requests, rule, scale)
    order = np.argsort(requests.user, kind="stable")
    user, first = np.unique(requests.user[order], return_index=True)
    bounds = np.append(first, len(order))
    longest = np.zeros(len(user), np.int64)
    np.maximum.at(longest, np.searchsorted(user, requests.user), requests.length)
    for rows in scoring_batches(longest, _CELLS):
        # The history of a last user without events begins after the last event of all.
        begin = np.minimum(histories.offsets[user[rows]], max(0, len(histories.item) - 1))
        cells, _ = padded(begin, longest[rows])  # (B, T)
        row_of, positions = ranges(bounds[rows], bounds[rows + 1] - bounds[rows])
        mine = order[positions]
        length = torch.from_numpy(requests.length[mine]).to(device)
        before = net.begin(len(mine))
        if cells.shape[1]:
            states = torch.empty(*cells.shape, net.options.width, device=device)  # (B, T, D)
            state = net.begin(len(rows))
            length_of_part = max(1, _CELLS // len(rows))
            for begins in range(0, cells.shape[1], length_of_part):
                span = slice(begins, begins + length_of_part)
                step_inputs = steps.at(cells[:, span])
                keep = (
                    torch.from_numpy(~step_inputs.session_start).to(device)
                    if rule.forgets
                    else None
                )
                inputs = _inputs(net, StepTensors.of(step_inputs, device), users, mix)
                states[:, span] = net(inputs, state, keep)
                state = states[:, span][:, -1]
            reached = states[torch.from_numpy(row_of).to(device), (length - 1).clamp_min(0)]
            before = reached * (length > 0)[:, None]
        own_steps = last.take(mine)
        if rule.forgets:
            before = before * torch.from_numpy(~own_steps.session_start).to(device)[:, None]
        inputs = _inputs(net, StepTensors.of(own_steps, device), users, mix)
        yield mine, net.cell(inputs, before)


def _inputs(net: StateNet, steps: StepTensors, users: FeatureRows | None, mix: float) -> Tensor:
    touched, where = torch.unique(steps.item, return_inverse=True)
    vectors, _ = net.items.rows(touched, mix)
    entries = net.items.entries(touched, vectors)
    return net.inputs(functional.embedding(where, entries), steps, users)
