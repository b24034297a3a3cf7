"""Scoring a model on a vocabulary it was not trained on.

A champion may be older than the frozen events it is judged on.  Its histories are translated into
its own item numbers, its scores back into the frozen vocabulary.  Shapes: ``n`` requests, ``V``
items of the frozen vocabulary, ``W`` items of the model's.
"""

from __future__ import annotations

import numpy as np

from pipeline.array_types import Floats32, Ints, Objects
from pipeline.errors import HourglassError
from pipeline.text.wording import counted
from training.data.reader import Histories, Popularity, Requests


def index_of(wanted: Objects, vocabulary: Objects) -> Ints:
    """Where each wanted item id stands in a vocabulary, 0-based; -1 where it is unknown.

    Raises:
        HourglassError: an id occurs twice in the vocabulary.
    """
    import pandas as pd

    if wanted.shape == vocabulary.shape and bool((wanted == vocabulary).all()):
        return np.arange(wanted.shape[0], dtype=np.int64)
    index = pd.Index(vocabulary)
    if not index.is_unique:
        twice = index[index.duplicated()][0]
        raise HourglassError(f"item {twice!r} occurs twice in a vocabulary: freeze it again")
    return np.asarray(index.get_indexer(pd.Index(wanted)), dtype=np.int64)


def reorder_columns(scores: Floats32, columns: Ints, n_model_items: int) -> Floats32:
    """Rearrange (n, W) scores of a model's items as (n, V) scores of the frozen items.

    Items that the model does not know score minus infinity, hence rank below all it knows; items
    that only the model knows are dropped.  ``columns`` are what :func:`index_of` found.

    Raises:
        HourglassError: the scores do not have ``n_model_items`` columns.
    """
    if scores.ndim != 2 or scores.shape[1] != n_model_items:  # noqa: PLR2004 - a matrix
        raise HourglassError(
            f"scores of shape {scores.shape} do not cover a vocabulary of "
            f"{counted(n_model_items, 'item')}: the model and its vocabulary do not belong together"
        )
    if is_identity(columns, n_model_items):
        return scores
    # Not by indexing, which goes through the array item by item.
    aligned = scores.take(np.maximum(columns, 0), axis=1)
    aligned[:, columns < 0] = -np.inf
    return aligned


def is_identity(columns: Ints, n_model_items: int) -> bool:
    """Whether two vocabularies are the same, item by item."""
    return columns.size == n_model_items and bool((columns == np.arange(columns.size)).all())


def sessions(histories: Histories) -> Ints:
    """(N,) ordinal of each event's session, counted over all users.

    A history whose beginning was cut off starts a session without ``session_start``.
    """
    first = np.zeros(histories.item.shape[0], dtype=bool)
    first[histories.offsets[:-1][np.diff(histories.offsets) > 0]] = True
    return np.cumsum(histories.session_start | first) - 1


def reencode(histories: Histories, columns: Ints) -> tuple[Histories, Ints]:
    """Express histories in a model's own item numbers, leaving out events on unknown items.

    The first event that is left of a session starts it if the session's true first event did.

    Args:
        histories: N events on frozen items.
        columns: (V,) 0-based place of each frozen item in the model's vocabulary, or -1.

    Returns:
        The histories, and ``kept_events`` (N + 1,): how many of the events before each flat
        position remain; a request for ``[a, b)`` becomes one for ``[kept[a], kept[b])``.
    """
    renumbered = columns[histories.item - 1] + 1  # (N,) 0 = unknown
    in_vocabulary = renumbered > 0
    events_before = np.concatenate([[0], np.cumsum(in_vocabulary)]).astype(np.int64)

    session = sessions(histories)
    _, first = np.unique(session, return_index=True)
    truly_started = histories.session_start[first]  # (sessions,)
    session = session[in_vocabulary]
    leads = np.ones(session.shape[0], dtype=bool)
    leads[1:] = session[1:] != session[:-1]

    starts = histories.offsets[:-1]
    return (
        Histories(
            user_ids=histories.user_ids,
            offsets=events_before[histories.offsets],
            n_context=(events_before[starts + histories.n_context] - events_before[starts]).astype(
                np.int32
            ),
            item=renumbered[in_vocabulary].astype(np.int32),
            time_us=histories.time_us[in_vocabulary],
            session_start=leads & truly_started[session],
            dwell_s=histories.dwell_s[in_vocabulary],
            dwell_bin=histories.dwell_bin[in_vocabulary],
            event_type=histories.event_type[in_vocabulary],
            value=histories.value[in_vocabulary],
            context=histories.context[in_vocabulary],
            event_types=histories.event_types,
            context_fields=histories.context_fields,
            user_features=histories.user_features,
        ),
        events_before,
    )


def reencode_requests(requests: Requests, offsets: Ints, kept_events: Ints) -> Requests:
    """The same requests, counting only the events that :func:`reencode` kept.

    Args:
        requests: n requests on the original histories.
        offsets: (U + 1,) of the original histories.
        kept_events: (N + 1,) from :func:`reencode`.
    """
    start = offsets[requests.user]
    return Requests(
        user=requests.user,
        length=kept_events[start + requests.length] - kept_events[start],
        now_us=requests.now_us,
        context=requests.context,
        starts=requests.starts,
    )


def reencode_popularity(popularity: Popularity, columns: Ints) -> Popularity:
    """Hourly counts in a model's own item numbers, for renewing an older model's popularity.

    Args:
        popularity: counts of frozen items.
        columns: (V,) 0-based place of each frozen item in the model's vocabulary, or -1.
    """
    renumbered = columns[popularity.item - 1] + 1  # (P,) 0 = unknown
    in_vocabulary = renumbered > 0
    return Popularity(
        item=renumbered[in_vocabulary].astype(np.int32),
        hour_index=popularity.hour_index[in_vocabulary],
        events=popularity.events[in_vocabulary],
    )
