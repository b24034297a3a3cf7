"""Turns flat histories into the index arrays that systems learn from and score with."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pipeline.array_types import Bools, Ints
from training.data.reader import Features, Histories, Requests


def ranges(starts: Ints, lengths: Ints) -> tuple[Ints, Ints]:
    """Concatenate ``range(starts[i], starts[i] + lengths[i])`` over all i.

    Returns the row i of each entry and the entry, both (sum of lengths,).
    """
    row = np.repeat(np.arange(len(starts), dtype=np.int64), lengths)
    before = np.cumsum(lengths) - lengths
    within = np.arange(len(row), dtype=np.int64) - np.repeat(before, lengths)
    return row, np.repeat(starts, lengths) + within


def distinct(values: Ints) -> Ints:
    """Each of some whole numbers (N,) once, ascending.

    `numpy.unique` alone keeps them in a hash table, which for millions takes twenty times as long.
    """
    ordered = np.sort(values)
    is_first = np.ones(len(ordered), np.bool_)
    is_first[1:] = ordered[1:] != ordered[:-1]
    return ordered[is_first]


def known_events(
    histories: Histories, requests: Requests, most: int | None = None
) -> tuple[Ints, Ints]:
    """The events each request may use, oldest first; at most the ``most`` latest of each.

    Returns the request row and the flat event position, both (number of pairs,).
    """
    lengths = requests.length if most is None else np.minimum(requests.length, most)
    stops = histories.offsets[requests.user] + requests.length
    return ranges(stops - lengths, lengths)


def latest_before(time_us: Ints, before_us: int | None, most: int) -> Bools:
    """Which events (N,) came before a time; the ``most`` latest of them, and ties with those."""
    is_chosen = np.ones(len(time_us), np.bool_) if before_us is None else time_us < before_us
    if is_chosen.sum() > most:
        excess = is_chosen.sum() - most
        is_chosen &= time_us >= np.partition(time_us[is_chosen], excess)[excess]
    return is_chosen


def session_of_event(histories: Histories) -> Ints:
    """Number of each event's session over all users, (N,); a first event always starts one."""
    starts = histories.session_start.copy()
    starts[histories.offsets[:-1][histories.lengths > 0]] = True
    return np.cumsum(starts, dtype=np.int64) - 1


def scoring_batches(lengths: Ints, batch_events: int) -> Iterator[Ints]:
    """Group rows of similar length so that a padded batch holds about ``batch_events`` cells.

    Each row comes exactly once, always in the same order.
    """
    order = np.argsort(lengths, kind="stable")
    for first, stop in length_groups(lengths[order], batch_events):
        yield order[first:stop]


def length_groups(ascending: Ints, batch_events: int) -> Iterator[tuple[int, int]]:
    """First and stop of groups that hold about ``batch_events`` cells once they are padded.

    The longest rows come first; ``ascending`` (n,) are the lengths of the rows.
    """
    stop = len(ascending)
    while stop > 0:
        rows = max(1, batch_events // max(1, int(ascending[stop - 1])))
        first = max(0, stop - rows)
        yield first, stop
        stop = first


def padded(starts: Ints, lengths: Ints) -> tuple[Ints, Bools]:
    """Positions ``starts[i] + t`` as a rectangle (B, T), and which of its cells are real.

    Cells past a row's length repeat its last position, so that they can always be looked up.
    """
    longest = int(lengths.max()) if len(lengths) else 0
    step = np.arange(longest, dtype=np.int64)[None, :]  # (1, T)
    real = step < lengths[:, None]  # (B, T)
    cells: Ints = starts[:, None] + np.minimum(step, np.maximum(lengths[:, None] - 1, 0))
    return cells, real


# Histories of some users only, for systems that look at all that they are handed.


def select_users(histories: Histories, requests: Requests) -> tuple[Histories, Requests]:
    """Only the histories of the users that ask, and the requests as questions to them.

    A system may look at all histories that it is handed, however few requests there are.
    """
    users, row = np.unique(requests.user, return_inverse=True)
    if len(users) == len(histories.user_ids):
        return histories, requests
    _, event = ranges(histories.offsets[users], histories.lengths[users])
    offsets = np.concatenate([[0], np.cumsum(histories.lengths[users])])
    features = histories.user_features
    own_histories = Histories(
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
    own_requests = Requests(
        row.astype(np.int64), requests.length, requests.now_us, requests.context, requests.starts
    )
    return own_histories, own_requests


def _features_of(features: Features, rows: Ints) -> Features:
    lengths = np.diff(features.offsets)[rows]
    _, token = ranges(features.offsets[rows], lengths)
    return Features(
        np.concatenate([[0], np.cumsum(lengths)]),
        features.token[token],
        features.token_names,
        features.numbers[rows],
        features.number_names,
        None if features.weight is None else features.weight[token],
    )
