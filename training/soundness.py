"""Whether an artefact may be judged at all: it loads, belongs to its vocabulary, sees no future.

Nothing here looks at quality.  Shapes: ``n`` probe requests, ``V`` items.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import HourglassError
from pipeline.hours import Hour
from pipeline.settings import EvaluationSettings
from training.alignment import (
    is_identity,
    positions,
    translate,
    translate_requests,
)
from training.batches import ranges
from training.card import CARD_NAME
from training.evaluate import Scorer, find_targets
from training.reader import DataSet, Histories, Requests, sha256_of

PROBES = 64


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
    def system(self) -> Scorer: ...  # noqa: D102

    @property
    def card(self) -> Card: ...  # noqa: D102

    @property
    def item_ids(self) -> NDArray[np.object_]: ...  # noqa: D102


@dataclass(frozen=True)
class Defect:
    """Why an artefact may not go live: a stable code and one sentence."""

    code: str
    sentence: str


@dataclass(frozen=True)
class Soundness:
    """The result of examining one artefact."""

    model_id: str
    defects: tuple[Defect, ...]
    card_sha256: str | None  # of model.json, which itself holds the checksums of the other files
    probes: int

    @property
    def sound(self) -> bool:
        """Whether nothing was found."""
        return not self.defects


def examine(
    folder: Path,
    frozen: DataSet,
    rule: EvaluationSettings,
    load: Callable[[Path], Loaded],
    *,
    seed: int,
    probes: int = PROBES,
) -> Soundness:
    """Load an artefact and probe it on a few requests of the frozen part.

    Codes of defects: ``not_loadable`` (missing, damaged, truncated or non-finite weights),
    ``wrong_model`` (the card names another model), ``vocabulary_mismatch`` (trained on this very
    data set, yet with other items), ``scores_incomplete``, ``scores_not_finite``,
    ``scores_failed`` (any error while scoring), ``sees_the_future`` (scores change when only
    events after the request change), ``not_deterministic`` (scores change though nothing does).

    Args:
        folder: ``<models>/<model_id>``.
        frozen: the test part.
        rule: which events are targets.
        load: the loader of artefacts, ``training.artefact.load_model``.
        seed: chooses the probed requests and the scrambled future.
        probes: at most this many requests, of different users.
    """
    model_id = folder.name
    card = folder / CARD_NAME
    card_sha256 = sha256_of(card) if card.is_file() else None

    def found(*defects: Defect) -> Soundness:
        return Soundness(model_id, defects, card_sha256, probes)

    try:
        model = load(folder)
    except Exception as error:  # whatever fails to load must not go live
        return found(Defect("not_loadable", f"{model_id} cannot be loaded: {one_line(error)}"))
    if model.card.model_id != model_id:
        return found(Defect("wrong_model", f"{folder} holds the model {model.card.model_id}"))
    own_data = model.card.dataset_id == frozen.manifest.base_dataset_id
    if own_data and not np.array_equal(model.item_ids, frozen.item_ids):
        return found(
            Defect(
                "vocabulary_mismatch",
                f"{model_id} was trained on {model.card.dataset_id} but its {model.item_ids.size} "
                f"items are not that data set's {frozen.item_ids.size}",
            )
        )
    try:
        return found(*_probe(model, frozen, rule, seed, probes))
    except Exception as error:  # whatever fails to score must not go live
        return found(Defect("scores_failed", f"{model_id} cannot score: {one_line(error)}"))


def _probe(
    model: Loaded, frozen: DataSet, rule: EvaluationSettings, seed: int, probes: int
) -> list[Defect]:
    rng = np.random.default_rng(seed)
    histories, requests = _probe_requests(frozen, rule, model.item_ids, rng, probes)
    scores = np.array(model.system.score(histories, requests))  # a copy, (n, W)
    wanted = (len(requests), model.item_ids.size)
    if scores.shape != wanted:
        return [
            Defect("scores_incomplete", f"scores have the shape {scores.shape}, expected {wanted}")
        ]
    if not np.isfinite(scores).all():
        bad = int((~np.isfinite(scores)).any(axis=1).sum())
        return [
            Defect("scores_not_finite", f"{bad} of {len(requests)} probes got a non-finite score")
        ]
    scrambled = scramble_future(histories, requests, model.item_ids.size, rng)
    again = model.system.score(scrambled, requests)
    differs = _differing(scores, again)
    if not differs:
        return []
    repeated = _differing(scores, model.system.score(histories, requests))
    if repeated:
        return [
            Defect(
                "not_deterministic",
                f"{repeated} of {len(requests)} probes change when asked again",
            )
        ]
    return [
        Defect("sees_the_future", f"{differs} of {len(requests)} probes change with later events")
    ]


def _differing(one: NDArray[np.float32], other: NDArray[np.float32]) -> int:
    """Rows that differ by more than rounding, relative to the largest score of the row."""
    tolerance = 1e-4 * np.abs(one).max(axis=1, keepdims=True)
    return int((~(np.abs(one - other) <= tolerance)).any(axis=1).sum())


def _probe_requests(
    frozen: DataSet,
    rule: EvaluationSettings,
    item_ids: NDArray[np.object_],
    rng: np.random.Generator,
    probes: int,
) -> tuple[Histories, Requests]:
    """A random target of each of a few random users, in the model's own item numbers."""
    requests = find_targets(frozen.histories, rule).requests
    shuffled = rng.permutation(len(requests))
    _, first = np.unique(requests.user[shuffled], return_index=True)
    rows = shuffled[first]
    requests = requests.take(np.sort(rng.permutation(rows)[:probes]))
    columns = positions(frozen.item_ids, item_ids)
    if is_identity(columns, item_ids.size):
        return frozen.histories, requests
    histories, kept = translate(frozen.histories, columns)
    return histories, translate_requests(requests, frozen.histories.offsets, kept)


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


def one_line(error: Exception) -> str:
    """An error on one line; its type is named unless the message was written for people."""
    text = " ".join(str(error).split())
    return text if isinstance(error, HourglassError) else f"{type(error).__name__}: {text}"
