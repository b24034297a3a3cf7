"""Saves a fitted system as plain files, and loads it back only if it is whole and sound."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.array_types import Objects
from pipeline.errors import HourglassError
from pipeline.hours import US_PER_S
from pipeline.text.wording import counted
from training.data.reader import DataSet, Histories, Requests, sha256_of
from training.models import build
from training.registry.model_card import (
    CARD_NAME,
    FORMAT,
    ModelCard,
    TensorShape,
    read_card,
    read_tensors,
    verify_file,
    verify_finite,
    verify_shapes,
)

if TYPE_CHECKING:
    from training.models.parts.base import Model
    from training.trainer.interface import ParentWeights

WEIGHTS_NAME = "weights.safetensors"
_CHANGES_NO_WEIGHT = ("checkpoint_s",)
VOCABULARY_NAME = "vocabulary.parquet"
OPTIMISER_NAME = "optimiser.safetensors"  # only where it was asked for; scoring needs none
FACTS_NAME = "facts.json"


@dataclass(frozen=True)
class Extras:
    """What a fit leaves beside the model.

    ``facts`` are how fast and on what machine it went, which is no part of the model: they lie in a
    file of their own, so that the same fit gives the same card everywhere.
    """

    optimiser: Mapping[str, NDArray[Any]] | None = None
    continued_from: str | None = None
    optimiser_continued: bool = False  # the optimiser's state was taken over too
    made_anew_after: str | None = None  # the model that would have been continued
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class LoadedModel:
    """A system ready to score; its columns are ``item_ids``, (V,)."""

    model: Model
    card: ModelCard
    item_ids: Objects


def model_id_of(
    system: str,
    parameters: Mapping[str, Any],
    dataset_id: str,
    seed: int,
    code_version: str,
    continued_from: str | None = None,
    optimiser_continued: bool = False,
    made_anew_after: str | None = None,
) -> str:
    """The name of the model that these would give: ``hrnn-0123456789ab``."""
    deciding = {k: v for k, v in parameters.items() if k not in _CHANGES_NO_WEIGHT}
    made_from: list[Any] = [dataset_id, system, deciding, seed, code_version]
    if continued_from is not None:
        made_from += [continued_from, optimiser_continued]
    if made_anew_after is not None:
        made_from += [made_anew_after, "anew"]
    text = json.dumps(made_from, sort_keys=True)
    return f"{system}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def save_model(
    folder: Path,
    model: Model,
    parameters: Mapping[str, Any],
    data: DataSet,
    seed: int,
    metrics: Mapping[str, float],
    code_version: str,
    extras: Extras | None = None,
) -> str:
    """Write ``<folder>/<model_id>/`` whole or not at all, and return the model id.

    A sound model of that id is left as it is: the same ingredients give the same model.

    Args:
        folder: of all models.
        model: fitted on ``data`` with ``seed``.
        parameters: what `training.models.build` was given.
        data: what it was fitted on.
        seed: what it was fitted with.
        metrics: what ``fit`` returned.
        code_version: of the code that fitted it.
        extras: what else is to be kept or said.

    Raises:
        HourglassError: a tensor is not finite, or the folder cannot be written.
    """
    dataset_id = data.manifest.dataset_id
    extras = extras or Extras()
    model_id = model_id_of(
        model.name,
        parameters,
        dataset_id,
        seed,
        code_version,
        extras.continued_from,
        extras.optimiser_continued,
        extras.made_anew_after,
    )
    target = folder / model_id
    files = {WEIGHTS_NAME: _contiguous(model.tensors())}
    if extras.optimiser is not None:
        files[OPTIMISER_NAME] = _contiguous(extras.optimiser)
    for tensors in files.values():
        verify_finite(model_id, tensors)
    if target.exists() and _is_sound(target):
        return model_id
    try:
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{model_id}-", dir=folder))
        try:
            _write_files(unfinished, files, data)
            card = ModelCard(
                format=FORMAT,
                model_id=model_id,
                system=model.name,
                parameters=dict(parameters),
                dataset_id=dataset_id,
                as_of=data.manifest.as_of,
                seed=seed,
                code_version=code_version,
                metrics={k: v if np.isfinite(v) else None for k, v in metrics.items()},
                n_items=len(data.item_ids),
                tensors={
                    k: TensorShape(dtype=str(t.dtype), shape=t.shape)
                    for k, t in files[WEIGHTS_NAME].items()
                },
                files={n: sha256_of(unfinished / n) for n in (*files, VOCABULARY_NAME)},
                continued_from=extras.continued_from,
                optimiser_continued=extras.optimiser_continued,
                made_anew_after=extras.made_anew_after,
                all_parameters=_all_parameters(model),
            )
            (unfinished / FACTS_NAME).write_text(json.dumps(dict(extras.facts), indent=1) + "\n")
            (unfinished / CARD_NAME).write_text(card.model_dump_json(indent=2) + "\n")
            unfinished.chmod(0o755)
            if target.exists():
                shutil.rmtree(target)
            os.replace(unfinished, target)  # noqa: PTH105 - replaces an empty leftover too
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    except OSError as error:
        raise HourglassError(f"{target}: cannot write the model: {error.strerror}") from error
    return model_id


def load_model(folder: Path) -> LoadedModel:
    """Read one model folder.

    Raises:
        HourglassError: a file is missing or altered, the card is not of this format, a tensor is
            missing, misshapen or not finite, or the vocabulary has another size than the model.
    """
    card = read_card(folder)
    for name in (WEIGHTS_NAME, VOCABULARY_NAME):
        verify_file(folder / name, card.files.get(name))
    item_ids: Objects = pq.read_table(folder / VOCABULARY_NAME)["item_id"].to_numpy().astype(object)
    if len(item_ids) != card.n_items:
        raise HourglassError(
            f"{folder / VOCABULARY_NAME}: holds {counted(len(item_ids), 'item')}, the card says "
            f"{card.n_items}: train the model again"
        )
    tensors = read_tensors(folder / WEIGHTS_NAME)
    verify_shapes(folder / WEIGHTS_NAME, tensors, card)
    verify_finite(str(folder / WEIGHTS_NAME), tensors)
    system = build(card.system, card.parameters)
    system.load(tensors)
    columns = system.score(_nobody(), _no_requests()).shape[1]
    if columns != len(item_ids):
        raise HourglassError(
            f"{folder}: the model scores {counted(columns, 'item')} but its vocabulary holds "
            f"{len(item_ids)}: train it again"
        )
    return LoadedModel(system, card, item_ids)


def load_parent(folder: Path) -> tuple[ParentWeights, ModelCard]:
    """A model to continue from, with the state of its optimiser if that was kept.

    Raises:
        HourglassError: as `load_model`; or the optimiser's file is missing or altered.
    """
    from training.trainer.interface import ParentWeights

    model = load_model(folder)
    optimiser = None
    if OPTIMISER_NAME in model.card.files:
        verify_file(folder / OPTIMISER_NAME, model.card.files[OPTIMISER_NAME])
        optimiser = read_tensors(folder / OPTIMISER_NAME)
    tensors = model.model.tensors()
    as_of_us = int(model.card.as_of.start.timestamp()) * US_PER_S
    start = ParentWeights(model.card.model_id, tensors, model.item_ids, optimiser, as_of_us)
    return start, model.card


def _contiguous(tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}


def _all_parameters(model: Model) -> dict[str, Any]:
    """Those that were given and those that were not, since defaults may change."""
    chosen = getattr(model, "parameters", None)
    return dataclasses.asdict(chosen) if dataclasses.is_dataclass(chosen) else {}  # type: ignore[arg-type]


def _write_files(folder: Path, files: Mapping[str, dict[str, NDArray[Any]]], data: DataSet) -> None:
    from safetensors.numpy import save_file

    for name, tensors in files.items():
        save_file(tensors, folder / name)
        # Whoever may read the card may read the weights: the library keeps them to its user.
        (folder / name).chmod(0o644)
    vocabulary = {
        "item": pa.array(np.arange(1, len(data.item_ids) + 1), pa.int32()),
        "item_id": pa.array(data.item_ids, pa.string()),
        "events": pa.array(data.item_events, pa.int64()),
    }
    pq.write_table(pa.table(vocabulary), folder / VOCABULARY_NAME)


def _is_sound(folder: Path) -> bool:
    try:
        load_model(folder)
    except HourglassError:
        return False
    return True


def _nobody() -> Histories:
    return Histories(
        user_ids=np.empty(0, np.object_),
        offsets=np.zeros(1, np.int64),
        n_context=np.empty(0, np.int32),
        item=np.empty(0, np.int32),
        time_us=np.empty(0, np.int64),
        session_start=np.empty(0, np.bool_),
        dwell_s=np.empty(0, np.float32),
        dwell_bin=np.empty(0, np.int16),
        event_type=np.empty(0, np.int16),
        value=np.empty(0, np.float32),
        context=np.empty((0, 0), np.int32),
    )


def _no_requests() -> Requests:
    none = np.empty(0, np.int64)
    return Requests(none, none, none)
