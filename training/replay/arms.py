"""Arms: models that are fitted, or not, as history goes on, and asked at every step."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipeline.dataset.rows.arrays import index_of_items
from pipeline.dataset.rows.encoding import Encoding
from pipeline.dataset.rows.event_log import FlatLog, start_us
from pipeline.errors import HourglassError, UsageError
from pipeline.hours import Hour, HourRange
from pipeline.settings.learning import (
    ANEW_DAILY,
    ArmSettings,
    ModelSettings,
    RetrainSettings,
)
from pipeline.settings.settings import Settings
from pipeline.settings.tables import DatasetSettings
from training.data.in_memory import InMemoryDataset, InMemoryDatasets, popularity
from training.fit.model_check import Facts, check_model, facts_of, naming
from training.fit.model_configs import ModelConfig, agreeing, configured, resolve
from training.fit.retrain_policy import (
    RetrainSignals,
    popularity_shift,
    should_retrain,
    unseen_share,
)
from training.model_types import Tensors
from training.models import MODEL_NAMES, build
from training.models.parts.base import FollowsTrends, GradientTrained, Model

if TYPE_CHECKING:
    from training.trainer.interface import ParentWeights

#: How often each item was next to the last one, before or after it: no similarity, one step.
NEIGHBOURS = {
    "reach": 1,
    "directed": False,
    "exponent": 0.0,
    "shrinkage": 0.0,
    "last_items": 1,
}
#: The mixture alone: its weights are fitted, and the network that it leaves out is not.
WITHOUT_NETWORK = {
    "affinity": False,
    "epochs": 1,
    "width": 8,
    "continue_epochs": 0,
    "anew_h": 0,
}
# All learn from the same window and know all of its items: none loses by a rare item.  Continued
# ones keep those of earlier windows too; the table tells how many targets each knew.
_DEFAULT = tuple(
    ArmSettings(min_item_events=1, **arm)
    for arm in (
        {"name": "recent_pop"},
        {"name": "p_pop"},
        {"name": "item_knn"},
        {"name": "vsknn"},
        {"name": "stan"},
        {"name": "vstan", "model": "stan", "parameters": {"idf_weight": 1.0, "last_shared": True}},
        {"name": "neighbours", "model": "item_knn", "parameters": NEIGHBOURS},
        {"name": "hrnn_trend", "mode": "continued"},
        {
            "name": "hrnn_trend-without-network",
            "model": "hrnn_trend",
            "mode": "continued",
            "parameters": WITHOUT_NETWORK,
        },
        {"name": "hrnn_trend-offline", "model": "hrnn_trend", "mode": "offline"},
        {"name": "hrnn", "mode": "continued", "parameters": ANEW_DAILY},
    )
)


@dataclass(frozen=True)
class Arm:
    """One arm, ready to be fitted."""

    settings: ArmSettings
    model: ModelConfig
    first_model: ModelConfig
    stale_rule: RetrainSettings

    @property
    def name(self) -> str:
        """What tables call it."""
        return self.settings.name

    @property
    def digest(self) -> str:
        """Of all that decides what the arm does, its name apart."""
        document = self.settings.model_dump(mode="json", exclude={"name", "model"})
        if self.settings.skip_when_stale:
            document["stale_rule"] = self.stale_rule.model_dump(mode="json")
        models = [dataclasses.asdict(model) for model in (self.model, self.first_model)]
        for model in models:
            model.pop("name")
        text = json.dumps([document, models], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class ArmState:
    """What an arm has learned so far: its system as serving would load it, and its terms."""

    model: Model
    tensors: Tensors
    optimiser: Tensors | None
    encoding: Encoding
    as_of: Hour
    fits: int


@dataclass(frozen=True)
class Fit:
    """What one fit cost, and on how much it was; ``seconds`` has that of the cut apart."""

    seconds: float
    build_s: float
    learned_events: int


#: Whether an arm that has a model should be fitted on a new cut; the state is the model's.
ShouldRetrain = Callable[[ArmState, InMemoryDataset], bool]


def always(state: ArmState, dataset: InMemoryDataset) -> bool:  # noqa: ARG001 - the signature is WorthIt
    """Fit at every step that is due."""
    return True


def arms_of(settings: Settings, names: Sequence[str]) -> list[Arm]:
    """The arms of those names, or all that are configured.

    Raises:
        UsageError: there is no such arm, or its model does not exist or refuses its parameters.
    """
    configured_arms = settings.replay.arms or _DEFAULT
    unknown = [name for name in names if name not in {arm.name for arm in configured_arms}]
    if unknown:
        names_text = ", ".join(arm.name for arm in configured_arms)
        raise UsageError(f"no arm {unknown[0]!r}: use one of {names_text}")
    # All of them: a wrong one would else be found when the others have been rolled.
    chosen = {arm.name for arm in configured_arms if not names or arm.name in names}
    # The arms of our own are no setting of anybody's: one that does not suit the data ends alone.
    data = facts_of(settings) if settings.replay.arms else Facts()
    arms = [
        arm_of(settings, arm, data if arm.name in chosen else Facts()) for arm in configured_arms
    ]
    return [arm for arm in arms if arm.name in chosen]


def arm_of(settings: Settings, arm_settings: ArmSettings, data: Facts) -> Arm:
    """An arm by its settings, and what is known of the data.

    Raises:
        UsageError: its model does not exist or refuses its parameters.
    """
    model_name = arm_settings.model
    if (
        model_name in {candidate.name for candidate in settings.models}
        or model_name not in MODEL_NAMES
    ):
        model = configured(settings, model_name)
    else:
        model = resolve(ModelSettings(file=model_name))

    def with_parameters(own: dict[str, object]) -> ModelConfig:
        laid_over = {**model.parameters, **arm_settings.parameters, **own}
        named = dataclasses.replace(model, name=arm_settings.name, parameters=laid_over)
        config = agreeing(named, settings.evaluation.repeats == "keep")
        with naming(f"arm {arm_settings.name!r}"):
            check_model(config, data)
        return config

    models = with_parameters({}), with_parameters(arm_settings.first_parameters)
    arm = Arm(arm_settings, *models, settings.retrain)
    system = build(arm.model.system, arm.model.parameters)
    if arm_settings.mode == "continued" and not isinstance(system, GradientTrained):
        raise UsageError(
            f"arm {arm_settings.name!r}: {arm.model.system} is always fitted anew: use mode fresh"
        )
    return arm


def dataset_of(arm: Arm, settings: Settings, first: bool) -> DatasetSettings:
    """What the arm learns from: the settings' rules with its own window."""
    own, rules = arm.settings, settings.dataset
    window = (own.first_window if first else None) or own.window or rules.window
    least = own.min_item_events or rules.min_item_events
    return rules.model_copy(update={"window": window, "min_item_events": least})


def is_due(arm: Arm, state: ArmState | None, step: int) -> bool:
    """Whether the arm is to be fitted at a step, the first being 0."""
    if state is None:
        return True
    return arm.settings.mode != "offline" and step % arm.settings.every == 0


def fitted(
    arm: Arm,
    state: ArmState | None,
    datasets: InMemoryDatasets,
    as_of: Hour,
    should_retrain: ShouldRetrain = always,
) -> tuple[ArmState, Fit | None]:
    """Fit the arm on what was known at ``as_of``; None where it kept the model that it had.

    Raises:
        HourglassError: the very first window holds nothing to learn from, or the fit fails.
    """
    own, settings, first = arm.settings, datasets.settings, state is None
    continues = own.mode == "continued" and state is not None
    before = state.encoding if continues and state is not None else None
    try:
        cut, cut_s = datasets.train(dataset_of(arm, settings, first), as_of, before)
    except HourglassError as error:
        if state is None:
            raise HourglassError(f"arm {arm.name!r}: {error}") from error
        return state, None
    if state is not None and own.skip_when_stale and not should_retrain(state, cut):
        return state, None
    began_s = time.perf_counter()
    model = arm.first_model if first else arm.model
    system = build(model.system, model.parameters)
    optimiser = None
    if isinstance(system, GradientTrained):
        from training.trainer.interface import FitOptions

        start = _start(state, datasets.log) if continues and state is not None else None
        options = FitOptions(parent=start)
        system.fit_with(cut.data, settings.replay.seed, lambda _: None, options)
        if model.keep_optimiser and own.mode == "continued":
            optimiser = system.optimiser_tensors() or None
    else:
        system.fit(cut.data, settings.replay.seed, lambda _: None)
    # Asked as it would be served, which is also how a run that was killed goes on.
    tensors = {name: tensor.copy() for name, tensor in system.tensors().items()}
    fitted_state = ArmState(
        loaded(model, tensors),
        tensors,
        optimiser,
        cut.encoding,
        as_of,
        (0 if state is None else state.fits) + 1,
    )
    seconds = time.perf_counter() - began_s
    return fitted_state, Fit(seconds, cut_s, cut.data.manifest.n_targets)


def loaded(model: ModelConfig, tensors: Tensors) -> Model:
    """A system from what it has learned."""
    system = build(model.system, model.parameters)
    system.load(tensors)
    return system


def follows_popularity(arm: Arm, state: ArmState) -> bool:
    """Whether the arm's model is told the popularity of each hour."""
    return arm.settings.popularity != "frozen" and isinstance(state.model, FollowsTrends)


def with_current_popularity(
    arm: Arm, state: ArmState, log: FlatLog, hours: HourRange, since: Hour
) -> None:
    """Give a model that follows trends the hourly popularity up to the end of a step.

    Args:
        arm: whose popularity may be frozen.
        state: of the arm.
        log: of all events.
        hours: of the step; a system uses only those before the hour of a request.
        since: first hour to tell of; hours since the fit are told in any case.
    """
    if not follows_popularity(arm, state) or not isinstance(state.model, FollowsTrends):
        return
    hours_counted = HourRange(min(since, state.as_of), hours.stop)
    counts = popularity(log, hours_counted, index_of_items(log, state.encoding.items))
    state.model.refresh(counts, hours.stop)


def _start(state: ArmState, log: FlatLog) -> ParentWeights:
    from training.trainer.interface import ParentWeights

    return ParentWeights(
        model_id=f"replay-{state.as_of}",
        tensors=state.tensors,
        item_ids=log.item_ids[state.encoding.items],
        optimiser=state.optimiser,
        as_of_us=start_us(state.as_of),
    )


# Whether an arm's fit is worth it: signs of `training.fit.retrain_policy`, from cuts in memory.


def retrain_by_signals(
    rule: RetrainSettings, seed: int
) -> Callable[[ArmState, InMemoryDataset], bool]:
    """What `hourglass stale` would say of an arm, the development of its figures apart."""

    def worth_it(state: ArmState, cut: InMemoryDataset) -> bool:
        return should_retrain(signals_of(state, cut, seed), rule).retrain

    return worth_it


def signals_of(state: ArmState, dataset: InMemoryDataset, seed: int) -> RetrainSignals:
    """The signs of a model at the time of a cut, as far as the cut's items tell them."""
    as_of, window_h = dataset.data.manifest.as_of, dataset.data.manifest.popularity_window_h

    def events(first: Hour, stop: Hour) -> dict[str, int]:
        popularity = dataset.data.popularity
        within = (popularity.hour_index >= first.index) & (popularity.hour_index < stop.index)
        counts = np.bincount(
            popularity.item[within] - 1,
            weights=popularity.events[within],
            minlength=len(dataset.encoding.items),
        )
        return {str(item): int(count) for item, count in enumerate(counts) if count}

    in_vocabulary = np.flatnonzero(np.isin(dataset.encoding.items, state.encoding.items))
    return RetrainSignals(
        age_h=as_of.index - state.as_of.index,
        unseen_share=unseen_share(
            events(max(state.as_of, as_of - window_h), as_of), {str(item) for item in in_vocabulary}
        ),
        shift=popularity_shift(
            events(state.as_of - window_h, state.as_of), events(as_of - window_h, as_of), seed
        ),
        metric_drop=None,
    )
