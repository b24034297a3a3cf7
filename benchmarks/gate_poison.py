"""Real artefacts, broken one by one, through the real evaluation and gate."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import HourglassError
from pipeline.lake.steps import INGEST
from pipeline.settings.settings import Settings, load_settings
from training.data.reader import DataSet, read_dataset, sha256_of
from training.evaluation.evaluate import evaluate
from training.models import build
from training.registry.artefact import VOCABULARY_NAME, WEIGHTS_NAME, save_model
from training.registry.candidates import candidates, remember
from training.registry.mlflow_registry import Registry, champion
from training.registry.mlflow_run import TrainingRun, log_training
from training.registry.model_card import CARD_NAME, ModelCard, read_card, read_tensors
from training.steps.judge_candidates import ensure_champion, judge_candidates

LINE, FLOOR = "item_knn", "recent_pop"
AT = "2026-01-01T00:00:00"


@dataclass(frozen=True)
class World:
    """A work folder with two data sets, the events after the later one, and fitted models."""

    settings: Settings
    registry: Registry
    dataset: Path
    older: Path
    frozen: Path

    def data(self) -> tuple[DataSet, DataSet]:
        """What is learned from, and what judges."""
        return read_dataset(self.dataset), read_dataset(self.frozen)

    @property
    def candidate(self) -> Path:
        """The folder of the candidate's artefact."""
        models = candidates(self.settings, self.dataset.name)
        return self.settings.path("models") / models[LINE]

    def enter(self, name: str, system: str, data: DataSet, **parameters: object) -> str:
        """Fit a system, register it, and have it stand under a name for the later data set."""
        model = build(system, parameters)
        metrics = model.fit(data, 0, lambda _: None)
        models = self.settings.path("models")
        model_id = save_model(models, model, parameters, data, 0, metrics, "poison")
        card = read_card(models / model_id)
        run = TrainingRun(
            model_id, system, parameters, card.metrics, card.dataset_id, str(card.as_of),
            snapshots={}, config_digest="", code_version="poison", seed=0, name=name,
        )  # fmt: skip
        log_training(self.registry, run)
        remember(self.settings, self.dataset.name, {name: model_id})
        return model_id


def rewrite_card(folder: Path, **changes: object) -> None:
    """Let the card agree with the files as they lie there: a poison that checksums do not find."""
    card = read_card(folder)
    files = {name: sha256_of(folder / name) for name in card.files}
    changed = ModelCard.model_validate({**card.model_dump(), "files": files, **changes})
    (folder / CARD_NAME).write_text(changed.model_dump_json(), encoding="utf-8")


def _nan(world: World) -> None:
    from safetensors.numpy import save_file

    path = world.candidate / WEIGHTS_NAME
    tensors = {name: tensor.copy() for name, tensor in read_tensors(path).items()}
    for tensor in tensors.values():
        if tensor.dtype.kind == "f":
            tensor.reshape(-1)[::100] = np.nan
    save_file(tensors, path)
    rewrite_card(world.candidate)


def _cut_short(world: World) -> None:
    path = world.candidate / VOCABULARY_NAME
    table = pq.read_table(path)
    pq.write_table(table.slice(0, table.num_rows - 1), path)
    rewrite_card(world.candidate, n_items=table.num_rows - 1)


def _shuffled(world: World) -> None:
    path = world.candidate / VOCABULARY_NAME
    table = pq.read_table(path)
    order = np.random.default_rng(0).permutation(table.num_rows)
    items = table["item_id"].take(pa.array(order))
    place = table.column_names.index("item_id")
    pq.write_table(table.set_column(place, "item_id", items), path)
    rewrite_card(world.candidate)


def _truncated(world: World) -> None:
    path = world.candidate / WEIGHTS_NAME
    path.write_bytes(path.read_bytes()[:-100])


def _truncated_and_hashed(world: World) -> None:
    _truncated(world)
    rewrite_card(world.candidate)


def _popularity(world: World) -> None:
    world.enter(LINE, "pop", read_dataset(world.dataset))


def _future(world: World) -> None:
    world.enter(LINE, LINE, read_dataset(world.frozen))


def _future_denied(world: World) -> None:
    world.enter(LINE, LINE, read_dataset(world.frozen))
    as_of = read_dataset(world.dataset).manifest.as_of
    rewrite_card(world.candidate, as_of=as_of)


def _stale(world: World) -> None:
    world.enter(LINE, LINE, read_dataset(world.older))


def _stale_denied(world: World) -> None:
    world.enter(LINE, LINE, read_dataset(world.older))
    manifest = read_dataset(world.dataset).manifest
    rewrite_card(world.candidate, dataset_id=manifest.dataset_id)


def _another_system(world: World) -> None:
    rewrite_card(world.candidate, metrics={"loss": 0.0})


def _another_baseline(world: World) -> None:
    live = champion(world.registry)
    if live is None:
        raise HourglassError("nothing is live: ensure a champion first")
    rewrite_card(world.settings.path("models") / live.model_id, metrics={"loss": 0.0})


# What is done, before or after the models are ranked.
BEFORE: dict[str, Callable[[World], None]] = {
    "NaN weights": _nan,
    "shuffled vocabulary": _shuffled,
    "vocabulary cut short": _cut_short,
    "truncated weights": _truncated,
    "truncated weights, card made to agree": _truncated_and_hashed,
    "popularity only": _popularity,
    "trained on the future": _future,
    "trained on the future, as_of denied": _future_denied,
    "of an older data set": _stale,
    "of an older data set, denied": _stale_denied,
}
AFTER: dict[str, Callable[[World], None]] = {
    "candidate changed after ranking": _another_system,
    "truncated after ranking": _truncated,
    "champion changed after ranking": _another_baseline,
}


def judged(world: World, name: str) -> dict[str, Any]:
    """Poison the candidate, evaluate, gate, and put everything back as it was."""
    saved = world.settings.path("saved")
    places = [world.settings.path(part) for part in ("models", "candidates")]
    for place in places:
        shutil.copytree(place, saved / place.name)
    try:
        if name in BEFORE:
            BEFORE[name](world)
        evaluate(world.settings, world.registry, *world.data(), lambda *_: None)
        if name in AFTER:
            AFTER[name](world)
        decision, _ = judge_candidates(world.settings, world.registry, *world.data(), True, AT)[-1]
        return {
            "candidate": name,
            "outcome": decision.outcome.value,
            "reason": ", ".join(decision.reasons),
            "sentence": decision.sentence,
        }
    except HourglassError as error:
        return {"candidate": name, "outcome": "refused", "reason": "-", "sentence": str(error)}
    finally:
        for place in places:
            shutil.rmtree(place)
            (saved / place.name).rename(place)
        saved.rmdir()


def judged_all(world: World) -> list[dict[str, Any]]:
    """The sound candidate, and each poison."""
    ensure_champion(world.settings, world.registry, world.dataset, AT)
    return [judged(world, name) for name in ("none", *BEFORE, *AFTER)]


def poisoned(work: Path) -> list[dict[str, Any]]:
    """Build a small world with Spark from the simulated site, and judge every poison in it."""
    from datetime import UTC, datetime

    from pipeline.dataset.build import freeze, freeze_test_set
    from pipeline.hours import Hour, HourRange
    from pipeline.ingest import ingest
    from pipeline.sessions.sessionize import sessionize
    from pipeline.simulator import simulate
    from pipeline.workspace import CommandContext
    from training.registry.mlflow_registry import registry_of

    settings = load_settings(
        None,
        {
            "work": str(work),
            "source": {"name": "simulator", "path": str(work / "landing")},
            "simulator": {"hours": 30, "users": 3000},
            "dataset": {"window": "24h", "min_item_events": 2},
            "candidate": LINE,
            "gate": {"baseline": FLOOR},
        },
    )
    ctx = CommandContext(settings, datetime(2026, 1, 7, tzinfo=UTC), as_json=False)
    try:
        first = Hour.parse(settings.simulator.start)
        hours = HourRange(first, first + settings.simulator.hours)
        simulate(settings.simulator, work / "landing", work / "truth", hours)
        compute, lake = ctx.compute, ctx.lake
        with ctx.writing():
            ingest.ingest(compute, lake, settings, ctx.clock)
            hours = HourRange.covering(lake.filled(INGEST))
            sessionize(compute, lake, settings, hours)
        as_of = hours.stop - 3
        older, dataset = (freeze(compute, lake, settings, at) for at in (as_of - 2, as_of))
        frozen = freeze_test_set(compute, lake, settings, dataset, HourRange(as_of, as_of + 1))
        world = World(settings, registry_of(ctx), dataset, older, frozen)
        learned = read_dataset(dataset)
        world.enter(FLOOR, FLOOR, learned)
        world.enter(LINE, LINE, learned)
        return judged_all(world)
    finally:
        ctx.close()
