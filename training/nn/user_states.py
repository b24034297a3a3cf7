"""User states at requests.

Recurrent encoders: one pass over each user's history, then one step for each request.  All others:
the windows that training would have cut around the requests, and each request's own step in them.
n requests, B rows, T steps, D width, N events.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.array_types import Bools, Ints
from training.data.arrays import padded, ranges, scoring_batches
from training.data.reader import Histories, Requests
from training.nn.network import StateNet, StepTensors, UserRows, to_tensor
from training.nn.step_inputs import (
    EventSteps,
    SessionRule,
    StepInputs,
    ValueScale,
    request_inputs,
)
from training.nn.steps import Carried

_PAIRS = 1 << 17  # of a step and one that it looks at: some encoders hold D numbers for each
_CELLS = 16384  # padded steps whose states are in memory together; bounds memory, not results


@dataclass(frozen=True)
class StateReader:
    """How a network reads histories.

    ``mix``: of items that are not cold, HRNN eq. 2.  ``max_len``: most steps of a window.
    """

    net: StateNet
    rule: SessionRule
    scale: ValueScale
    users: UserRows
    mix: float
    max_len: int

    def states(self, inputs: StepInputs, begins: Bools, carried: Carried) -> tuple[Tensor, Carried]:
        """States (B, T, D) of rows of steps, and what is carried after each."""
        net, device = self.net, self.net.items.vector.weight.device
        steps = StepTensors.of(inputs, device)
        touched, where = torch.unique(steps.item, return_inverse=True)
        vectors, _ = net.items.rows(touched, self.mix)
        entries = net.items.entries(touched, vectors)
        items = functional.embedding(where, entries)
        answer: tuple[Tensor, Carried] = net(
            net.steps(items, steps, self.users, to_tensor(begins, device)), carried
        )
        return answer


def request_states(
    reader: StateReader, histories: Histories, requests: Requests
) -> Iterator[tuple[Ints, Tensor]]:
    """Rows of requests and their states (b, D); each request comes once."""
    if reader.net.recurrent is None:
        return _windowed(reader, histories, requests)
    return _carried(reader, histories, requests)


def _carried(
    reader: StateReader, histories: Histories, requests: Requests
) -> Iterator[tuple[Ints, Tensor]]:
    """The request's own step follows what is carried after the user's ``length`` events.

    So the requests of a user share one pass over the history, however many they are.
    """
    net, forgets = reader.net, reader.rule.forgets
    steps = EventSteps(histories, reader.rule, reader.scale)
    last = request_inputs(histories, requests, reader.rule, reader.scale)
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
        length = requests.length[mine]
        own_steps = last.take(mine).reshape(len(mine), 1)
        begins = length == 0
        before = net.begin(len(mine))
        if cells.shape[1]:
            carried, passed = net.begin(len(rows)), []
            length_of_part = max(1, _CELLS // len(rows))
            for done in range(0, cells.shape[1], length_of_part):
                inputs = steps.at(cells[:, done : done + length_of_part])
                forgotten = inputs.session_start if forgets else np.zeros(inputs.item.shape, bool)
                _, after = reader.states(inputs, forgotten, carried)
                carried = {name: tensor[:, -1] for name, tensor in after.items()}
                passed.append(after)
            # One request has one place: what was carried there, of all parts.
            where = (row_of, np.maximum(length - 1, 0))
            before = {
                name: torch.cat([after[name] for after in passed], 1)[where] for name in before
            }
        if forgets:
            begins = begins | own_steps.session_start[:, 0]
        states, _ = reader.states(own_steps, begins[:, None], before)
        yield mine, states[:, 0]


def _windowed(
    reader: StateReader, histories: Histories, requests: Requests
) -> Iterator[tuple[Ints, Tensor]]:
    """Requests in the same window that are events of it share a row; every other has its own.

    Where a window begins depends on the request's place alone, so its state is the same whatever
    else is asked.
    """
    if not len(requests):
        return
    steps = EventSteps(histories, reader.rule, reader.scale)
    last = request_inputs(histories, requests, reader.rule, reader.scale)
    stands_at = histories.offsets[requests.user] + requests.length  # (n,) of the event to come
    begin = _window_begins(reader, histories, requests, last, stands_at)
    shares = _are_events(histories, requests, steps, last, stands_at)
    window = np.where(shares, begin, -1 - np.arange(len(requests)))
    _, leader, row = np.unique(window, return_index=True, return_inverse=True)
    start, length = begin[leader], np.zeros(len(leader), np.int64)
    np.maximum.at(length, row, stands_at - begin + 1)
    by_row = np.argsort(row, kind="stable")
    bounds = np.searchsorted(row[by_row], np.arange(len(leader) + 1))
    for rows in scoring_batches(length, max(1, _PAIRS // int(length.max()))):
        cells, _ = padded(start[rows], length[rows])  # (B, T)
        row_of, positions = ranges(bounds[rows], bounds[rows + 1] - bounds[rows])
        mine = by_row[positions]
        at = (row_of, stands_at[mine] - begin[mine])
        if len(histories.item):
            inputs = steps.at(np.minimum(cells, len(histories.item) - 1)).replaced(
                at, last.take(mine)
            )
        else:
            inputs = last.take(mine).reshape(len(mine), 1)
        begins = np.zeros(inputs.item.shape, np.bool_)
        begins[:, 0] = True
        states, _ = reader.states(inputs, begins, {})
        yield mine, states[at]


def _window_begins(
    reader: StateReader, histories: Histories, requests: Requests, last: StepInputs, at: Ints
) -> Ints:
    """Where the window of each request begins, (n,): as in training, half of it comes before."""
    segment = histories.offsets[requests.user].copy()
    if reader.rule.forgets:
        begins_at = np.flatnonzero(histories.session_start)
        latest = np.searchsorted(begins_at, at - 1, side="right") - 1
        in_session = np.where(
            latest >= 0, begins_at[np.maximum(latest, 0)] if len(begins_at) else 0, 0
        )
        segment = np.where(last.session_start, at, np.maximum(segment, in_session))
    half = max(1, reader.max_len // 2)
    begin: Ints = segment + np.maximum(0, ((at - segment) // half - 1) * half)
    return begin


def _are_events(
    histories: Histories, requests: Requests, steps: EventSteps, last: StepInputs, at: Ints
) -> Bools:
    """Which requests (n,) are told just what the event at their place is told."""
    alike: Bools = at < histories.offsets[requests.user + 1]
    if alike.any():
        inputs = steps.at(np.minimum(at, len(histories.item) - 1))
        alike &= inputs.equals(last)
    return alike
