"""The terms of a cut: which number stands for which item, event type, context value or feature.

As in `pipeline.dataset.encoding`, they are fitted on the window, and only ever append to those of
the cut that is extended.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.dataset.features import Encoder, Metadata, encode, fit_encoder
from pipeline.dataset.manifest import ContextField, NumberScale
from pipeline.settings.settings import DatasetSettings
from training.data.event_log import FlatLog, Ints
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
