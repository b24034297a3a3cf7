"""The card of a model, and the checks that its files are what the card says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.errors import HourglassError
from pipeline.text.wording import counted, verb
from training.data.reader import HourText, sha256_of

CARD_NAME = "model.json"
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
    continued_from: str | None = None
    optimiser_continued: bool = False
    # Of a model that did not go on from the weights of the one before, which had become too old:
    # the weights of its score features do go on.
    made_anew_after: str | None = None
    all_parameters: dict[str, Any] = {}  # with the defaults of the time

    @property
    def parent(self) -> str | None:
        """Id of the model before it in its line, whatever it took over of that."""
        return self.continued_from or self.made_anew_after


def read_card(folder: Path) -> ModelCard:
    """The card of a model.

    Raises:
        HourglassError: there is none, or it is not of this format.
    """
    path = folder / CARD_NAME
    if not folder.is_dir():
        raise HourglassError(f"{folder}: no such model: train it with hourglass train")
    if not path.is_file():
        raise HourglassError(f"{path}: the model has no card: train it again")
    try:
        card = ModelCard.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(key_part) for key_part in first["loc"]) or "the whole file"
        raise HourglassError(f"{path}: {where}: {first['msg']}: train the model again") from error
    if card.format != FORMAT:
        raise HourglassError(f"{path}: format {card.format} is not {FORMAT}: train the model again")
    return card


def verify_file(path: Path, expected: str | None) -> None:
    """Refuse a file that is missing or has another SHA-256.

    Raises:
        HourglassError: it does.
    """
    if not path.is_file():
        raise HourglassError(f"{path}: the file is missing: train the model again")
    if sha256_of(path) != expected:
        raise HourglassError(
            f"{path}: the content does not match the card's SHA-256 {str(expected)[:12]}: "
            "train the model again"
        )


def read_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """All tensors of a file.

    Raises:
        HourglassError: it is no safetensors file.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors: dict[str, NDArray[Any]] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise HourglassError(f"{path}: not a safetensors file: train the model again") from error
    return tensors


def verify_shapes(path: Path, tensors: dict[str, NDArray[Any]], card: ModelCard) -> None:
    """Refuse weights that are not those the card describes.

    Raises:
        HourglassError: a tensor is missing from one of them, or has another type or shape.
    """
    for name in sorted(card.tensors.keys() | tensors.keys()):
        if name not in tensors or name not in card.tensors:
            where = "file" if name not in tensors else "card"
            raise HourglassError(
                f"{path}: tensor {name!r} is missing from the {where}: train the model again"
            )
        tensor, expected = tensors[name], card.tensors[name]
        if tensor.shape != expected.shape or str(tensor.dtype) != expected.dtype:
            raise HourglassError(
                f"{path}: tensor {name!r} is {tensor.dtype} {tensor.shape}, the card says "
                f"{expected.dtype} {expected.shape}: train the model again"
            )


def verify_finite(where: str, tensors: Mapping[str, NDArray[Any]]) -> None:
    """Refuse numbers that are none.

    Raises:
        HourglassError: a tensor holds some.
    """
    for name, tensor in tensors.items():
        if tensor.dtype.kind == "f" and not np.isfinite(tensor).all():
            wrong = int((~np.isfinite(tensor)).sum())
            raise HourglassError(
                f"{where}: tensor {name!r} holds {counted(wrong, 'value')} that "
                f"{verb(wrong, 'is', 'are')} not finite: lower the learning rate and train again"
            )
