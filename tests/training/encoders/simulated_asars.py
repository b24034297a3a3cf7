"""What simulated logs for ASARS and M3 share: a training part, a test part, and hits at places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from synthetic import Event, write_dataset

from pipeline.array_types import Bools
from training.data.reader import DataSet, Requests, read_dataset
from training.models import build
from training.models.parts.base import Model

LEARN = {"width": 32, "negatives": 0, "validation_share": 0.0, "device": "cpu"}


def parts(
    folder: Path, users: Mapping[str, Sequence[Event]], n_test: int, names: list[str], **more: Any
) -> tuple[DataSet, DataSet]:
    """The last ``n_test`` users are the test part: none of them is learned from."""
    learned = dict(list(users.items())[:-n_test])
    tested = dict(list(users.items())[-n_test:])
    base = write_dataset(folder / "base", learned, vocabulary=names, **more)
    return read_dataset(base), read_dataset(write_dataset(folder / "test", tested, base=base))


def fitted(name: str, data: tuple[DataSet, DataSet], seed: int, **parameters: object) -> Model:
    model = build(name, {**LEARN, **parameters})
    model.fit(data[0], seed, lambda progress: None)
    return model


def hits(model: Model, test: DataSet, asked: Bools) -> float:
    """hit@1 at those events, each asked for at the moment it happened."""
    event = np.flatnonzero(asked)
    scores = model.score(test.histories, Requests.before(test.histories, event))
    return float(np.mean(scores.argmax(axis=1) + 1 == test.histories.item[event]))
