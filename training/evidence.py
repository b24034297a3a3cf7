"""What the gate looks at, and what a check of it may say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pipeline.hours import Hour
from pipeline.settings import EvaluationSettings, GateSettings
from training.ranks import Ranks
from training.soundness import Soundness


class Outcome(StrEnum):
    """What is to happen with the candidate, from best to worst."""

    PROMOTE = "promote"
    HOLD = "hold"
    BLOCK = "block"


@dataclass(frozen=True)
class Contestant:
    """A model in the comparison; ``ranks`` is None where its evaluation failed or is missing."""

    model_id: str
    system: str
    dataset_id: str
    as_of: Hour
    ranks: Ranks | None
    ranks_sha256: str | None


@dataclass(frozen=True)
class Evidence:
    """All that a decision may depend on."""

    frozen_id: str
    start: Hour  # first hour of the frozen events
    candidate: Contestant
    champion: Contestant | None  # None: nothing is live
    floor: Contestant
    soundness: Soundness | None  # of the candidate's artefact; None: not examined
    quality_passed: bool | None  # None: not validated
    rule: EvaluationSettings
    gate: GateSettings
    seed: int

    @property
    def contestants(self) -> dict[str, Contestant]:
        """By role: candidate, floor and, where there is one, champion."""
        roles = {"candidate": self.candidate, "floor": self.floor}
        return roles | ({"champion": self.champion} if self.champion else {})


@dataclass(frozen=True)
class CheckResult:
    """What one check found: a stable reason code, a sentence, and the numbers behind it."""

    name: str
    outcome: Outcome
    reason: str
    sentence: str
    numbers: dict[str, Any]


Check = Callable[[Evidence], CheckResult]
