"""Histories of some users only, for systems that look at all that they are handed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.data.arrays import ranges
from training.data.reader import Features, Histories, Requests

Ints = NDArray[np.int64]


def of_users(histories: Histories, requests: Requests) -> tuple[Histories, Requests]:
    """Only the histories of the users that ask, and the requests as questions to them.

    A system may look at all histories that it is handed, however few requests there are.
    """
    users, row = np.unique(requests.user, return_inverse=True)
    if len(users) == len(histories.user_ids):
        return histories, requests
    _, event = ranges(histories.offsets[users], histories.lengths[users])
    offsets = np.concatenate([[0], np.cumsum(histories.lengths[users])])
    features = histories.user_features
    part = Histories(
        histories.user_ids[users],
        offsets,
        histories.n_context[users],
        np.asarray(histories.item[event]),
        np.asarray(histories.time_us[event]),
        np.asarray(histories.session_start[event]),
        np.asarray(histories.dwell_s[event]),
        np.asarray(histories.dwell_bin[event]),
        np.asarray(histories.event_type[event]),
        np.asarray(histories.value[event]),
        np.asarray(histories.context[event]),
        event_types=histories.event_types,
        context_fields=histories.context_fields,
        user_features=None if features is None else _features_of(features, users),
    )
    asked = Requests(
        row.astype(np.int64), requests.length, requests.now_us, requests.context, requests.starts
    )
    return part, asked


def _features_of(features: Features, rows: Ints) -> Features:
    lengths = np.diff(features.offsets)[rows]
    _, token = ranges(features.offsets[rows], lengths)
    return Features(
        np.concatenate([[0], np.cumsum(lengths)]),
        features.token[token],
        features.token_names,
        features.numbers[rows],
        features.number_names,
    )
