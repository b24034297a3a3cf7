"""What a network must remember beside its weights to read other data sets, and how it is kept.

The codes of event types, context and metadata mean something only together with their names; both
travel as one tensor of JSON text, so that a model stays a set of named tensors.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from training.data.reader import ContextField, DataSet, Features
from training.nn.network import NetShape
from training.nn.step_inputs import EventCodes, SessionRule, ValueScale
from training.nn.tables.item_embedding import FeatureShape

_MISSING = -1


@dataclass(frozen=True)
class InputEncoding:
    """Rules, codes and names of the data set a network was trained on."""

    rule: SessionRule
    terms: EventCodes
    scale: ValueScale
    item_tokens: tuple[str, ...] | None
    item_numbers: tuple[str, ...] | None
    user_tokens: tuple[str, ...] | None
    user_numbers: tuple[str, ...] | None

    @classmethod
    def of(
        cls, data: DataSet, *, forgets: bool, context: bool, items: bool, users: bool
    ) -> InputEncoding:
        """What is to be remembered of a data set, of what the network reads."""
        manifest, histories = data.manifest, data.histories
        item = data.item_features if items else None
        user = data.user_features if users else None
        return cls(
            SessionRule(manifest.gap_s, manifest.dwell.width_s, manifest.dwell.bins, forgets),
            EventCodes(histories.event_types, histories.context_fields if context else ()),
            ValueScale.of(histories.value),
            None if item is None else tuple(item.token_names),
            None if item is None else tuple(item.number_names),
            None if user is None else tuple(user.token_names),
            None if user is None else tuple(user.number_names),
        )

    def shape(self, n_items: int) -> NetShape:
        """Sizes of a network with this memory."""

        def sizes(
            tokens: tuple[str, ...] | None, numbers: tuple[str, ...] | None
        ) -> FeatureShape | None:
            if tokens is None or numbers is None:
                return None
            return FeatureShape.of(tokens, numbers)

        return NetShape(
            n_items=n_items,
            dwell_bins=self.rule.dwell_bins,
            n_event_types=len(self.terms.event_types),
            context_sizes=tuple(len(field.values) for field in self.terms.context_fields),
            items=sizes(self.item_tokens, self.item_numbers),
            users=sizes(self.user_tokens, self.user_numbers),
        )

    def measured_as(self, before: InputEncoding) -> InputEncoding:
        """This memory with the bins and the scale of a model that is continued.

        Its rows of dwell bins and its use of values mean what they meant when they were learned.
        """
        rule = dataclasses.replace(
            self.rule, dwell_width_s=before.rule.dwell_width_s, dwell_bins=before.rule.dwell_bins
        )
        return dataclasses.replace(self, rule=rule, scale=before.scale)

    def read_users(self, features: Features | None) -> Features | None:
        """Features of users in this memory's tokens and numbers; unknown ones are left out."""
        if features is None or self.user_tokens is None or self.user_numbers is None:
            return None
        return renamed(features, self.user_tokens, self.user_numbers)

    def to_array(self) -> NDArray[np.uint8]:
        """As bytes of JSON."""
        text = json.dumps(asdict(self), default=ContextField.model_dump, sort_keys=True)
        return np.frombuffer(text.encode(), np.uint8)

    @classmethod
    def from_array(cls, content: NDArray[np.uint8]) -> InputEncoding:
        """What `to_array` gave."""
        document = json.loads(content.tobytes())

        def names(key: str) -> tuple[str, ...] | None:
            return None if document[key] is None else tuple(document[key])

        fields = [
            ContextField(name=field["name"], values=tuple(field["values"]))
            for field in document["terms"]["context_fields"]
        ]
        return cls(
            SessionRule(**document["rule"]),
            EventCodes(tuple(document["terms"]["event_types"]), tuple(fields)),
            ValueScale(**document["scale"]),
            names("item_tokens"),
            names("item_numbers"),
            names("user_tokens"),
            names("user_numbers"),
        )


def renamed(features: Features, tokens: tuple[str, ...], numbers: tuple[str, ...]) -> Features:
    """The same rows, told in other tokens and numbers; those without a place there are left out."""
    if tuple(features.token_names) == tokens and tuple(features.number_names) == numbers:
        return features
    code_of = {name: at for at, name in enumerate(tokens)}
    codes = np.array([code_of.get(name, _MISSING) for name in features.token_names], np.int32)
    token = codes[features.token] if len(codes) else features.token
    stays = token != _MISSING
    n_before = np.concatenate([[0], np.cumsum(stays)])
    columns = np.zeros((len(features.offsets) - 1, len(numbers)), np.float32)
    theirs = {name: at for at, name in enumerate(features.number_names)}
    for at, name in enumerate(numbers):
        if name in theirs:
            columns[:, at] = features.numbers[:, theirs[name]]
    return Features(
        offsets=n_before[features.offsets].astype(np.int64),
        token=token[stays],
        token_names=np.array(tokens, np.object_),
        numbers=columns,
        number_names=np.array(numbers, np.object_),
        weight=None if features.weight is None else features.weight[stays],
    )
