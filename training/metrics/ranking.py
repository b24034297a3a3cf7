"""Ranking the events of a frozen test set: the same questions for every model.

Shapes: ``N`` events, ``U`` users, ``V`` items, ``n`` targets.  Each event past a user's context
is a target; its request knows the user's events before it, the time at which it happened, and the
context in which it did.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pipeline.array_types import Bools, Floats32, Ints, Ints32, Objects
from pipeline.errors import HourglassError
from pipeline.hours import US_PER_HOUR
from pipeline.settings.learning import EvaluationSettings
from training.data.reader import DataSet, Histories, Requests
from training.metrics.ranks import Ranks, rule_key
from training.metrics.vocabulary_alignment import (
    index_of,
    is_identity,
    reencode,
    reencode_requests,
    reorder_columns,
    sessions,
)

MAX_FLOATS = 1 << 24  # 64 MiB of scores in memory at a time


class Scorer(Protocol):
    """All that ranking asks of a system."""

    def score(self, histories: Histories, requests: Requests) -> Floats32:
        """Scores of (n, V), column j for item j + 1."""
        ...


@dataclass(frozen=True)
class Targets:
    """The questions of a frozen part and their answers, ordered by position."""

    requests: Requests
    position: Ints  # (n,) flat event position
    session: Ints  # (n,)
    item: Ints32  # (n,) 1-based

    def take(self, rows: Ints) -> Targets:
        """The targets of those rows, which are in order."""
        return Targets(
            self.requests.take(rows), self.position[rows], self.session[rows], self.item[rows]
        )


def find_targets(histories: Histories, rule: EvaluationSettings) -> Targets:
    """The targets of a frozen part under a rule.

    ``repeats: drop`` leaves out an event on the very item of the user's event before it;
    ``targets: within_session`` leaves out the first event of each session.  ``max_users`` leaves
    out all targets of users who are not drawn.
    """
    user = histories.user_of_event  # (N,)
    index = np.arange(user.size) - histories.offsets[user]  # (N,) place within the user
    wanted = histories.is_target
    if rule.repeats == "drop":
        repeat = np.zeros(wanted.shape[0], dtype=bool)
        repeat[1:] = histories.item[1:] == histories.item[:-1]
        wanted &= ~(repeat & (index > 0))
    if rule.targets == "within_session":
        wanted &= ~histories.session_start
    position = np.flatnonzero(wanted)
    if rule.max_users is not None:
        position = position[is_drawn(histories, position, rule.max_users)]
    return Targets(
        requests=Requests(
            user=user[position],
            length=index[position],
            now_us=histories.time_us[position],
            # Whoever asks for recommendations tells the device, country ... it asks from.
            context=histories.context[position],
            starts=histories.session_start[position],
        ),
        position=position,
        session=sessions(histories)[position],
        item=histories.item[position],
    )


def is_drawn(histories: Histories, position: Ints, max_users: int) -> Bools:
    """Whether each target (n,) is of one of the ``max_users`` users who are drawn to be asked.

    They are those with the smallest digests of their ids and of the hour in which the first target
    lies: the same for all models, and others in the next hour.

    Args:
        histories: of the frozen part.
        position: (n,) flat event position of each target.
        max_users: how many at most.
    """
    user, row = np.unique(histories.user_of_event[position], return_inverse=True)
    if user.size <= max_users:
        return np.ones(position.size, np.bool_)
    hour = int(histories.time_us[position].min()) // US_PER_HOUR
    digests = [
        hashlib.blake2b(f"{hour} {name}".encode(), digest_size=8).digest()
        for name in histories.user_ids[user]
    ]
    drawn = np.zeros(user.size, np.bool_)
    drawn[np.argsort(np.frombuffer(b"".join(digests), ">u8"), kind="stable")[:max_users]] = True
    return drawn[row]


def blocks(user: Ints, max_rows: int) -> Iterator[slice]:
    """Cut rows, sorted by user, into blocks of at most ``max_rows``.

    A user is cut only where one alone has more rows than that, because systems reuse what they
    computed for a user's shorter history.
    """
    ends = np.append(np.flatnonzero(np.diff(user)) + 1, user.size)  # one past each user's rows
    first = 0
    while first < user.size:
        stop = first + max_rows
        if stop < user.size:
            whole = ends[np.searchsorted(ends, stop, side="right") - 1]
            stop = int(whole) if first < whole <= stop else stop
        yield slice(first, min(stop, user.size))
        first = stop


def rank_of_target(scores: Floats32, item: Ints32) -> Ints32:
    """Rank of each row's target, ties against the model: items that score at least as high.

    Args:
        scores: (n, V); minus infinity marks an item the model cannot recommend.
        item: (n,) 1-based targets.
    """
    target = scores[np.arange(item.shape[0]), item - 1]  # (n,)
    rank: Ints32 = (scores >= target[:, None]).sum(axis=1, dtype=np.int32)
    return rank


def rank_targets(
    model: Scorer,
    test_set: DataSet,
    rule: EvaluationSettings,
    *,
    model_id: str,
    item_ids: Objects,
    max_floats: int = MAX_FLOATS,
    progress: Callable[[int, int], None] | None = None,
    card_sha256: str | None = None,
    look: Callable[[slice, Floats32], None] | None = None,
    targets: Targets | None = None,
) -> Ranks:
    """Ask a model for every target of a frozen part.

    A model with another vocabulary is asked in its own item numbers; events on items it does not
    know are left out of what it sees, and such items rank last.

    Args:
        model: a fitted system.
        test_set: the test set.
        rule: which events are targets.
        model_id: goes into the ranks and the error messages.
        item_ids: (W,) the model's own vocabulary.
        max_floats: bound on the scores held at a time.
        progress: called with (targets done, targets in all) after each block.
        card_sha256: of the artefact, goes into the ranks.
        look: called with the rows of each block and their scores, as they are ranked.
        targets: what is asked, sorted by the users of the requests; default: what the rule says
            of the test set.

    Raises:
        HourglassError: a score is not finite, or the scores do not cover the model's vocabulary.
    """
    targets = targets or find_targets(test_set.histories, rule)
    n = targets.item.shape[0]
    columns = index_of(test_set.item_ids, item_ids)
    histories, requests = test_set.histories, targets.requests
    if not is_identity(columns, item_ids.size):
        histories, events_before = reencode(test_set.histories, columns)
        requests = reencode_requests(requests, test_set.histories.offsets, events_before)
    width = max(columns.size, item_ids.size)
    rank = np.empty(n, dtype=np.int32)
    for rows in blocks(requests.user, max(1, max_floats // width)):
        scores = model.score(histories, requests.take(rows))
        check_scores(scores, targets.position[rows], model_id)
        scores = reorder_columns(scores, columns, item_ids.size)
        if rule.repeats == "drop":
            mask_last_item(scores, test_set.histories, targets.requests.take(rows))
        rank[rows] = rank_of_target(scores, targets.item[rows])
        if look is not None:
            look(rows, scores)
        if progress is not None:
            progress(rows.stop, n)
    return Ranks(
        model_id=model_id,
        frozen_id=test_set.manifest.dataset_id,
        rule=rule_key(rule),
        user=targets.requests.user.astype(np.int32),
        position=targets.position,
        session=targets.session,
        time_us=targets.requests.now_us,
        item=targets.item,
        rank=rank,
        card_sha256=card_sha256,
    )


def mask_last_item(scores: Floats32, histories: Histories, requests: Requests) -> None:
    """Rank the item a user has just seen last, in place, for every system alike.

    Where repeats are no targets, a system that offers one would waste a place that others use.
    """
    (with_history,) = np.nonzero(requests.length > 0)
    last = histories.offsets[requests.user[with_history]] + requests.length[with_history] - 1
    scores[with_history, histories.item[last] - 1] = -np.inf


def check_scores(scores: Floats32, position: Ints, model_id: str) -> None:
    """Refuse scores (n, V) that are not finite, or that do not answer the targets (n,).

    Raises:
        HourglassError: naming the first target that got such a score.
    """
    if scores.ndim != 2 or scores.shape[0] != position.size:  # noqa: PLR2004 - a matrix
        raise HourglassError(
            f"{model_id}: scores of shape {scores.shape} do not answer {position.size} requests: "
            "train it again"
        )
    bad = ~np.isfinite(scores).all(axis=1)
    if bad.any():
        raise HourglassError(
            f"{model_id}: {int(bad.sum())} of {position.size} requests got a score that is not "
            f"finite, first at target {int(position[bad.argmax()])}: train it again"
        )
