"""Which model of each name was trained last on a data set."""

from __future__ import annotations

import json
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.files import write_text
from pipeline.settings.settings import Settings


def candidates(settings: Settings, dataset_id: str) -> dict[str, str]:
    """Model id of each model last trained on a data set, by its name.

    Raises:
        UsageError: none was.
    """
    models = trained_on(settings, dataset_id)
    if models is None:
        raise UsageError(
            f"nothing was trained on data set {dataset_id} yet: "
            f"run `hourglass train --dataset {dataset_id}`"
        )
    return models


def trained_on(settings: Settings, dataset_id: str) -> dict[str, str] | None:
    """As :func:`candidates`; None where nothing was trained."""
    path = _index(settings, dataset_id)
    if not path.is_file():
        return None
    models: dict[str, str] = json.loads(path.read_text("utf-8"))
    return models


def configured(settings: Settings, dataset_id: str) -> dict[str, str]:
    """As :func:`candidates`, without models that are no longer configured.

    Raises:
        UsageError: nothing was trained on the data set.
    """
    names = {model.name for model in settings.models}
    names |= {*settings.gate.baselines, *settings.candidates}
    return {n: model_id for n, model_id in candidates(settings, dataset_id).items() if n in names}


def remember(settings: Settings, dataset_id: str, models: dict[str, str]) -> None:
    """Note which model of each name is the data set's candidate."""
    earlier = trained_on(settings, dataset_id) or {}
    text = json.dumps({**earlier, **models}, indent=1) + "\n"
    write_text(_index(settings, dataset_id), text)


def _index(settings: Settings, dataset_id: str) -> Path:
    return settings.path("candidates") / f"{dataset_id}.json"
