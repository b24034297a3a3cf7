"""Saves a fitted system as plain files, and loads it back only if it is whole and sound."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.errors import HourglassError
from training.reader import DataSet, Histories, HourText, Requests, sha256_of
from training.systems import build

if TYPE_CHECKING:
    from training.systems.base import System

CARD_NAME = "model.json"
WEIGHTS_NAME = "weights.safetensors"
VOCABULARY_NAME = "vocabulary.parquet"
FORMAT = 1


class TensorShape(BaseModel):
    """Type and shape of one learned tensor."""

    model_config = ConfigDict(frozen=True)

    dtype: str
    shape: tuple[int, ...]


class ModelCard(BaseModel):
    """Everything needed to build the same model again, and to know that it is unharmed."""

    model_config = ConfigDict(frozen=True)

    format: int
    model_id: str
    system: str
    parameters: dict[str, Any]
    dataset_id: str
    as_of: HourText
    seed: int
    code_version: str
    metrics: dict[str, float | None]
    n_items: int
    tensors: dict[str, TensorShape]
    files: dict[str, str]


@dataclass(frozen=True)
class LoadedModel:
    """A system ready to score; its columns are ``item_ids``, (V,)."""

    system: System
    card: ModelCard
    item_ids: NDArray[np.object_]


def model_id_of(
    system: str, parameters: Mapping[str, Any], dataset_id: str, seed: int, code_version: str
) -> str:
    """The name of the model that these would give: ``hrnn-0123456789ab``."""
    made_from = [dataset_id, system, dict(parameters), seed, code_version]
    text = json.dumps(made_from, sort_keys=True)
    return f"{system}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def save_model(
    folder: Path,
    system: System,
    parameters: Mapping[str, Any],
    data: DataSet,
    seed: int,
    metrics: Mapping[str, float],
    code_version: str,
) -> str:
    """Write ``<folder>/<model_id>/`` whole or not at all, and return the model id.

    A sound model of that id is left as it is: the same ingredients give the same model.

    Args:
        folder: of all models.
        system: fitted on ``data`` with ``seed``.
        parameters: what `training.systems.build` was given.
        data: what it was fitted on.
        seed: what it was fitted with.
        metrics: what ``fit`` returned.
        code_version: of the code that fitted it.

    Raises:
        HourglassError: a tensor is not finite, or the folder cannot be written.
    """
    dataset_id = data.manifest.dataset_id
    model_id = model_id_of(system.name, parameters, dataset_id, seed, code_version)
    target = folder / model_id
    tensors = {name: np.asarray(t, order="C") for name, t in system.tensors().items()}
    _verify_finite(model_id, tensors)
    if target.exists() and _is_sound(target):
        return model_id
    try:
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{model_id}-", dir=folder))
        try:
            _write_files(unfinished, tensors, data)
            card = ModelCard(
                format=FORMAT,
                model_id=model_id,
                system=system.name,
                parameters=dict(parameters),
                dataset_id=dataset_id,
                as_of=data.manifest.as_of,
                seed=seed,
                code_version=code_version,
                metrics={k: v if np.isfinite(v) else None for k, v in metrics.items()},
                n_items=len(data.item_ids),
                tensors={
                    k: TensorShape(dtype=str(t.dtype), shape=t.shape) for k, t in tensors.items()
                },
                files={n: sha256_of(unfinished / n) for n in (WEIGHTS_NAME, VOCABULARY_NAME)},
            )
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
    card = _read_card(folder)
    for name in (WEIGHTS_NAME, VOCABULARY_NAME):
        _verify_file(folder / name, card.files.get(name))
    item_ids: NDArray[np.object_] = (
        pq.read_table(folder / VOCABULARY_NAME)["item_id"].to_numpy().astype(object)
    )
    if len(item_ids) != card.n_items:
        raise HourglassError(
            f"{folder / VOCABULARY_NAME}: holds {len(item_ids)} items, the card says "
            f"{card.n_items}: train the model again"
        )
    tensors = _read_tensors(folder / WEIGHTS_NAME)
    _verify_shapes(folder / WEIGHTS_NAME, tensors, card)
    _verify_finite(str(folder / WEIGHTS_NAME), tensors)
    system = build(card.system, card.parameters)
    system.load(tensors)
    columns = system.score(_nobody(), _no_requests()).shape[1]
    if columns != len(item_ids):
        raise HourglassError(
            f"{folder}: the model scores {columns} items but its vocabulary holds "
            f"{len(item_ids)}: train it again"
        )
    return LoadedModel(system, card, item_ids)


def _write_files(folder: Path, tensors: dict[str, NDArray[Any]], data: DataSet) -> None:
    from safetensors.numpy import save_file

    save_file(tensors, folder / WEIGHTS_NAME)
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


def _read_card(folder: Path) -> ModelCard:
    path = folder / CARD_NAME
    if not folder.is_dir():
        raise HourglassError(f"{folder}: no such model: train it with hourglass train")
    if not path.is_file():
        raise HourglassError(f"{path}: the model has no card: train it again")
    try:
        card = ModelCard.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise HourglassError(f"{path}: {where}: {first['msg']}: train the model again") from error
    if card.format != FORMAT:
        raise HourglassError(f"{path}: format {card.format} is not {FORMAT}: train the model again")
    return card


def _verify_file(path: Path, expected: str | None) -> None:
    if not path.is_file():
        raise HourglassError(f"{path}: the file is missing: train the model again")
    if sha256_of(path) != expected:
        raise HourglassError(
            f"{path}: the content does not match the card's SHA-256 {str(expected)[:12]}: "
            "train the model again"
        )


def _read_tensors(path: Path) -> dict[str, NDArray[Any]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors: dict[str, NDArray[Any]] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise HourglassError(f"{path}: not a safetensors file: train the model again") from error
    return tensors


def _verify_shapes(path: Path, tensors: dict[str, NDArray[Any]], card: ModelCard) -> None:
    for name in sorted(card.tensors.keys() | tensors.keys()):
        if name not in tensors or name not in card.tensors:
            where = "file" if name not in tensors else "card"
            raise HourglassError(
                f"{path}: tensor {name!r} is missing from the {where}: train the model again"
            )
        found, said = tensors[name], card.tensors[name]
        if found.shape != said.shape or str(found.dtype) != said.dtype:
            raise HourglassError(
                f"{path}: tensor {name!r} is {found.dtype} {found.shape}, the card says "
                f"{said.dtype} {said.shape}: train the model again"
            )


def _verify_finite(where: str, tensors: Mapping[str, NDArray[Any]]) -> None:
    for name, tensor in tensors.items():
        if tensor.dtype.kind == "f" and not np.isfinite(tensor).all():
            raise HourglassError(
                f"{where}: tensor {name!r} holds {int((~np.isfinite(tensor)).sum())} values that "
                "are not finite: lower the learning rate and train again"
            )


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
    )


def _no_requests() -> Requests:
    return Requests(*(np.empty(0, np.int64) for _ in range(3)))
