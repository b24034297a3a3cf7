"""What the processes do that the test of killed promotions starts."""

from __future__ import annotations

import itertools
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

from lives import decided

from pipeline.errors import HourglassError
from pipeline.hours import Hour
from training.deployment.champion import WAIT_S
from training.deployment.promote import promote, roll_back_by_hand
from training.registry.artefact import load_model
from training.registry.mlflow_registry import Registry, aliased, champion, open_registry

MODELS = ("hrnn-a", "hrnn-b", "hrnn-c")


def opened(work: Path) -> Registry:
    return open_registry(f"sqlite:///{work / 'mlflow.db'}", "m", work / "models", work / "runs")


def change(work: Path, said: Connection) -> None:
    """Promote, promote, go back, and so on, each as quickly as it goes; nothing may be refused."""
    registry = opened(work)
    first = next_hour(registry)
    for step in itertools.count():
        live = champion(registry)
        assert live is not None
        if step % 3 == 2:
            with suppress(NothingBehindError):
                go_back(registry)
        else:
            following = MODELS[(MODELS.index(live.model_id) + 1) % len(MODELS)]
            file = decided(registry, following, hour=str(first + step))
            done = promote(registry, file, wait_s=WAIT_S)
            assert done.changed, done.sentence
        said.send("done")


def next_hour(registry: Registry) -> Hour:
    """An hour about which nothing was decided yet."""
    made = [path.name[:13] for path in registry.records.glob("[0-9]*.json")]
    return Hour.parse(max(made, default="2016-03-14T13")) + 1


class NothingBehindError(Exception):
    pass


def go_back(registry: Registry) -> None:
    try:
        roll_back_by_hand(registry, registry.records, "to see whether it holds")
    except HourglassError as error:
        if "no previous model" not in str(error):
            raise
        raise NothingBehindError from error


def read(work: Path, said: Connection) -> None:
    """Ask what is live until told to stop; every answer must be one model, whole, and sane."""
    registry = opened(work)
    seen = 0
    while not said.poll():
        live, before = aliased(registry)
        assert live is not None, "no model is live"
        assert live.model_id in MODELS
        assert load_model(live.folder).card.model_id == live.model_id
        assert before is None or (
            before.version != live.version and load_model(before.folder).card.model_id in MODELS
        )
        seen += 1
        time.sleep(0.02)
    said.send(seen)
