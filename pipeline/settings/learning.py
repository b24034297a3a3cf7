"""Models, how they are compared, what lets one go live or takes it back, and what it serves."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from pipeline.settings.field_types import Duration, Fraction, named_once
from pipeline.settings.section import Section, as_before

#: Parameters of a network that is made anew once a day, with a short step in the hours between;
#: `hrnn_trend` has them by itself.
ANEW_DAILY = {"anew_h": 24, "continue_h": 24, "continue_epochs": 1, "continue_rate": 0.1}

#: Figures of lists that the gate can hold.
Guard = Literal["coverage", "evenness", "novelty", "new_items", "diversity"]


class ModelSettings(Section):
    """One candidate: a system, or a file that names one, and parameters that differ from its own.

    A text alone stands for a file, or for a system that has none.
    """

    name: str = Field(
        "", pattern=r"^[\w.-]*$", description="default: that of the system or of the file"
    )
    system: str | None = Field(
        None,
        description="a type of model, like pop, item_knn, hrnn_trend or sasrec; docs/models.md has "
        "them all",
    )
    file: str | None = Field(
        None, description="one of training/configs, like hrnn, or the path of your own YAML file"
    )
    parameters: dict[str, Any] = Field(
        {}, description="those that differ from the file's, or from the defaults of the system"
    )
    keep_optimiser: bool = Field(
        False, description="keep what --init-from needs to go on as if training had not stopped"
    )
    init_from: Literal["none", "champion", "previous", "self"] = Field(
        "none",
        description="continue from the live model, the one before it, or this entry's own latest; "
        "where there is none of its system yet, it begins anew",
    )

    @model_validator(mode="before")
    @classmethod
    def _of_text(cls, value: object) -> object:
        return {"file": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_parent(self) -> Self:
        if (self.system is None) == (self.file is None):
            raise ValueError("a model needs a system or a file, one of the two")
        if not self.name:
            # Frozen from here on; later checks and readers rely on the name.
            object.__setattr__(self, "name", self.system or Path(str(self.file)).stem)
        return self


class EvaluationSettings(Section):
    """How systems are compared: over all items, next item, ties against the model."""

    k: int = Field(20, ge=1, description="length of the ranked list that is judged")
    horizon: Duration = Field(
        "1h", description="how long after the data set's time its test events reach"
    )
    repeats: Literal["drop", "keep"] = Field(
        "drop", description="whether an event on the user's previous item is a target"
    )
    targets: Literal["all", "within_session"] = Field(
        "all", description="within_session leaves out the first event of each session"
    )
    max_users: int | None = Field(
        None,
        ge=1,
        json_schema_extra=as_before(None),
        description="of an hour with more, so many are drawn and all their events asked; default: "
        "everybody is",
    )
    bootstrap_samples: int = Field(1000, ge=100, description="behind the intervals, by user")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="of the leaderboard's intervals")


class GateSettings(Section):
    """What a candidate must show before it goes live."""

    metric: Literal["recall", "mrr", "ndcg"] = Field(
        "mrr", description="what is compared, at evaluation.k"
    )
    confidence: float = Field(
        0.95, gt=0.5, lt=1, description="1 - this: risk of one false promotion in a gate.period"
    )
    min_users: int = Field(30, ge=1, description="over all looks; with fewer the gate holds")
    min_targets: int = Field(200, ge=1, description="events over all looks; with fewer: hold")
    baseline: str | tuple[str, ...] = Field(
        "recent_pop", description="what every candidate must beat, by name; each of several"
    )
    max_block_drop: Fraction = Field(
        0.10, description="a candidate surely worse than the champion by more than this is blocked"
    )
    period: Duration = Field(
        "7d", description="looks of one such period share the risk of one false promotion"
    )
    hour_swing: Fraction = Field(
        0.20, description="of the champion's figure: what the luck of one look may move it for all"
    )
    day_swing: Fraction = Field(
        0.05, description="of the champion's figure: the luck of a day, until days tell it"
    )
    slice_margin: Fraction = Field(
        0.20, description="of the champion's figure there: a slice must surely not lose as much"
    )
    min_slice_users: int = Field(100, ge=2, description="smaller slices are told, not judged")
    guards: dict[Guard, Fraction] = Field(
        {},
        description="what a candidate's lists must show at least, each a share of what the live "
        "model's show: coverage, evenness (1 - Gini), novelty, new_items, diversity",
        json_schema_extra=as_before({}),
    )
    approval: bool = Field(False, description="whether a person must agree to each promotion")
    approval_timeout: Duration = Field("1h", description="without an answer until then: rejected")

    @field_validator("baseline")
    @classmethod
    def _each_baseline_once(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        names = named_once(value)
        # A list of one is that one, in records too.
        return names[0] if len(names) == 1 else names

    @property
    def baselines(self) -> tuple[str, ...]:
        """Names of the baselines, as the settings list them."""
        return (self.baseline,) if isinstance(self.baseline, str) else self.baseline


class MonitorSettings(Section):
    """When the live model is rolled back (after each hour)."""

    confidence: float = Field(
        0.99, gt=0.5, lt=1, description="that a model as good as the baseline stays one gate.period"
    )
    min_users: int = Field(30, ge=2, description="with fewer, an hour condemns nobody")
    hours: int = Field(1, ge=1, description="the latest hours that are judged together")


class RetrainSettings(Section):
    """Which hours are worth a new model; `skip` alone lets one pass."""

    skip: bool = Field(False, description="whether hours in which little changed are skipped")
    max_age: Duration = Field("24h", description="a live model older than this is always retrained")
    max_unseen_share: Fraction = Field(0.05, description="events on items that it does not know")
    max_shift: Fraction = Field(0.15, description="total variation of popularity since then")
    max_metric_drop: Fraction = Field(0.05, description="of its own figures after its promotion")
    max_lead_drop: Fraction = Field(
        0.10,
        description="of an entry's lead over the baseline since its whole fit: above, it is made "
        "anew",
    )
    max_new_share: Fraction = Field(
        0.9,
        description="events on items that an entry's whole fit did not know: above, it is made "
        "anew",
    )
    refit: bool = Field(False, description="promote a fit that learned from the judged hour too")
    catch_up: Duration | None = Field(
        "24h", description="how far back hours that ended unjudged are judged; null: none are"
    )


class RecommendSettings(Section):
    """What is recommended to whom."""

    k: int = Field(20, ge=1, description="items for each user")
    exclude_seen: Literal["none", "session", "history"] = Field(
        "none",
        description="leave out what the session still going on holds, or the user's whole history; "
        "true means history",
    )
    exclude_unavailable: bool = Field(
        True, description="leave out items that the items table says cannot be had at that time"
    )
    max_item_age: Duration | None = Field(
        None, description="leave out items that became available longer ago"
    )
    max_item_silence: Duration | None = Field(
        None, description="leave out items on which nobody did anything for so long"
    )
    popular_hours: Duration = Field("24h", description="what counts as popular, for new users")
    min_context_events: int = Field(
        100, ge=1, description="fewer in a context, and new users there get what is popular overall"
    )

    popularity: float = Field(
        0.0,
        allow_inf_nan=False,
        description="weight of ln(1 + recent events) beside the model's score, in standard "
        "deviations of the candidates' scores; below 0 lifts the rare, 0 leaves the lists alone",
        json_schema_extra=as_before(0.0),
    )
    freshness: float = Field(
        0.0,
        ge=0,
        allow_inf_nan=False,
        description="what an item just born gains, in the same measure; half of it after "
        "freshness_half_life; 0: nothing",
        json_schema_extra=as_before(0.0),
    )
    freshness_half_life: Duration = Field(
        "24h",
        description="age at which half of the gain is left",
        json_schema_extra=as_before("24h"),
    )
    max_per_category: int | None = Field(
        None,
        ge=1,
        description="items of one category in a list, at most; default: as many as there are",
        json_schema_extra=as_before(None),
    )
    category: str | None = Field(
        None,
        min_length=1,
        description="column of the items file that is the category; default: every category that "
        "the items table has of an item",
        json_schema_extra=as_before(None),
    )
    exploration: Fraction = Field(
        0.0,
        description="share of the places that are drawn from the candidates instead; each row of "
        "the lists then tells its propensity",
        json_schema_extra=as_before(0.0),
    )
    exploration_seed: int = Field(
        0, ge=0, description="of what is drawn", json_schema_extra=as_before(0)
    )
    candidates: int = Field(
        200,
        ge=1,
        description="of each user, so many of the model's best items (at least k) are ordered anew "
        "and drawn from; without any of these knobs it means nothing",
        json_schema_extra=as_before(200),
    )

    @property
    def has_knobs(self) -> bool:
        """Whether lists are anything but the model's best items under the rules."""
        weights = (self.popularity, self.freshness, self.exploration)
        return any(weights) or self.max_per_category is not None

    @property
    def n_candidates(self) -> int:
        """Of each user; a list of k needs k."""
        return max(self.candidates, self.k)

    def without_knobs(self) -> Self:
        """The same rules, and lists that are the model's best items."""
        off = {"popularity": 0.0, "freshness": 0.0, "exploration": 0.0, "max_per_category": None}
        return self.model_copy(update=off)

    @field_validator("exclude_seen", mode="before")
    @classmethod
    def _of_bool(cls, value: object) -> object:
        text = str(value).lower()
        return {"true": "history", "false": "none"}.get(text, value)


class ArmSettings(Section):
    """One arm of a replay: a model, and when and on what it is fitted."""

    name: str = Field(pattern=r"^[\w.-]+$", description="of the arm, in table and picture")
    model: str = Field(
        "", description="a configured model, a system, one of training/configs, or a YAML file"
    )
    parameters: dict[str, Any] = Field({}, description="that differ from the model's own")
    first_parameters: dict[str, Any] = Field({}, description="that differ in the first fit alone")
    mode: Literal["offline", "fresh", "continued"] = Field(
        "fresh", description="fitted once, anew each time, or on from its own previous weights"
    )
    every: int = Field(1, ge=1, description="steps from one fit to the next")
    popularity: Literal["fresh", "frozen"] = Field(
        "fresh", description="whether recent popularity reaches a model that is not fitted"
    )
    window: Duration | None = Field(None, description="default: dataset.window")
    first_window: Duration | None = Field(None, description="of the first fit; default: window")
    min_item_events: int | None = Field(None, ge=1, description="default: dataset.min_item_events")
    skip_when_stale: bool = Field(
        False, description="whether fits that are not worth it are left out"
    )

    @model_validator(mode="after")
    def _model_of_its_name(self) -> Self:
        if not self.model:
            object.__setattr__(self, "model", self.name)
        return self


class SearchRange(Section):
    """Numbers that may be tried: whole ones where both ends are written so."""

    low: int | float = Field(description="smallest number that is tried")
    high: int | float = Field(description="largest number that is tried")
    log: bool = Field(False, description="whether .001 is as far from .01 as .01 from .1")

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            raise ValueError(f"{self.low} to {self.high} has an end that is no number")
        if self.low >= self.high:
            raise ValueError(f"low {self.low} is not below high {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"low {self.low} has no logarithm: begin above 0, or without log")
        return self


class TuneSettings(Section):
    """How `hourglass tune` chooses parameters."""

    hours: Duration = Field(
        "24h",
        description="how much of the latest history trials are judged on, by turns of an hour",
    )
    metric: Literal["recall", "mrr", "ndcg"] = Field(
        "mrr", description="what is to become large, at evaluation.k"
    )
    trials: int = Field(20, ge=1, description="how many are made, those of earlier runs included")
    seed: int = Field(0, ge=0, description="of what is tried, and of every fit")
    space: dict[str, SearchRange | tuple[bool | int | float | str, ...]] = Field(
        {},
        description="what may be tried of a parameter, as a list or as low, high and log: beside "
        "the shipped ranges, or in their places",
    )

    @field_validator("space")
    @classmethod
    def _something_to_choose_from(
        cls, space: dict[str, SearchRange | tuple[bool | int | float | str, ...]]
    ) -> dict[str, SearchRange | tuple[bool | int | float | str, ...]]:
        for name, values in space.items():
            if isinstance(values, tuple) and not values:
                raise ValueError(f"{name}: an empty list leaves nothing to try")
        return space


class ReplaySettings(Section):
    """How `hourglass replay` rolls history."""

    step: Duration = Field("1h", description="between two retrainings, and what each is judged on")
    seed: int = Field(0, ge=0, description="of every fit")
    as_known: bool = Field(
        True,
        description="whether a step knows only what had arrived by then; false: all that had "
        "happened. What is to be found is all that happened in either case",
    )
    arms: tuple[ArmSettings, ...] = Field(
        (),
        description="default: baselines, neighbours, hrnn, hrnn_trend hourly, offline, no network",
    )

    @field_validator("arms")
    @classmethod
    def _each_arm_once(cls, arms: tuple[ArmSettings, ...]) -> tuple[ArmSettings, ...]:
        names = [arm.name for arm in arms]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two arms are called {twice[0]!r}: give one of them another name")
        return arms
