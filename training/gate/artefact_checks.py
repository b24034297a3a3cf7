"""Whether an artefact may be judged at all: it loads, belongs to its vocabulary, sees no future.

It must also tell users apart.  Nothing here looks at quality.  Shapes: ``n`` probe requests,
``V`` items.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.array_types import Floats32, Objects
from pipeline.errors import one_line
from pipeline.hours import US_PER_HOUR, Hour
from pipeline.settings.learning import EvaluationSettings
from pipeline.text.wording import counted, verb
from training.data.arrays import ranges
from training.data.reader import DataSet, Histories, Requests, sha256_of
from training.metrics.ranking import Scorer, find_targets
from training.metrics.vocabulary_alignment import (
    index_of,
    is_identity,
    reencode,
    reencode_requests,
)
from training.registry.model_card import CARD_NAME

PROBES = 64  # requests at most, of different users
_FEWEST = 5


class Card(Protocol):
    """The fields of a model card that judging needs."""

    @property
    def model_id(self) -> str: ...  # noqa: D102

    @property
    def system(self) -> str: ...  # noqa: D102

    @property
    def dataset_id(self) -> str: ...  # noqa: D102

    @property
    def as_of(self) -> Hour | str: ...  # noqa: D102


class Loaded(Protocol):
    """What the loader of artefacts hands back."""

    @property
    def model(self) -> Scorer: ...  # noqa: D102

    @property
    def card(self) -> Card: ...  # noqa: D102

    @property
    def item_ids(self) -> Objects: ...  # noqa: D102


@dataclass(frozen=True)
class ArtefactProblem:
    """Why an artefact may not go live: a stable code and one sentence."""

    code: str
    sentence: str


@dataclass(frozen=True)
class ArtefactReport:
    """The result of examining one artefact."""

    model_id: str
    defects: tuple[ArtefactProblem, ...]
    card_sha256: str | None  # of model.json, which itself holds the checksums of the other files
    probes: int

    @property
    def is_sound(self) -> bool:
        """Whether nothing was found."""
        return not self.defects


def check_artefact(
    folder: Path,
    test_set: DataSet,
    rule: EvaluationSettings,
    load: Callable[[Path], Loaded],
    *,
    seed: int,
    learned: DataSet | None = None,
) -> ArtefactReport:
    """Load an artefact and probe it on a few requests of the frozen part.

    Codes of defects: ``not_loadable`` (missing, damaged, truncated or non-finite weights),
    ``wrong_model`` (the card names another model), ``vocabulary_mismatch`` (trained on this very
    data set, yet with other items or in another order), ``card_contradicts_data`` (its card tells
    another time than its data set), ``trained_on_the_future`` (its data set holds test events),
    ``scores_incomplete``, ``scores_not_finite``, ``scores_failed`` (any error while scoring),
    ``sees_the_future`` (scores change when only events after the request change),
    ``not_deterministic`` (scores change though nothing does), ``not_personal`` (whoever asks
    within an hour gets the same list: popularity alone).

    Args:
        folder: ``<models>/<model_id>``.
        test_set: the test set.
        rule: which events are targets.
        load: the loader of artefacts, ``training.registry.artefact.load_model``.
        seed: chooses the probed requests and the scrambled future.
        learned: the data set that the frozen part follows, if it is to be held against the card.
    """
    model_id = folder.name
    card = folder / CARD_NAME
    card_sha256 = sha256_of(card) if card.is_file() else None

    def report_of(*defects: ArtefactProblem) -> ArtefactReport:
        return ArtefactReport(model_id, defects, card_sha256, PROBES)

    try:
        model = load(folder)
    except Exception as error:  # whatever fails to load must not go live
        return report_of(
            ArtefactProblem("not_loadable", f"{model_id} cannot be loaded: {one_line(error)}")
        )
    if model.card.model_id != model_id:
        return report_of(
            ArtefactProblem("wrong_model", f"{folder} holds the model {model.card.model_id}")
        )
    if defect := _contradicting(model, test_set, learned):
        return report_of(defect)
    try:
        return report_of(*_probe(model, test_set, rule, seed))
    except Exception as error:  # whatever fails to score must not go live
        return report_of(
            ArtefactProblem("scores_failed", f"{model_id} cannot score: {one_line(error)}")
        )


def _contradicting(
    model: Loaded, test_set: DataSet, learned: DataSet | None
) -> ArtefactProblem | None:
    """What a card says that its data set, if that is the one at hand, does not."""
    card = model.card
    if card.dataset_id != test_set.manifest.base_dataset_id:
        return None
    for data in (test_set, learned):
        if data is not None and not np.array_equal(model.item_ids, data.item_ids):
            return ArtefactProblem(
                "vocabulary_mismatch",
                f"{card.model_id} was trained on {card.dataset_id} but its "
                f"{counted(model.item_ids.size, 'item')} {verb(model.item_ids.size, 'is', 'are')} "
                f"not that data set's {data.item_ids.size}, in that order",
            )
    if learned is None:
        return None
    if str(card.as_of) != str(learned.manifest.as_of):
        return ArtefactProblem(
            "card_contradicts_data",
            f"the card of {card.model_id} says {card.as_of}, its data set {card.dataset_id} is as "
            f"of {learned.manifest.as_of}",
        )
    begins_us = test_set.manifest.window_start.index * US_PER_HOUR
    if learned.histories.time_us.size and int(learned.histories.time_us.max()) >= begins_us:
        return ArtefactProblem(
            "trained_on_the_future",
            f"data set {card.dataset_id} of {card.model_id} holds events of the test hours, from "
            f"{test_set.manifest.window_start} on",
        )
    return None


def _probe(
    model: Loaded, test_set: DataSet, rule: EvaluationSettings, seed: int
) -> list[ArtefactProblem]:
    rng = np.random.default_rng(seed)
    histories, requests = probe_requests(test_set, rule, model.item_ids, rng)
    scores = np.array(model.model.score(histories, requests))  # a copy, (n, W)
    wanted = (len(requests), model.item_ids.size)
    if scores.shape != wanted:
        return [
            ArtefactProblem(
                "scores_incomplete", f"scores have the shape {scores.shape}, expected {wanted}"
            )
        ]
    if not np.isfinite(scores).all():
        bad = int((~np.isfinite(scores)).any(axis=1).sum())
        return [
            ArtefactProblem(
                "scores_not_finite", f"{bad} of {len(requests)} probes got a non-finite score"
            )
        ]
    scrambled = scramble_future(histories, requests, model.item_ids.size, rng)
    again = model.model.score(scrambled, requests)
    differs = differing(scores, again)
    if not differs:
        alike = impersonal(scores, histories, requests, rule.k)
        return [_popularity_alone(alike, min(rule.k, scores.shape[1]))] if alike else []
    repeated = differing(scores, model.model.score(histories, requests))
    if repeated:
        return [
            ArtefactProblem(
                "not_deterministic",
                f"{repeated} of {len(requests)} probes change when asked again",
            )
        ]
    return [
        ArtefactProblem(
            "sees_the_future", f"{differs} of {len(requests)} probes change with later events"
        )
    ]


def _popularity_alone(probes: int, k: int) -> ArtefactProblem:
    return ArtefactProblem(
        "not_personal",
        f"{probes} probes of different users get the same {k} best items: popularity alone",
    )


# Probes of an artefact: a few requests, the same with another future, and how scores compare.
#
# Shapes: ``n`` probe requests, ``V`` items.


def impersonal(scores: Floats32, histories: Histories, requests: Requests, k: int) -> int:
    """How many probes show that all get the same best k items in the same order; 0 if they do not.

    Those who ask within the same hour are compared, since popularity changes by the hour.  Only
    requests within a session count: a model that knows sessions alone has nothing to say of the
    first event of one.  Fewer than five, or five after the same item, tell nothing.
    """
    starts = requests.starts if requests.starts is not None else requests.length == 0
    rows = np.flatnonzero((requests.length > 0) & ~starts)
    last = histories.offsets[requests.user[rows]] + requests.length[rows] - 1
    hour = requests.now_us[rows] // US_PER_HOUR
    asking = 0
    for this_hour in np.unique(hour):
        in_hour = hour == this_hour
        if np.unique(histories.item[last[in_hour]]).size < 2:  # noqa: PLR2004
            continue
        best = np.argsort(-scores[rows[in_hour]], axis=1, kind="stable")[:, :k]
        if (best != best[0]).any():
            return 0
        asking += int(in_hour.sum())
    return asking if asking >= _FEWEST else 0


def differing(first: Floats32, other: Floats32) -> int:
    """Rows that differ by more than rounding, relative to the largest score of the row."""
    tolerance = 1e-4 * np.abs(first).max(axis=1, keepdims=True)
    return int((~(np.abs(first - other) <= tolerance)).any(axis=1).sum())


def probe_requests(
    test_set: DataSet, rule: EvaluationSettings, item_ids: Objects, rng: np.random.Generator
) -> tuple[Histories, Requests]:
    """A random target of each of a few random users, in the model's own item numbers."""
    requests = find_targets(test_set.histories, rule).requests
    shuffled = rng.permutation(len(requests))
    _, first = np.unique(requests.user[shuffled], return_index=True)
    rows = shuffled[first]
    requests = requests.take(np.sort(rng.permutation(rows)[:PROBES]))
    columns = index_of(test_set.item_ids, item_ids)
    if is_identity(columns, item_ids.size):
        return test_set.histories, requests
    histories, events_before = reencode(test_set.histories, columns)
    return histories, reencode_requests(requests, test_set.histories.offsets, events_before)


def scramble_future(
    histories: Histories, requests: Requests, n_items: int, rng: np.random.Generator
) -> Histories:
    """The same histories with everything else from each request on, but for what it knows.

    Other items, types, values, dwell times and contexts from the target on; the events after it
    happen later.  The target's own time stays, since that of the request is known; so does the
    context in the request itself.

    Args:
        histories: N events.
        requests: at most one per user; users without one keep their history.
        n_items: items are drawn from 1 to ``n_items``.
        rng: draws them.
    """
    target = histories.offsets[requests.user] + requests.length  # (n,) flat position
    stop = histories.offsets[requests.user + 1]
    row, event = ranges(target, stop - target)
    later = np.zeros(histories.item.shape[0], dtype=bool)
    later[event] = True
    time_us = histories.time_us.copy()
    # Stretched by a random factor, and a little more where nothing lies between: the order stays.
    stretch = rng.integers(2, 10, size=len(requests))[row]
    now_us = histories.time_us[target[row]]
    time_us[event] = now_us + (time_us[event] - now_us) * stretch + (event > target[row])

    def changed(column: NDArray[Any], values: float | NDArray[Any]) -> NDArray[Any]:
        copy = column.copy()
        copy[later] = values
        return copy

    return replace(
        histories,
        item=changed(histories.item, rng.integers(1, n_items + 1, int(later.sum()))),
        time_us=time_us,
        dwell_s=changed(histories.dwell_s, np.nan),
        dwell_bin=changed(histories.dwell_bin, 0),
        event_type=changed(histories.event_type, 0),
        value=changed(histories.value, np.nan),
        context=changed(histories.context, 0),
    )
