"""Small worlds for the tests of evaluation and the gate: ranks, evidence, artefacts on disk."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.hours import Hour
from pipeline.settings.learning import EvaluationSettings, GateSettings
from training.gate.artefact_checks import ArtefactReport
from training.gate.evidence import CheckResult, Contestant, Evidence
from training.gate.gate import decide
from training.gate.past_looks import earlier_looks, first_look
from training.metrics.ranks import Ranks, rule_key
from training.registry.model_card import CARD_NAME

START = Hour.parse("2016-03-14T13")
RULE = EvaluationSettings(bootstrap_samples=200)
GATE = GateSettings()
N_ITEMS = 500


@dataclass(frozen=True)
class Card:
    """The fields of a model card that judging reads."""

    model_id: str
    system: str = "hrnn"
    dataset_id: str = "base"
    as_of: Hour | str = START


@dataclass(frozen=True)
class Loaded:
    """What the loader of artefacts hands back."""

    model: Any
    card: Card
    item_ids: NDArray[np.object_]


def ranks_of(
    model_id: str,
    rank: NDArray[Any],
    user: NDArray[Any],
    *,
    frozen_id: str = "frozen",
    rule: EvaluationSettings = RULE,
) -> Ranks:
    n = len(rank)
    return Ranks(
        model_id=model_id,
        frozen_id=frozen_id,
        rule=rule_key(rule),
        user=np.asarray(user, dtype=np.int32),
        position=np.arange(n, dtype=np.int64),
        session=np.arange(n, dtype=np.int64),
        time_us=np.arange(n, dtype=np.int64),
        item=np.ones(n, dtype=np.int32),
        rank=np.asarray(rank, dtype=np.int32),
    )


def users(n_users: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Users with one to nine targets each, as unequal as in real logs."""
    return np.repeat(np.arange(n_users), rng.integers(1, 10, n_users))


def skilled(
    user: NDArray[np.int64], skill: float, rng: np.random.Generator, spread: float = 0.1
) -> NDArray[np.int64]:
    """Ranks of a model that finds a target near the top with probability about ``skill``.

    Some users are easier than others, so targets of one user resemble one another.
    """
    ease = np.clip(skill + rng.normal(0, spread, user.max() + 1), 0, 1)[user]
    hit = rng.random(user.size) < ease
    return np.where(hit, rng.integers(1, 11, user.size), rng.integers(100, N_ITEMS, user.size))


def contestant(model_id: str, ranks: Ranks | None, as_of: Hour = START) -> Contestant:
    return Contestant(
        model_id=model_id,
        system=model_id.split("-", maxsplit=1)[0],
        dataset_id="base",
        as_of=as_of,
        ranks=ranks,
        ranks_sha256="0" * 64 if ranks else None,
    )


def evidence(
    candidate: float = 0.6,
    champion: float | None = 0.3,
    floor: float = 0.1,
    *,
    n_users: int = 150,
    seed: int = 0,
) -> Evidence:
    """Evidence about three models of the given skills; a clear promotion as it stands."""
    rng = np.random.default_rng(seed)
    user = users(n_users, rng)

    def of(model_id: str, skill: float) -> Contestant:
        return contestant(model_id, ranks_of(model_id, skilled(user, skill, rng), user))

    return Evidence(
        frozen_id="frozen",
        start=START,
        candidate=of("hrnn-new", candidate),
        champion=None if champion is None else of("hrnn-old", champion),
        baselines={"recent_pop": of("recent_pop-now", floor)},
        artefact_report=ArtefactReport("hrnn-new", (), "c" * 64, 64),
        quality_passed=True,
        rule=RULE,
        gate=GATE,
        seed=seed,
    )


def outcome_and_reasons(case: Evidence) -> tuple[str, tuple[str, ...]]:
    decision = decide(case)
    return decision.outcome.value, decision.reasons


def check_named(name: str, case: Evidence) -> CheckResult:
    (check,) = [check for check in decide(case).checks if check.name == name]
    return check


def with_baselines(case: Evidence, seed: int = 0, **skills: float) -> Evidence:
    """The same evidence with further baselines of the given skills."""
    ranks = case.candidate.ranks
    assert ranks is not None
    more = {}
    for at, (name, skill) in enumerate(skills.items()):
        rng = np.random.default_rng((seed, at))
        model_id = f"{name}-now"
        found = skilled(ranks.user, skill, rng)
        more[name] = contestant(model_id, ranks_of(model_id, found, ranks.user), case.start)
    baselines = {**case.baselines, **more}
    gate = case.gate.model_copy(update={"baseline": tuple(baselines)})
    return replace(case, baselines=baselines, gate=gate)


def with_ranks(one: Contestant, **changes: object) -> Contestant:
    assert one.ranks is not None
    return replace(one, ranks=replace(one.ranks, **changes))  # type: ignore[arg-type]


def write_artefact(models: Path, model_id: str) -> Path:
    """A folder that stands for an artefact: its card is all that promotion looks at."""
    folder = models / model_id
    folder.mkdir(parents=True)
    (folder / CARD_NAME).write_text(json.dumps({"model_id": model_id}))
    return folder


def at_hour(folder: Path, hour: int, case: Evidence, since: Hour | None = None) -> Evidence:
    """The same case ``hour`` hours later, with the looks before it that lie in a folder."""
    start = START + hour
    return replace(
        case,
        start=start,
        candidate=replace(case.candidate, as_of=start),
        baselines={name: replace(one, as_of=start) for name, one in case.baselines.items()},
        name=case.name or "hrnn",
        earlier=lambda key: earlier_looks(folder, start, key, since),
        first_of_hour=lambda key: first_look(folder, start, key),
    )
