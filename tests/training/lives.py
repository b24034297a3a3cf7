"""Small registries with real models that load, and decision files about them."""

from __future__ import annotations

import functools
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic import AS_OF, AS_OF_S, write_dataset

from pipeline.hours import Hour, HourRange
from pipeline.sealed_json import FORMAT, write_record
from pipeline.settings.learning import EvaluationSettings, GateSettings
from training.data.reader import read_dataset, sha256_of
from training.deployment.champion import changing
from training.deployment.promote import install_first
from training.gate.evidence import CheckResult, Contestant, Evidence, Outcome, passed
from training.gate.gate import COMPARISONS, PRECONDITIONS, verdict
from training.gate.past_looks import ALL, Look, LookKey
from training.gate.preconditions import earlier_evidence
from training.gate.sequential_test import Sums
from training.models import build
from training.registry.artefact import save_model
from training.registry.mlflow_registry import Registry, champion, open_registry, previous
from training.registry.mlflow_run import TrainingRun, log_training
from training.registry.model_card import CARD_NAME, ModelCard
from training.registry.record_chain import link_record, verified_chain


@pytest.fixture
def registry(store: str, tmp_path: Path, request: pytest.FixtureRequest) -> Registry:
    """A registered model of its own for each test."""
    name = re.sub(r"[^\w.-]", "-", request.node.nodeid.rpartition("/")[2])
    return open_registry(store, name, tmp_path / "models", tmp_path / "runs")


class Prepared:
    """A registry in a state that many tests begin with: it is made once, each gets it anew.

    Args:
        folder: for its store and its files.
        prepare: brings a registry into that state.
    """

    def __init__(self, folder: Path, prepare: Callable[[Registry], object]) -> None:
        self._store, self._tables = folder / "mlflow.db", folder / "tables.db"
        self._work = folder / "work"
        models, runs = self._work / "models", self._work / "runs"
        self._registry = open_registry(f"sqlite:///{self._store}", "prepared", models, runs)
        prepare(self._registry)
        _copy_tables(self._store, self._tables)

    def at(self, work: Path) -> Registry:
        """The registry as it was then, with its files in a work folder of the test's own."""
        _copy_tables(self._tables, self._store)
        shutil.copytree(self._work, work, dirs_exist_ok=True)
        return replace(self._registry, models=work / "models", artifacts=work / "runs")


def with_floor(registry: Registry) -> None:
    """recent-a is live as the floor; hrnn-b and hrnn-c are registered."""
    register(registry, "recent-a", "hrnn-b", "hrnn-c")
    install_first(registry, "recent-a", registry.records, at="2016-03-14T12:50:00")


@pytest.fixture(scope="module")
def prepared_floored(mlflow_tables: None, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """What `with_floor` leaves, made once for a file of tests."""
    return Prepared(tmp_path_factory.mktemp("floored"), with_floor)


@pytest.fixture
def floored(prepared_floored: Prepared, tmp_path: Path) -> Registry:
    """A registry `with_floor`."""
    return prepared_floored.at(tmp_path)


def _copy_tables(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as read, closing(sqlite3.connect(target)) as written:
        written.execute("PRAGMA synchronous = OFF")
        read.backup(written)


@functools.cache
def _fitted() -> dict[str, bytes]:
    """The files of one small model."""
    root = Path(tempfile.mkdtemp(prefix="hourglass-lives-"))
    walk = [(f"item-{step}", AS_OF_S - 600 + 30 * step) for step in range(5)]
    data = read_dataset(write_dataset(root / "base", {"ann": walk, "bob": walk}))
    system = build("item_knn", {})
    metrics = system.fit(data, 0, lambda _: None)
    folder = root / save_model(root, system, {}, data, 0, metrics, "test")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def write_model(models: Path, model_id: str, **card: Any) -> Path:
    """An artefact that loads, under any name; ``card`` changes what its card says."""
    folder = models / model_id
    folder.mkdir(parents=True)
    for name, content in _fitted().items():
        (folder / name).write_bytes(content)
    read = ModelCard.model_validate_json((folder / CARD_NAME).read_bytes())
    changed = read.model_copy(update={"model_id": model_id, **card})
    (folder / CARD_NAME).write_text(changed.model_dump_json())
    return folder


def training(model_id: str) -> TrainingRun:
    """A run of the line that the model id begins with."""
    line = model_id.split("-", maxsplit=1)[0]
    return TrainingRun(
        model_id=model_id,
        system=line,
        parameters={},
        metrics={},
        dataset_id="base",
        as_of=AS_OF,
        snapshots={"events": 42},
        config_digest="d" * 16,
        code_version="0.1.0",
        seed=7,
        name=f"my_{line}",
    )


def register(registry: Registry, *model_ids: str) -> None:
    for model_id in model_ids:
        write_model(registry.models, model_id)
        log_training(registry, training(model_id))


def decided(
    registry: Registry,
    candidate: str,
    *,
    hour: str = AS_OF,
    outcome: str = "promote",
    against: str | None = "",
    **content: Any,
) -> Path:
    """A linked decision on a candidate against what is live, unless told ``against`` whom."""
    live = champion(registry)
    champion_id = (live.model_id if live else None) if against == "" else against
    version = {"version": live.version} if live and against == "" else {}
    card = registry.models / candidate / CARD_NAME
    sha256 = sha256_of(card) if card.is_file() else "e" * 64
    line = candidate.split("-", maxsplit=1)[0]
    made = {
        "format": FORMAT,
        "kind": "decision",
        "as_of": hour,
        "outcome": outcome,
        "sentence": f"{candidate} was compared.",
        "candidate": {"model_id": candidate, "system": line},
        "champion": {"model_id": champion_id, **version} if champion_id else None,
        "floor": {"model_id": "recent-a"},
        "line": line,
        "soundness": {"card_sha256": sha256},
        "evaluation_settings": {"horizon": "1h"},
        "gate_settings": {"approval": False, "approval_timeout": "1h"},
        **content,
    }
    with changing(registry.records, "deciding"):
        chain = verified_chain(registry)
        prefix = f"{Hour.parse(hour)}-{candidate}"
        path = write_record(registry.records, prefix, {**proven(made), **made})
        link_record(registry, chain, path, "decision")
    return path


def proven(made: dict[str, Any]) -> dict[str, Any]:
    """Checks, reasons and the look of a decision; whatever it says, its sums show a clear gain."""
    gain = np.linspace(0.4, 0.6, 500)
    sums = Sums.of_users(gain, np.full(500, 0.2), np.ones(500))
    has_champion = made["champion"] is not None
    hour = Hour.parse(made["as_of"])
    look = Look(
        hours=HourRange(hour, hour + 1),
        key=LookKey(made["line"], None, None, "recent_pop", "mrr", 20, "", made["as_of"]),
        baselines={"recent_pop": sums},
        champion={ALL: sums} if has_champion else {},
        candidate=made["candidate"]["model_id"],
    )
    names = [check.__name__ for check in (*PRECONDITIONS, earlier_evidence)]
    checks = [passed(name, "fine", "Fine.") for name in names]

    def contestant(role: str) -> Contestant:
        return Contestant(made[role]["model_id"], "", "", hour, None, None)

    evidence = Evidence(
        frozen_id="",
        start=hour,
        candidate=contestant("candidate"),
        champion=contestant("champion") if has_champion else None,
        baselines={"recent_pop": contestant("floor")},
        artefact_report=None,
        quality_passed=True,
        rule=EvaluationSettings(**made["evaluation_settings"]),
        gate=GateSettings(**made["gate_settings"]),
        seed=0,
        name=made["line"],
        recorded_look=look,
    )
    checks += [compare(evidence) for compare in COMPARISONS]
    if made["outcome"] != "promote":
        checks.append(CheckResult("choice", Outcome(made["outcome"]), "not_now", "Not now.", {}))
    outcome, reasons, _ = verdict(checks)
    assert outcome == made["outcome"]
    return {
        "reasons": reasons,
        "checks": [asdict(check) for check in checks],
        "look": look.content(),
        "earlier_looks": [],
        "lines_sharing_the_risk": 1,
        "seed": 0,
    }


def live_ids(registry: Registry) -> tuple[str | None, str | None]:
    now, before = champion(registry), previous(registry)
    return now.model_id if now else None, before.model_id if before else None


class Dying:
    """A client that dies at the n-th call of one method, before doing it."""

    def __init__(self, client: object, method: str, call: int) -> None:
        self._client, self._method, self._left = client, method, call

    def __getattr__(self, name: str) -> object:
        if name == self._method:
            self._left -= 1
            if not self._left:
                raise KeyboardInterrupt
        return getattr(self._client, name)


def dying(registry: Registry, method: str, call: int = 1) -> Registry:
    client = Dying(registry.client, method, call)
    return replace(registry, open_client=lambda: client)  # type: ignore[arg-type,return-value]
