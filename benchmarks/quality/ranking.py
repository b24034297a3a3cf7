"""Protocols A, B and C: what is the next item?  All items are ranked, ties against the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from benchmarks.quality.figures import Figures, Runs
from benchmarks.quality.parts import Parts
from benchmarks.quality.progress import Say
from pipeline.settings.learning import EvaluationSettings
from training.data.reader import DataSet
from training.metrics.metrics import METRICS, mean_metric
from training.metrics.ranking import rank_targets
from training.models import build
from training.models.parts.base import FollowsTrends, GradientTrained, Model

K = 20


@dataclass(frozen=True)
class Entry:
    """A system with its parameters, under the name of a table's row."""

    name: str
    system: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


def fitted(entry: Entry, data: DataSet, seed: int) -> Model:
    """The system, fitted from scratch."""
    system = build(entry.system, entry.parameters)
    system.fit(data, seed, lambda _: None)
    return system


def needs_seeds(entry: Entry) -> bool:
    """Whether chance has a part in what is learned."""
    return isinstance(build(entry.system, entry.parameters), GradientTrained)


def figures(system: Model, test: DataSet, rule: EvaluationSettings) -> Figures:
    """Recall, MRR and NDCG of a fitted system."""
    ranks = rank_targets(system, test, rule, model_id="model", item_ids=test.item_ids)
    return {f"{metric}@{K}": mean_metric(metric, ranks.rank, K) for metric in METRICS}


def freshened(system: Model, test: DataSet) -> Model:
    """A system that follows trends is given the hourly popularity of the test part, as in serving.

    It uses only the hours before the hour of each request.
    """
    if isinstance(system, FollowsTrends):
        system.refresh(test.popularity, test.manifest.as_of)
    return system


def compared(
    parts: Parts,
    entries: Sequence[Entry],
    seeds: Sequence[int],
    rules: Sequence[EvaluationSettings],
    say: Say,
) -> list[dict[str, Runs]]:
    """Figures of all systems under each rule; those that use chance are fitted with each seed.

    Systems that follow trends have two rows: with the popularity of each request's hour, and,
    "frozen", with that of the training part alone.
    """
    tables: list[dict[str, Runs]] = [{} for _ in rules]
    for entry in entries:
        rows: dict[str, list[list[Figures]]] = {}
        for seed in seeds if needs_seeds(entry) else seeds[:1]:
            system = fitted(entry, parts.train, seed)
            for name in _names(entry, system):
                asked = system if name != entry.name else freshened(system, parts.test)
                found = [figures(asked, parts.test, one) for one in rules]
                rows.setdefault(name, []).append(found)
                for one, values in zip(rules, found, strict=True):
                    say(f"{name}, seed {seed}, repeats {one.repeats}", values)
        for name, of_seeds in rows.items():
            for table, values_of_rule in zip(tables, zip(*of_seeds, strict=True), strict=True):
                table[name] = Runs(values_of_rule)
    return tables


def _names(entry: Entry, system: Model) -> list[str]:
    """Rows of a table, in the order of asking: what is frozen first."""
    follows = isinstance(system, FollowsTrends)
    return [f"{entry.name}, frozen", entry.name] if follows else [entry.name]


def rule(repeats: Literal["drop", "keep"], within_session: bool = False) -> EvaluationSettings:
    """Which events are targets."""
    return EvaluationSettings(
        k=K, repeats=repeats, targets="within_session" if within_session else "all"
    )
