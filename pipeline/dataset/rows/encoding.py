"""The encoding of a data set: which number stands for which item, event type, context value.

All of it is fitted on the window and only ever appends to that of a data set that is extended.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.array_types import Floats, Ints, Ints32, Objects
from pipeline.dataset.features import Encoder
from pipeline.dataset.inputs import Frame
from pipeline.dataset.manifest import ContextField, DwellBins
from pipeline.dataset.rows.event_log import FlatLog, start_us
from pipeline.sessions.dwell import merged, moments_of_us
from pipeline.settings.tables import DatasetSettings

VOCABULARY = pa.schema(
    [
        pa.field("item", pa.int32()),
        pa.field("item_id", pa.string()),
        pa.field("events", pa.int64()),
    ]
)


@dataclass(frozen=True)
class Encoding:
    """What later data sets take over; ``encoders`` by ``item`` and ``user``, where there are."""

    items: Ints = field(default_factory=lambda: np.empty(0, np.int64))  # (V,) codes of the log
    event_types: tuple[str, ...] = ()
    context_fields: tuple[ContextField, ...] = ()
    encoders: Mapping[str, Encoder] = field(default_factory=dict)

    def to_json(self, log: FlatLog) -> dict[str, Any]:
        """As plain values that do not depend on the log's codes."""
        return {
            "items": log.item_ids[self.items].tolist(),
            "event_types": list(self.event_types),
            "context_fields": [coded.model_dump(mode="json") for coded in self.context_fields],
            "encoders": {
                of: {"tokens": list(encoder.tokens), "scales": list(encoder.scales)}
                for of, encoder in self.encoders.items()
            },
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any], log: FlatLog) -> Encoding:
        """What `to_json` gave, for the same log."""
        encoders = content["encoders"].items()
        return cls(
            log.codes_of(content["items"]),
            tuple(content["event_types"]),
            tuple(ContextField(**values) for values in content["context_fields"]),
            {of: Encoder(encoder["tokens"], encoder["scales"]) for of, encoder in encoders},
        )


def extended_vocabulary(events: Ints, former: Ints, cold: Ints) -> tuple[Ints, Ints]:
    """Items (V,) as codes, and their events.

    First those of ``former``, then the new ones, most frequent first, then ``cold`` ones, which may
    join without an event.

    Args:
        events: to learn from, of each item by code.
        former: codes of the vocabulary that is extended.
        cold: codes.
    """
    fresh = events > 0
    fresh[former] = False
    new = np.flatnonzero(fresh)
    new = new[np.lexsort((new, -events[new]))]
    without = np.zeros(len(events), np.bool_)
    without[cold] = True
    without[former] = False
    without &= events == 0
    items = np.concatenate([former, new, np.flatnonzero(without)]).astype(np.int64)
    return items, events[items]


def vocabulary_table(item_ids: Objects, events: Ints) -> pa.Table:
    """Rows of ``vocabulary.parquet``: items are numbered from 1."""
    return pa.Table.from_arrays(
        [
            pa.array(np.arange(1, len(item_ids) + 1), pa.int32()),
            pa.array(item_ids, pa.string()),
            pa.array(events, pa.int64()),
        ],
        schema=VOCABULARY,
    )


def extended_event_types(occurring: Sequence[str], former: Sequence[str]) -> tuple[str, ...]:
    """The former types, in their order, then those that are met for the first time."""
    return (*former, *sorted(set(occurring).difference(former)))


def event_types(log: FlatLog, event: Ints, former: Sequence[str]) -> tuple[str, ...]:
    """The types of some events, after the former ones."""
    occurring = np.unique(log.kind[event])
    return extended_event_types([log.kinds[code] for code in occurring], former)


def extended_context_fields(
    rules: DatasetSettings,
    names: Sequence[str],
    ranked: Sequence[Sequence[str]],
    former: Sequence[ContextField],
) -> tuple[ContextField, ...]:
    """Each field with the former values, then its others, most frequent first.

    A value past ``dataset.max_context_values`` gets no code.
    """
    former_values = {coded.name: coded.values for coded in former}
    fields = []
    for name, values in zip(names, ranked, strict=True):
        old = former_values.get(name, ())
        coded = set(old)
        room = max(0, rules.max_context_values - len(old))
        new = [value for value in values if value not in coded][:room]
        fields.append(ContextField(name=name, values=(*old, *new)))
    return tuple(fields)


def context_fields(
    log: FlatLog, remaining: Ints, rules: DatasetSettings, former: Sequence[ContextField]
) -> tuple[ContextField, ...]:
    """Values of each context field among the ``remaining`` events, after the former ones."""
    ranked = []
    for column, values in enumerate(log.context_values):
        code = log.context[remaining, column]
        events = np.bincount(code[code >= 0], minlength=len(values))
        occurring = np.flatnonzero(events)
        ranked.append(values[occurring[np.lexsort((occurring, -events[occurring]))]].tolist())
    return extended_context_fields(rules, log.context_names, ranked, former)


def context_codes(log: FlatLog, event: Ints, fields: Sequence[ContextField]) -> Ints32:
    """Code of each context field of the events, (n, C); 0 = unknown."""
    codes = np.zeros((len(event), len(fields)), np.int32)
    for column, coded_field in enumerate(fields):
        of_log = log.context_names.index(coded_field.name)
        number = {value: code for code, value in enumerate(coded_field.values, start=1)}
        coded = [number.get(value, 0) for value in log.context_values[of_log]]
        # The code -1 of no value is the last: unknown.
        codes[:, column] = np.array([*coded, 0], np.int32)[log.context[event, of_log]]
    return codes


# Dwell bins: Scott's, of sessions that closed in the window, and of those that stand open.


def fitted_dwell_bins(
    hours: Sequence[Mapping[str, Any]], open_us: Ints, rules: DatasetSettings
) -> DwellBins:
    """Scott's bins of the dwell times (ASARS eq. 8).

    Args:
        hours: rows of ``dwell_hours`` of the window, by hour.
        open_us: dwell times in sessions that stand open at its end.
        rules: how many bins there are.
    """
    still_open = [moments_of_us(open_us)] if len(open_us) else []
    moments = merged([*hours, *still_open])
    return DwellBins(
        n=moments.n,
        mean_s=moments.mean_s,
        m2_s2=moments.m2_s2,
        width_s=moments.scott_width_s,
        bins=rules.max_dwell_bins,
    )


def dwell_bins(log: FlatLog, rules: DatasetSettings, frame: Frame) -> DwellBins:
    """The bins of a frame's window."""
    stop_us = start_us(frame.as_of)
    first, stop = (
        bisect_left(log.dwell_hours, hour.start, key=itemgetter("hour"))
        for hour in (frame.window_start, frame.as_of)
    )
    still_open = (log.closes >= frame.as_of.index) & (log.told_us < stop_us) & ~log.is_robot
    open_us = log.dwell_us[still_open]
    return fitted_dwell_bins(log.dwell_hours[first:stop], open_us, rules)


def bins_of(dwell_s: Floats, dwell: DwellBins) -> NDArray[np.int16]:
    """The bin of each dwell time (n,); 0 where it is not known."""
    if dwell.width_s <= 0:
        return np.zeros(len(dwell_s), np.int16)
    bins = np.floor(np.minimum(dwell_s / dwell.width_s, dwell.bins - 1)) + 1
    coded: NDArray[np.int16] = np.nan_to_num(bins).astype(np.int16)
    return coded
