"""What speaks for making a continued entry anew, gathered from the cards and looks of its fits.

A fit from nothing and the steps from it make up one generation of an entry: the models behind its
latest fit, back to the latest one that was not continued.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.errors import HourglassError
from pipeline.hours import Hour, HourRange, parse_duration_h
from pipeline.lake.lake import Lake
from pipeline.settings.settings import Settings
from training.evaluation.evaluate import Evaluation, evaluations_after, read_evaluation
from training.fit.model_configs import configured
from training.fit.parent_model import NONE, own_parent
from training.fit.retrain_policy import LineSignals, Look, lead_drop, unseen_share
from training.fit.retrain_signals import item_events, vocabulary_of
from training.registry.mlflow_registry import Registry, registered_version, tag_of_run
from training.registry.model_card import ModelCard, read_card

_FLOOR = "floor"  # what evaluations call the role of a baseline
_WHOLE_FIT_AGE = "whole_fit_age_h"
_SECTIONS = ("dataset", "sessions")  # sections of the settings that say what is learned from


@dataclass(frozen=True)
class Generation:
    """The fits behind an entry's latest one, that one first, back to one from nothing.

    ``is_whole``: whether that one is among them; it may be gone, or longer ago than a period.
    """

    cards: tuple[ModelCard, ...]
    is_whole: bool

    @property
    def began(self) -> Hour:
        """The time of the oldest of them."""
        return self.cards[-1].as_of


def line_signals(
    settings: Settings, lake: Lake, registry: Registry, as_of: Hour
) -> tuple[LineSignals, ...]:
    """Of each candidate that would go on from an earlier fit; nothing from ``as_of`` on is read."""
    models = {model.name for model in settings.models}  # the default candidate need not be there
    return tuple(
        _signals(settings, lake, registry, as_of, name, card.model_id)
        for name in settings.candidates
        if name in models and (card := _parent(settings, registry, as_of, name)) is not None
    )


def _parent(settings: Settings, registry: Registry, as_of: Hour, name: str) -> ModelCard | None:
    """Card of the model that training would have an entry go on from."""
    model = configured(settings, name)
    return None if model.init_from == NONE else own_parent(settings, registry, as_of, model)[0]


def _signals(
    settings: Settings, lake: Lake, registry: Registry, as_of: Hour, name: str, model_id: str
) -> LineSignals:
    since = as_of - parse_duration_h(settings.gate.period)
    fits = generation(settings, model_id, since)
    window_h = parse_duration_h(settings.dataset.popularity_window)
    recent = item_events(lake, HourRange(max(fits.began, as_of - window_h), as_of))
    looks = looks_of(settings, fits, HourRange(fits.began, as_of))
    return LineSignals(
        name=name,
        parent=model_id,
        whole_fit_age_h=as_of.index - fits.began.index if fits.is_whole else None,
        anew_h=_anew_h(settings, name, fits.cards[0]),
        lead_drop=lead_drop(looks),
        new_share=_new_share(settings, fits, recent),
        # Of the whole fit: a step under the settings of now leaves what it went on from behind.
        rules_changed=_rules_changed(settings, registry, fits.cards[-1].model_id),
    )


def generation(settings: Settings, model_id: str, since: Hour) -> Generation:
    """The fits behind a model; none from before ``since``, but the model itself.

    Raises:
        HourglassError: the model's own card cannot be read.
    """
    cards = [read_card(settings.path("models") / model_id)]
    # Cards of before a fit that was made anew said so tell it by its age alone.
    while (parent := cards[-1].continued_from) is not None and cards[-1].metrics.get(
        _WHOLE_FIT_AGE
    ) != 0:
        try:
            card = read_card(settings.path("models") / parent)
        except HourglassError:
            return Generation(tuple(cards), is_whole=False)
        if card.as_of < since:
            return Generation(tuple(cards), is_whole=False)
        cards.append(card)
    return Generation(tuple(cards), is_whole=True)


def _anew_h(settings: Settings, name: str, latest: ModelCard) -> int:
    """As the entry says, or else as it was for its latest fit, whose card tells defaults too."""
    own = configured(settings, name).parameters
    return int(own.get("anew_h", latest.all_parameters.get("anew_h", 0)))


def _new_share(settings: Settings, fits: Generation, recent: dict[str, int]) -> float | None:
    if not fits.is_whole:
        return None
    try:
        vocabulary = vocabulary_of(settings.path("models") / fits.cards[-1].model_id)
    except HourglassError:
        return None
    return unseen_share(recent, vocabulary)


def _rules_changed(settings: Settings, registry: Registry, model_id: str) -> bool:
    """Whether sessions or data sets are made by other settings than when a model was fitted."""
    try:
        version = registered_version(registry, model_id).version
        before = tag_of_run(registry, version, "config_digest")
    except HourglassError:
        return False
    return before is not None and before != settings.digest(*_SECTIONS)


def looks_of(settings: Settings, fits: Generation, within: HourRange) -> list[Look]:
    """The gate's metric of a generation's fits and of the best baseline, by evaluation, in order.

    Of several fits of it that were judged on the same hours the latest counts, of several looks at
    one fit that with the most targets: the others were taken before events came late.
    """
    by_hour: dict[Hour, tuple[Hour, Look]] = {}
    for evaluation in _evaluations(settings, within):
        mean = {
            row.model_id: (row.mean, row.n_targets)
            for row in evaluation.rows
            if (row.metric, row.slice_name) == (settings.gate.metric, "all")
        }
        own = [card for card in fits.cards if card.model_id in mean]
        floors = [
            mean[model_id][0]
            for model_id, roles in evaluation.roles.items()
            if _FLOOR in roles and model_id in mean
        ]
        if own and floors:
            figure, n_targets = mean[own[0].model_id]
            hour, look = Hour.parse(evaluation.start), Look(figure, max(floors), n_targets)
            other = by_hour.get(hour)
            if other is None or (own[0].as_of, n_targets) > (other[0], other[1].n_targets):
                by_hour[hour] = own[0].as_of, look
    return [by_hour[hour][1] for hour in sorted(by_hour)]


def _evaluations(settings: Settings, within: HourRange) -> Iterator[Evaluation]:
    for folder in evaluations_after(settings.path("evaluations"), within.first):
        try:
            evaluation = read_evaluation(folder)
            first = Hour.parse(evaluation.start)
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if within.first <= first and first + evaluation.hours <= within.stop:
            yield evaluation
