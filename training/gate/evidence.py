"""What the gate looks at, and what a check of it may say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any

from pipeline.array_types import Bools, Floats, Objects
from pipeline.errors import HourglassError
from pipeline.hours import Hour, HourRange, parse_duration_h
from pipeline.settings.learning import EvaluationSettings, GateSettings
from training.gate.artefact_checks import ArtefactReport
from training.gate.past_looks import ALL, Look, LookKey, definition, period_start
from training.gate.roles import CANDIDATE, CHAMPION, baseline_labels, baselines_text
from training.gate.sequential_test import Sums
from training.gate.user_sums import UserSums, merge_user_sums
from training.metrics.metrics import target_values
from training.metrics.ranks import Ranks, rule_key


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
    card_sha256: str | None = None  # as it lies there now; that of the ranks is in them
    version: str | None = None  # in the registry, of what is live
    champion_record: str | None = None  # what made it live
    failure: str | None = None  # why it has no ranks
    definition: str = ""  # digest of what its line is made of
    changed: str | None = None  # how its files differ from what the registry recorded


@dataclass(frozen=True)
class Evidence:
    """All that a decision may depend on."""

    frozen_id: str
    start: Hour  # first hour of the frozen events
    candidate: Contestant
    champion: Contestant | None  # None: nothing is live
    baselines: Mapping[str, Contestant]  # by their names in the settings
    artefact_report: ArtefactReport | None  # of the candidate's artefact; None: not examined
    quality_passed: bool | None  # None: not validated
    rule: EvaluationSettings
    gate: GateSettings
    seed: int
    name: str = ""  # configured name of the candidate
    n_candidates: int = 1  # lines that share the risk
    base_dataset_id: str | None = None  # what the frozen events follow; None: any will do
    late: bool = False  # judged after later hours had ended, by a fit from before: a look, no more
    ranked_champion: str | None = None  # version that was live at the evaluation
    slices: Mapping[str, Bools] = field(default_factory=dict)  # (n,) each
    user_ids: Objects | None = None  # of the rows of the frozen part
    # What the lists of candidate and champion show, by role and guard, as far as it was measured.
    shown: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    recorded_look: Look | None = None  # of a decision that is checked again, without ranks
    # Reads the earlier looks that count together with one of this key.
    earlier: Callable[[LookKey], tuple[Look, ...]] = lambda _: ()
    # Reads the look of this key at these very hours that was made first.
    first_of_hour: Callable[[LookKey], Look | None] = lambda _: None

    @property
    def contestants(self) -> dict[str, Contestant]:
        """By what records call them: candidate, baselines and, where there is one, champion."""
        floors = {label: self.baselines[name] for name, label in self.floors.items()}
        champion = {CHAMPION: self.champion} if self.champion else {}
        return {CANDIDATE: self.candidate, **floors, **champion}

    @property
    def floors(self) -> dict[str, str]:
        """What records call each baseline, by its name."""
        return baseline_labels(self.baselines)

    @property
    def same_model(self) -> bool:
        """Whether the candidate is what is live: then there is nothing to look at."""
        return self.champion is not None and self.champion.model_id == self.candidate.model_id

    @property
    def hours(self) -> HourRange:
        """The hours that are judged."""
        return HourRange(self.start, self.start + parse_duration_h(self.rule.horizon))

    @property
    def alpha(self) -> float:
        """Risk that this line may take in a period; the lines share that of the gate."""
        return (1.0 - self.gate.confidence) / max(1, self.n_candidates)

    @cached_property
    def look(self) -> Look:
        """This look's sums.

        Raises:
            HourglassError: a contestant has no ranks.
        """
        if self.recorded_look is not None:
            return self.recorded_look
        champion = self.champion
        user = ranks_of(self.candidate).user
        mine = self.values(self.candidate)
        floors = {name: self.values(self.baselines[name]) for name in self.floors}
        champion_sums: dict[str, Sums] = {}
        theirs = None if champion is None else self.values(champion)
        if theirs is not None:
            champion_sums[ALL] = Sums.of(mine, theirs, user)
            for name, mask in self.slices.items():
                if mask.any():
                    champion_sums[name] = Sums.of(mine[mask], theirs[mask], user[mask])
        return Look(
            hours=self.hours,
            key=LookKey(
                line=self.name,
                champion=(champion.version or champion.model_id) if champion else None,
                live_record=champion.champion_record if champion else None,
                floor=baselines_text(floors),
                metric=self.gate.metric,
                k=self.rule.k,
                rule=rule_key(self.rule),
                period=str(period_start(self.start, parse_duration_h(self.gate.period))),
                definition=self.candidate.definition,
                floor_definition=self._floor_definition(),
            ),
            baselines={name: Sums.of(mine, floor, user) for name, floor in floors.items()},
            champion=champion_sums,
            candidate=self.candidate.model_id,
            user_sums=None
            if self.user_ids is None
            else UserSums.of(
                self.user_ids,
                user,
                mine,
                theirs,
                {self.floors[name]: floor for name, floor in floors.items()},
            ),
        )

    def _floor_definition(self) -> str:
        """What all baselines are made of."""
        parts = {name: self.baselines[name].definition for name in self.floors}
        return definition(**parts) if len(parts) > 1 else next(iter(parts.values()))

    @cached_property
    def looks(self) -> tuple[Look, ...]:
        """The looks that count together, this one last.

        Raises:
            HourglassError: an earlier one was changed or is gone.
        """
        return (*self.earlier(self.look.key), self.look)

    def user_sums(self, label: str) -> Sums | None:
        """All looks added up user by user, against whom records call so, where known."""
        recorded = [look.user_sums for look in self.looks if look.user_sums is not None]
        return merge_user_sums(recorded).sums(label) if len(recorded) == len(self.looks) else None

    def values(self, contestant: Contestant) -> Floats:
        """What each target adds to the gate's metric, (n,)."""
        return target_values(self.gate.metric, ranks_of(contestant).rank, self.rule.k)


def ranks_of(contestant: Contestant) -> Ranks:
    """The ranks of a contestant.

    Raises:
        HourglassError: it has none.
    """
    if contestant.ranks is None:
        raise HourglassError(f"{contestant.model_id} has no ranks: run hourglass evaluate")
    return contestant.ranks


@dataclass(frozen=True)
class CheckResult:
    """What one check found: a stable reason code, a sentence, and the numbers behind it."""

    name: str
    outcome: Outcome
    reason: str
    sentence: str
    numbers: dict[str, Any]


Check = Callable[[Evidence], CheckResult]


def passed(name: str, reason: str, sentence: str, **numbers: object) -> CheckResult:
    """Nothing against a promotion."""
    return CheckResult(name, Outcome.PROMOTE, reason, sentence, numbers)


def held(name: str, reason: str, sentence: str, **numbers: object) -> CheckResult:
    """Not proven."""
    return CheckResult(name, Outcome.HOLD, reason, sentence, numbers)


def blocked(name: str, reason: str, sentence: str, **numbers: object) -> CheckResult:
    """Something is wrong."""
    return CheckResult(name, Outcome.BLOCK, reason, sentence, numbers)
