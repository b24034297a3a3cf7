"""A work folder as hours of retraining leave it: evaluations, decisions and records."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pipeline.hours import Hour, HourRange
from pipeline.sealed_json import write_record
from pipeline.settings.settings import Settings
from training.deployment.monitor_record import (
    MonitorNumbers,
    MonitorOutcome,
    MonitorResult,
    write_monitor_result,
)
from training.gate.sequential_test import Sums
from training.registry.champion_record import ChampionChange, ModelRef, write_event
from training.registry.mlflow_registry import Registry

FIRST = Hour.parse("2016-03-14T00")
BASELINE = "recent_pop"


@dataclass
class Client:
    """As much of MLflow as asking for the champion takes."""

    live: ModelRef | None = None
    record: str | None = None

    def get_model_version_by_alias(self, name: str, alias: str) -> SimpleNamespace:
        from mlflow.exceptions import MlflowException
        from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST

        if alias != "champion" or self.live is None:
            raise MlflowException("no such alias", RESOURCE_DOES_NOT_EXIST)
        tags = {"model_id": self.live.model_id}
        if self.record:
            tags["live_record"] = self.record
        return SimpleNamespace(version=self.live.version, tags=tags, run_id=None, source=None)

    def get_registered_model(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(tags={})

    def get_model_version(self, name: str, version: str) -> SimpleNamespace:
        return self.get_model_version_by_alias(name, "champion")


@dataclass
class World:
    """Writes what the commands of an hour would have written."""

    root: Path
    client: Client = field(default_factory=Client)
    versions: int = 0

    @property
    def settings(self) -> Settings:
        return Settings(work=self.root, candidate="hrnn_trend")

    @property
    def registry(self) -> Registry:
        return Registry(lambda: self.client, "shop", self.root / "models", self.root / "mlflow")  # type: ignore[arg-type]

    def model(self, name: str, hour: Hour) -> ModelRef:
        self.versions += 1
        return ModelRef(f"{name}-{hour.index:012x}", str(self.versions), name)

    def goes_live(self, kind: str, model: ModelRef, hour: Hour | None, **changes: Any) -> str:
        """Write the record and move the champion."""
        before = self.client.live
        reasons = {"bootstrap": "bootstrap", "promotion": "promoted", "rollback": "below_floor"}
        event = ChampionChange(
            kind=kind,  # type: ignore[arg-type]
            champion=model,
            before=before,
            stack=(before,) if before else (),
            after=self.client.record,
            reason=changes.get("reason", reasons[kind]),
            sentence=changes.get("sentence", f"{model.model_id} went live."),
            at=changes.get("at", f"{hour}:10:00+00:00" if hour else None),
            as_of=hour,
            decision=changes.get("decision"),
        )
        self.client.live, self.client.record = (
            model,
            write_event(self.root / "decisions", event).name,
        )
        return self.client.record

    def card(self, model: ModelRef, as_of: Hour) -> None:
        folder = self.root / "models" / model.model_id
        folder.mkdir(parents=True)
        card = {
            "format": 1, "model_id": model.model_id, "system": model.name, "parameters": {},
            "dataset_id": "d", "as_of": str(as_of), "seed": 0, "code_version": "1", "metrics": {},
            "n_items": 3, "tensors": {}, "files": {},
        }  # fmt: skip
        (folder / "model.json").write_text(json.dumps(card))


def row(model: ModelRef, mean: float, slice_name: str = "all", n: int = 400) -> dict[str, Any]:
    return {
        "model_id": model.model_id, "metric": "mrr", "k": 20, "slice_name": slice_name,
        "mean": mean, "lower": mean - 0.02, "upper": mean + 0.02,
        "n_targets": n, "n_users": n // 4,
    }  # fmt: skip


def write_evaluation(
    root: Path,
    hour: Hour,
    models: dict[str, tuple[ModelRef, str]],
    rows: list[dict[str, Any]],
    failures: dict[str, str] | None = None,
) -> Path:
    """``models``: name in tables -> model and its role."""
    path = root / "evaluations" / f"f{hour.index}" / "evaluation.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "as_of": str(hour),
        "hours": 1,
        "n_targets": 400,
        "left_out_events": 0,
        "champion_version": None,
        "not_ranked": {},
        "names": {model.model_id: name for name, (model, _) in models.items()},
        "roles": {model.model_id: [role] for model, role in models.values()},
        "failures": failures or {},
        "rows": rows,
    }
    path.write_text(json.dumps(content))
    return path


def decision(
    hour: Hour, name: str, model: ModelRef, champion: ModelRef | None, **changes: Any
) -> dict[str, Any]:
    gain = changes.get("gain", 0.01)
    limits = {"mean": gain, "lower": gain - 0.02, "upper": gain + 0.02}
    return {
        "format": 1,
        "kind": "decision",
        "as_of": str(hour),
        "line": name,
        "evaluation_id": f"f{hour.index}",
        "outcome": changes.get("outcome", "hold"),
        "reasons": changes.get("reasons", ["not_proven_yet"]),
        "sentence": changes.get("sentence", f"{model.model_id} is not proven better."),
        "checks": [
            {"name": "beats_champion", "outcome": "hold", "reason": "not_proven_yet",
             "sentence": f"{name} is not proven better yet",
             "numbers": {"looks": 3, "fixed_sample": limits}},
        ],
        "candidate": {"model_id": model.model_id, "system": name, "n_targets": 400, "n_users": 100},
        "champion": champion and {"model_id": champion.model_id, "version": champion.version},
        "soundness": None,
        "evaluation_settings": {"k": 20},
        "gate_settings": {"metric": "mrr"},
        "earlier_looks": changes.get("earlier", []),
        "sequential": {
            "statistic": changes.get("statistic", 1.0), "bound": math.log(20),
            "difference": limits, "looks": 3, "targets": 1200, "users": 300,
            "lower": changes.get("lower", gain - 0.03),
        },
    }  # fmt: skip


def write_decision(root: Path, content: dict[str, Any]) -> Path:
    prefix = f"{content['as_of']}-{content['candidate']['model_id']}"
    return write_record(root / "decisions", prefix, content)


def monitor_result(hour: Hour, model: ModelRef, **changes: Any) -> MonitorResult:
    gain, mean = changes.get("gain", 0.05), changes.get("mean", 0.25)
    numbers = MonitorNumbers(
        sums=Sums(), looks=1, users=100, targets=400, live=mean, floor=mean - gain, difference=gain,
        lower=gain - 0.02, upper=gain + 0.02, confidence=0.99, statistic=-1.0, bound=5.0,
    )  # fmt: skip
    return MonitorResult(
        first=hour, stop=hour + 1, model=model, since_record=None, floor_id="recent_pop-x",
        frozen_id=f"f{hour.index}", rule={"metric": "mrr"},
        outcome=MonitorOutcome(changes.get("outcome", "kept")),
        reason=changes.get("reason", "not_below_floor"),
        sentence=changes.get("sentence", f"{model.model_id} is not below the baseline."),
        at=changes.get("at"),
        numbers=changes.get("numbers", numbers),
    )  # fmt: skip


def write_finding(root: Path, hour: Hour, model: ModelRef, **changes: Any) -> Path:
    return write_monitor_result(root / "monitor", monitor_result(hour, model, **changes))


def long_history(root: Path, n_hours: int, n_models: int = 5) -> tuple[World, HourRange]:
    """Hours with two promotions, a replacement by the monitor, and a night without judgement."""
    world = World(root)
    names = ["hrnn_trend", "hrnn", "vsknn", "item_knn", "hrnn_meta"][:n_models]
    baseline = world.model(BASELINE, FIRST)
    world.goes_live("bootstrap", baseline, FIRST)
    live, live_name = baseline, BASELINE
    quarter = n_hours // 4
    for index in range(n_hours):
        hour = FIRST + index
        if 40 <= index < 46:
            continue
        wave = 0.03 * math.sin(index / 4) + 0.01 * math.sin(index * 2.7)
        now_baseline = world.model(BASELINE, hour)
        models: dict[str, tuple[ModelRef, str]] = {BASELINE: (now_baseline, "floor")}
        rows = [row(now_baseline, 0.16 + wave / 2)]
        if live.model_id != baseline.model_id:
            models["champion"] = (live, "champion")
        rows += [row(live, (0.24 if live_name != BASELINE else 0.15) + wave)]
        for i, name in enumerate(names):
            model = world.model(name, hour)
            models[name] = (model, "candidate")
            rows += [row(model, 0.25 - 0.015 * i + wave)]
            rows += [
                row(model, 0.2 - 0.01 * i, slice_name, n)
                for slice_name, n in (("item/head", 300), ("item/new", 80), ("session/short", 500))
            ]
            promoted = i == 0 and index in (n_hours // 4, n_hours // 2)
            written = write_decision(
                root,
                decision(hour, name, model, live, outcome="promote" if promoted else "hold",
                         reasons=["better_than_champion"] if promoted else ["not_proven_yet"],
                         statistic=3.2 if promoted else index % quarter * 3 / quarter - 0.5 * i,
                         gain=0.01 + wave / 10),
            )  # fmt: skip
            if promoted:
                write_finding(root, hour, live)
                live, live_name = model, name
                world.goes_live("promotion", model, hour + 1, decision=written.name)
        write_evaluation(root, hour, models, rows)
        if index == 3 * n_hours // 4:
            write_finding(root, hour, live, outcome="replaced", gain=-0.05, reason="below_floor",
                        sentence=f"{live.model_id} fell below its floor")  # fmt: skip
            live, live_name = now_baseline, BASELINE
            world.goes_live("rollback", live, hour + 1)
        elif index not in (n_hours // 4, n_hours // 2):
            write_finding(root, hour, live)
    world.card(live, FIRST + 3 * n_hours // 4)
    return world, HourRange(FIRST, FIRST + n_hours)
