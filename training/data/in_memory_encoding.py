"""The terms of a cut: which number stands for which item, event type, context value or feature.

As in `pipeline.dataset.encoding`, they are fitted on the window, and only ever append to those of
the cut that is extended.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.dataset.features import Encoder, Metadata, encode, fit_encoder
from pipeline.dataset.manifest import ContextField, DwellBins, NumberScale, StepCounts
from pipeline.dataset.write import Frame
from pipeline.sessions.dwell import Moments, merged, moments_of_us
from pipeline.settings.settings import DatasetSettings
from training.data.event_log import FlatLog, Ints, start_us
from training.data.reader import Features


@dataclass(frozen=True)
class Terms:
    """What later cuts take over; ``encoders`` by ``item`` and ``user``, where metadata is known."""

    items: Ints = field(default_factory=lambda: np.empty(0, np.int64))  # (V,) codes of the log
    event_types: tuple[str, ...] = ()
    context_fields: tuple[ContextField, ...] = ()
    encoders: Mapping[str, Encoder] = field(default_factory=dict)

    def to_json(self, log: FlatLog) -> dict[str, Any]:
        """As plain values that do not depend on the log's codes."""
        return {
            "items": log.item_ids[self.items].tolist(),
            "event_types": list(self.event_types),
            "context_fields": [one.model_dump(mode="json") for one in self.context_fields],
            "encoders": {
                of: {"tokens": list(one.tokens), "scales": list(one.scales)}
                for of, one in self.encoders.items()
            },
        }

    @classmethod
    def from_json(cls, said: Mapping[str, Any], log: FlatLog) -> Terms:
        """What `to_json` gave, for the same log."""
        return cls(
            np.searchsorted(log.item_ids, np.array(said["items"], object)).astype(np.int64),
            tuple(said["event_types"]),
            tuple(ContextField(**one) for one in said["context_fields"]),
            {of: Encoder(one["tokens"], one["scales"]) for of, one in said["encoders"].items()},
        )


def vocabulary(log: FlatLog, kept: Ints, before: Ints, cold: Ints) -> tuple[Ints, Ints]:
    """Items (V,) as codes, and their events among ``kept``.

    First those of ``before``, then the new ones, most frequent first, then ``cold`` ones.
    """
    events = np.bincount(log.item[kept], minlength=len(log.item_ids))
    fresh = events > 0
    fresh[before] = False
    new = np.flatnonzero(fresh)
    new = new[np.lexsort((new, -events[new]))]
    without = np.zeros(len(events), np.bool_)
    without[cold] = True
    without[before] = False
    without &= events == 0
    items = np.concatenate([before, new, np.flatnonzero(without)]).astype(np.int64)
    return items, events[items]


def event_types(log: FlatLog, event: Ints, before: tuple[str, ...]) -> tuple[str, ...]:
    """The types known before, in their order, then those met for the first time."""
    met = np.flatnonzero(np.bincount(log.kind[event], minlength=1))
    return (*before, *(log.kinds[code] for code in met if log.kinds[code] not in before))


def context_fields(
    log: FlatLog, kept: Ints, rules: DatasetSettings, before: tuple[ContextField, ...]
) -> tuple[ContextField, ...]:
    """Values of each context field among ``kept``, most frequent first, after those before."""
    known = {one.name: one.values for one in before}
    fields = []
    for place, name in enumerate(log.context_names):
        values, old = log.context_values[place], known.get(name, ())
        code = log.context[kept, place]
        events = np.bincount(code[code >= 0], minlength=len(values))
        met = np.flatnonzero(events)
        ranked = values[met[np.lexsort((met, -events[met]))]].tolist()
        room = max(0, rules.max_context_values - len(old))
        new = [value for value in ranked if value not in set(old)][:room]
        fields.append(ContextField(name=name, values=(*old, *new)))
    return tuple(fields)


def context_codes(log: FlatLog, event: Ints, fields: tuple[ContextField, ...]) -> NDArray[np.int32]:
    """Code of each context field of the events, (n, C); 0 = unknown."""
    codes = np.zeros((len(event), len(fields)), np.int32)
    for column, one in enumerate(fields):
        place = log.context_names.index(one.name)
        known = {value: code for code, value in enumerate(one.values, start=1)}
        told = np.array([*(known.get(v, 0) for v in log.context_values[place]), 0], np.int32)
        codes[:, column] = told[log.context[event, place]]  # -1 is the last: unknown
    return codes


def fitted_encoder(
    known: Metadata, rules: DatasetSettings, before: Encoder | None
) -> Encoder | None:
    """The encoder of items or users; None where nothing is known of any, or was before."""
    if before is None and known.is_empty:
        return None
    return fit_encoder(known, rules, before)


def features(known: Metadata, encoder: Encoder) -> Features:
    """Features of the rows of ``known``, as the reader of data sets gives them."""
    table = encode(known, encoder)
    tokens = table["tokens"].combine_chunks()
    numbers = pc.list_flatten(table["numbers"]).to_numpy()
    return Features(
        offsets=np.append(0, np.cumsum(pc.list_value_length(tokens).to_numpy())).astype(np.int64),
        token=pc.list_flatten(tokens).to_numpy().astype(np.int32),
        token_names=np.array(list(encoder.tokens), object),
        numbers=np.nan_to_num(numbers.astype(np.float32)).reshape(
            len(known.ids), len(encoder.scales)
        ),
        number_names=np.array([scale["name"] for scale in encoder.scales], object),
    )


def number_scales(encoder: Encoder | None) -> tuple[NumberScale, ...]:
    """What a manifest tells of an encoder's numbers."""
    return () if encoder is None else tuple(NumberScale(**scale) for scale in encoder.scales)


def ids(names: NDArray[np.object_]) -> pa.Array:
    """Names as an Arrow array."""
    return pa.array(names, pa.string())


# Dwell bins of a cut, as `pipeline.dataset.build` measures them.


def bins_of(dwell_s: NDArray[np.float64], dwell: DwellBins) -> NDArray[np.int16]:
    """The bin of each dwell time (n,); 0 where it is not known."""
    if dwell.width_s <= 0:
        return np.zeros(len(dwell_s), np.int16)
    bins = np.floor(np.minimum(dwell_s / dwell.width_s, dwell.bins - 1)) + 1
    coded: NDArray[np.int16] = np.nan_to_num(bins).astype(np.int16)
    return coded


def dwell_bins(log: FlatLog, rules: DatasetSettings, frame: Frame) -> DwellBins:
    """Scott's bins of sessions that closed in the window, and of those that stand open."""
    stop_us = start_us(frame.as_of)
    first, stop = (
        bisect_left(log.dwell_hours, hour.start, key=itemgetter("hour"))
        for hour in (frame.window_start, frame.as_of)
    )
    still_open = (log.closes >= frame.as_of.index) & (log.next_us < stop_us)
    dwell_us = (log.next_us - log.time_us)[still_open]
    opened = [moments_of_us(dwell_us)] if len(dwell_us) else []
    moments: Moments = merged([*log.dwell_hours[first:stop], *opened])
    return DwellBins(
        n=moments.n,
        mean_s=moments.mean_s,
        m2_s2=moments.m2_s2,
        width_s=moments.scott_width_s,
        bins=rules.max_dwell_bins,
    )


# The support filter on codes, as `pipeline.dataset.support_filter` has it (ASARS 3.1).


def filter_support(
    log: FlatLog, event: Ints, rules: DatasetSettings
) -> tuple[Ints, tuple[StepCounts, ...]]:
    """Events (n,) that the filter leaves of ``event``, and what was left after each step."""
    steps = (
        (f"items >= {rules.min_item_events}", _of_items(log, rules.min_item_events)),
        (f"sessions >= {rules.min_session_events}", _of_sessions(log, rules.min_session_events)),
        (f"users >= {rules.min_user_sessions}", _of_users(log, rules.min_user_sessions)),
    )
    counts = [_counted(log, "window", event)]
    while True:
        before = len(event)
        for name, kept_by in steps:
            event = kept_by(event)
            counts.append(_counted(log, name, event))
        if rules.support_passes == "single" or len(event) == before:
            return event, tuple(counts)


def _of_items(log: FlatLog, least: int) -> Callable[[Ints], Ints]:
    def kept(event: Ints) -> Ints:
        item = log.item[event]
        return event[np.bincount(item, minlength=1)[item] >= least]

    return kept


def _of_sessions(log: FlatLog, least: int) -> Callable[[Ints], Ints]:
    def kept(event: Ints) -> Ints:
        session = log.session[event]
        return event[np.bincount(session, minlength=1)[session] >= least]

    return kept


def _of_users(log: FlatLog, least: int) -> Callable[[Ints], Ints]:
    def kept(event: Ints) -> Ints:
        alive = np.flatnonzero(np.bincount(log.session[event], minlength=1))
        sessions = np.bincount(log.session_user[alive], minlength=len(log.user_ids))
        return event[sessions[log.user[event]] >= least]

    return kept


def _counted(log: FlatLog, step: str, event: Ints) -> StepCounts:
    def distinct(codes: Ints) -> int:
        return int(np.count_nonzero(np.bincount(codes[event], minlength=1)))

    return StepCounts(
        step=step,
        events=len(event),
        items=distinct(log.item),
        users=distinct(log.user),
        sessions=distinct(log.session),
    )
