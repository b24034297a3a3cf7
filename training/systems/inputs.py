"""What a recurrent system is told at each step about the past and the coming request (HRNN 2.2).

Step k predicts event k.  Its input is the item of event k - 1 and the context of the coming
request: whether it begins a session, the time since event k - 1, and, within a session, that time
as the dwell bin of event k - 1.  In training the coming request is event k itself; in scoring only
the time of the request is known, and the same numbers follow from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.reader import Histories, Requests
from training.systems.base import US_PER_S

START_ITEM = 0  # stands for the item before a user's first event
NO_DELTA = 25  # the delta bin of a step that has no event before it
N_DELTA_BINS = NO_DELTA + 1

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class SessionRule:
    """How time becomes sessions and dwell bins; a model keeps the rule it was trained with."""

    gap_s: int
    dwell_width_s: float
    dwell_bins: int


@dataclass(frozen=True)
class StepInputs:
    """Inputs of n steps."""

    item: Ints  # (n,) the previous item, START_ITEM = none
    session_start: NDArray[np.bool_]  # (n,)
    delta: Ints  # (n,) floor(log2(1 + seconds)), NO_DELTA = none
    dwell: Ints  # (n,) 0 = unknown

    def at(self, steps: Ints) -> StepInputs:
        """The inputs of those steps, in the shape of ``steps``; a copy."""
        return StepInputs(
            self.item[steps], self.session_start[steps], self.delta[steps], self.dwell[steps]
        )

    def with_steps(self, where: tuple[Ints, Ints], steps: StepInputs) -> StepInputs:
        """A copy in which the cells ``where`` (n,) of a rectangle are those n steps."""
        return StepInputs(
            _put(self.item, where, steps.item),
            _put(self.session_start, where, steps.session_start),
            _put(self.delta, where, steps.delta),
            _put(self.dwell, where, steps.dwell),
        )


def _put(table: NDArray[Any], where: tuple[Ints, Ints], values: NDArray[Any]) -> NDArray[Any]:
    changed = table.copy()
    changed[where] = values
    return changed


def event_inputs(histories: Histories, rule: SessionRule) -> StepInputs:
    """The inputs of the step that predicts each event, (N,)."""
    first = np.zeros(len(histories.item), np.bool_)
    first[histories.offsets[:-1][histories.lengths > 0]] = True
    before = np.maximum(np.arange(len(first)) - 1, 0)
    elapsed_us = histories.time_us - histories.time_us[before]
    return _inputs(histories.item[before], elapsed_us, first, histories.session_start, rule)


def request_inputs(histories: Histories, requests: Requests, rule: SessionRule) -> StepInputs:
    """The inputs of the step that answers each request, (n,)."""
    first = requests.length == 0
    before = histories.offsets[requests.user] + requests.length - 1
    # Users without a known event have nothing before; there may not even be an event at all.
    item = np.zeros(len(requests), np.int32)
    time_us = requests.now_us.copy()
    item[~first] = histories.item[before[~first]]
    time_us[~first] = histories.time_us[before[~first]]
    elapsed_us = requests.now_us - time_us
    starts = elapsed_us >= rule.gap_s * US_PER_S
    return _inputs(item, elapsed_us, first, starts, rule)


def _inputs(
    previous: NDArray[np.int32],
    elapsed_us: Ints,
    first: NDArray[np.bool_],
    starts: NDArray[np.bool_],
    rule: SessionRule,
) -> StepInputs:
    elapsed_us = np.maximum(elapsed_us, 0)
    starts = starts | first
    octave = np.floor(np.log2(1 + elapsed_us / US_PER_S)).astype(np.int64)
    if rule.dwell_width_s > 0:
        dwell = np.floor(elapsed_us / US_PER_S / rule.dwell_width_s).astype(np.int64) + 1
    else:
        # Dwell times that never vary have no bins: each is unknown, as in the data set.
        dwell = np.zeros_like(elapsed_us)
    return StepInputs(
        item=np.where(first, START_ITEM, previous).astype(np.int64),
        session_start=starts,
        delta=np.where(first, NO_DELTA, np.minimum(octave, NO_DELTA - 1)),
        dwell=np.where(starts, 0, np.minimum(dwell, rule.dwell_bins)),
    )
