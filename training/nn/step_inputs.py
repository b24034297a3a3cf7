"""What a recurrent system is told at each step about the past and the coming request (HRNN 2.2).

Step k predicts event k.  Its input is event k - 1 (item, and as feedback its type and value) and
the coming request: whether it begins a session, the time since event k - 1, within a session that
time as the dwell bin of event k - 1, the context that comes with the request, and whose it is.  In
training the coming request is event k itself; in scoring only the time and context of the request
are known, and the same numbers follow from them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.array_types import Bools, Floats, Floats32, Ints, Ints32
from pipeline.hours import US_PER_S
from training.data.reader import ContextField, Histories, Requests

START_ITEM = 0  # stands for the item before a user's first event
NO_DELTA = 25  # the delta bin of a step that has no event before it
N_DELTA_BINS = NO_DELTA + 1


@dataclass(frozen=True)
class SessionRule:
    """How time becomes sessions and dwell bins; a model keeps the rule it was trained with."""

    gap_s: int
    dwell_width_s: float
    dwell_bins: int
    forgets: bool = False  # a session knows nothing of the one before it


@dataclass(frozen=True)
class EventCodes:
    """What the codes of a data set mean; a model keeps those it was trained with."""

    event_types: tuple[str, ...] = ()
    context_fields: tuple[ContextField, ...] = ()

    @classmethod
    def of(cls, histories: Histories) -> EventCodes:
        """The terms of histories."""
        return cls(histories.event_types, histories.context_fields)

    def read(self, histories: Histories) -> Histories:
        """The same histories in these codes; what has none here becomes unknown.

        Unknown event types get the code -1, unknown context 0.
        """
        if EventCodes.of(histories) == self:
            return histories
        code_of = {name: code for code, name in enumerate(self.event_types)}
        types = np.array([code_of.get(name, -1) for name in histories.event_types], np.int16)
        return replace(
            histories,
            event_type=types[histories.event_type] if len(types) else histories.event_type,
            context=self.read_context(histories.context, histories.context_fields),
            event_types=self.event_types,
            context_fields=self.context_fields,
        )

    def read_context(self, context: Ints32, named: tuple[ContextField, ...]) -> Ints32:
        """Context codes (n, C) of the fields ``named`` in these terms, (n, own C)."""
        if named == self.context_fields:
            return context
        theirs = {field.name: at for at, field in enumerate(named)}
        columns = np.zeros((len(context), len(self.context_fields)), np.int32)
        for at, field in enumerate(self.context_fields):
            if field.name not in theirs:
                continue
            code = {value: number for number, value in enumerate(field.values, start=1)}
            there = named[theirs[field.name]].values
            renumbered = np.array([0, *(code.get(value, 0) for value in there)], np.int32)
            columns[:, at] = renumbered[context[:, theirs[field.name]]]
        return columns


@dataclass(frozen=True)
class ValueScale:
    """How values of events become numbers around 0: those of the training part."""

    mean: float = 0.0
    deviation: float = 1.0

    @classmethod
    def of(cls, values: Floats32) -> ValueScale:
        """Mean and deviation of the values that are known."""
        finite = np.asarray(values)[np.isfinite(values)].astype(np.float64)
        spread = float(finite.std()) if len(finite) else 0.0
        return cls(float(finite.mean()) if len(finite) else 0.0, spread if spread > 0 else 1.0)

    def apply(self, values: Floats32) -> Floats32:
        """Standardised values; NaN stays NaN."""
        scaled: Floats32 = ((values - self.mean) / self.deviation).astype(np.float32)
        return scaled


@dataclass(frozen=True)
class StepInputs:
    """Inputs of steps; every array begins with the shape of the steps asked for."""

    item: Ints  # the previous item, START_ITEM = none
    user: Ints  # row of the user
    session_start: Bools
    delta: Ints  # floor(log2(1 + seconds)), NO_DELTA = none
    dwell: Ints  # 0 = unknown
    feedback: Ints  # type of the previous event + 1, 0 = none or unknown
    value: Floats32  # value of the previous event, NaN = none
    context: Ints32  # (..., C) of the coming request, 0 = unknown
    elapsed_s: Floats  # since the event before, 0 = none
    time_us: Ints  # of the request

    def take(self, rows: Ints) -> StepInputs:
        """The inputs of those steps of a flat list, in their order."""
        return self._each(lambda array, _: array[rows])

    def reshape(self, *shape: int) -> StepInputs:
        """The same steps in another shape."""
        return self._each(lambda array, _: array.reshape(*shape, *array.shape[self.item.ndim :]))

    def replaced(self, at: tuple[Ints, ...], steps: StepInputs) -> StepInputs:
        """These steps with others in some places."""

        def written(array: NDArray[Any], name: str) -> NDArray[Any]:
            array = np.array(array)
            array[at] = getattr(steps, name)
            return array

        return self._each(written)

    def equals(self, other: StepInputs) -> Bools:
        """Which steps of a flat list (n,) are told the same."""

        def same(array: NDArray[Any], name: str) -> Bools:
            theirs = getattr(other, name)
            both_nan = (array != array) & (theirs != theirs)  # noqa: PLR0124
            return np.asarray((array == theirs) | both_nan).reshape(len(self.item), -1)

        columns = [same(getattr(self, field.name), field.name) for field in fields(self)]
        return np.asarray(np.concatenate(columns, axis=1).all(1))

    def _each(self, change: Callable[[NDArray[Any], str], NDArray[Any]]) -> StepInputs:
        return StepInputs(**{f.name: change(getattr(self, f.name), f.name) for f in fields(self)})


class EventSteps:
    """The inputs of the steps that predict the events of histories, looked up as needed."""

    def __init__(self, histories: Histories, rule: SessionRule, scale: ValueScale) -> None:
        self._histories, self._rule, self._scale = histories, rule, scale
        self._first = np.zeros(len(histories.item), np.bool_)  # (N,)
        self._first[histories.offsets[:-1][histories.lengths > 0]] = True

    def at(self, cells: Ints) -> StepInputs:
        """Inputs of the steps that predict those events, in the shape of ``cells``."""
        histories, first = self._histories, self._first[cells]
        before = np.maximum(cells - 1, 0)
        return _inputs(
            histories,
            user=np.searchsorted(histories.offsets, cells, side="right") - 1,
            before=before,
            first=first,
            time_us=histories.time_us[cells],
            starts=histories.session_start[cells],
            context=histories.context[cells],
            rule=self._rule,
            scale=self._scale,
        )


def begins_session(histories: Histories, requests: Requests, gap_s: int) -> Bools:
    """Whether each request begins a session, (n,): as it says itself, or after a silence."""
    first: Bools = requests.length == 0
    if requests.starts is not None:
        starts: Bools = requests.starts | first
        return starts
    silent = first.copy()
    last = histories.offsets[requests.user[~first]] + requests.length[~first] - 1
    elapsed_us = requests.now_us[~first] - histories.time_us[last]
    silent[~first] = elapsed_us >= gap_s * US_PER_S
    return silent


def request_inputs(
    histories: Histories, requests: Requests, rule: SessionRule, scale: ValueScale
) -> StepInputs:
    """The inputs of the step that answers each request, (n,)."""
    first = requests.length == 0
    before = np.maximum(histories.offsets[requests.user] + requests.length - 1, 0)
    context = requests.context
    if context is None:
        context = np.zeros((len(requests), histories.context.shape[1]), np.int32)
    return _inputs(
        histories,
        user=requests.user,
        before=before,
        first=first,
        time_us=requests.now_us,
        starts=begins_session(histories, requests, rule.gap_s),
        context=context,
        rule=rule,
        scale=scale,
    )


def _inputs(
    histories: Histories,
    *,
    user: Ints,
    before: Ints,
    first: Bools,
    time_us: Ints,
    starts: Bools,
    context: Ints32,
    rule: SessionRule,
    scale: ValueScale,
) -> StepInputs:
    # Users without a known event have nothing before; there may not even be an event at all.
    elapsed_us = np.zeros(before.shape, np.int64)
    elapsed_us[~first] = time_us[~first] - histories.time_us[before[~first]]
    elapsed_s = np.maximum(elapsed_us, 0) / US_PER_S
    starts = starts | first
    nothing = starts if rule.forgets else first
    octave = np.floor(np.log2(1 + elapsed_s)).astype(np.int64)
    if rule.dwell_width_s > 0:
        dwell = np.floor(elapsed_s / rule.dwell_width_s).astype(np.int64) + 1
    else:
        # Dwell times that never vary have no bins: each is unknown, as in the data set.
        dwell = np.zeros(elapsed_s.shape, np.int64)

    def of_last(column: NDArray[Any], none: float) -> NDArray[Any]:
        previous = column[before] if len(column) else np.zeros(before.shape, column.dtype)
        return np.where(nothing, np.asarray(none, previous.dtype), previous)

    return StepInputs(
        item=of_last(histories.item, START_ITEM).astype(np.int64),
        user=user,
        session_start=starts,
        delta=np.where(nothing, NO_DELTA, np.minimum(octave, NO_DELTA - 1)),
        dwell=np.where(starts, 0, np.minimum(dwell, rule.dwell_bins)),
        feedback=of_last(histories.event_type, -1).astype(np.int64) + 1,
        value=scale.apply(of_last(histories.value, math.nan)),
        context=context,
        elapsed_s=np.where(nothing, 0.0, elapsed_s),
        time_us=time_us,
    )
