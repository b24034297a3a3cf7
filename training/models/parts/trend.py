"""The item-trend decomposition (HRNN sections 3.2 and 4.5, eq. 5), and other evidence.

    p(j | history, t)  is proportional to  exp(state . item_j + bias_j) * q(j | t) ** temperature

The network learns taste while q follows fashion: at scoring q comes from the latest known hours,
and `refresh` renews it without training.  With ``mixture`` the scores weigh more that is plain to
see, `parts.mixture.score_features`.  Weights, the temperature among them, are fitted on events that
the network has not learned from: the validation part, or, in a model that is continued, what
happened since.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.array_types import Floats, Ints
from pipeline.errors import HourglassError, UsageError
from pipeline.hours import US_PER_HOUR, Hour
from training.batching.targets import TargetSplit
from training.data.reader import DataSet, Histories, Popularity, Requests
from training.model_types import Report, Tensors
from training.models.parts.base import take_tensor
from training.models.parts.decayed_popularity import HourCounts, TrendRule, TrendTable
from training.models.parts.mixture.earlier_requests import (
    by_kind,
    latest_slices,
    thinned,
    time_slices,
)
from training.models.parts.mixture.former_models import (
    former_default_priors,
    read_sessions,
    refuse_other_features,
    similarity_rule,
)
from training.models.parts.mixture.residual_prior import ResidualPrior, residual_weights
from training.models.parts.mixture.score_features import (
    AFFINITY,
    DEFAULT_WEIGHTS,
    LOG_Q,
    MOST_EVENTS,
    SCORE_FEATURES,
    SIMILAR,
    FeatureStore,
    Neighbours,
    add_score_features,
)
from training.models.parts.mixture.score_weights import (
    Choices,
    GaussianPrior,
    Shared,
    fit_weights,
    log_weights,
)
from training.models.parts.mixture.weight_priors import STRENGTH, WeightPriors
from training.models.parts.neighbours.session_similarity import Sessions, SimilarityRule
from training.models.parts.recurrent import RecurrentModel
from training.models.parts.whole_fits import NotedFit
from training.nn.gru import gru
from training.nn.learner import Prior
from training.nn.parameters import RecurrentParameters
from training.nn.step_inputs import begins_session
from training.nn.steps import EncoderMaker
from training.parameters import require
from training.trainer.device import device_of
from training.trainer.interface import FitOptions, ParentWeights

_PLAIN = (AFFINITY, LOG_Q)  # the published form
# Of what the model that is continued believed; fewer requests than those make it forget less.
_REMEMBERED, _REMEMBERED_BY = 0.95, 100
_MOST = 600  # requests that weights are fitted on, of each kind
_BELIEVED = 0.5  # of what was fitted on requests from before, without the affinity
_COLUMNS = 4096
_COUNTS = ("item", "hour", "events")
_NEIGHBOURS = tuple(
    f"{name}.{array}" for name in ("followed", "near") for array in ("count", "column", "row_start")
)


@dataclass(frozen=True)
class TrendParameters(RecurrentParameters):
    """``trend``: whether q is told apart at all; without it there is no mixture either.

    ``half_life_h``: after so long an event counts half.
    ``trend_window_h``: hours before a request that count at all; 0 are all that the data set knows.
    ``trend_temperature``: how strongly log q counts; 0 is learned, and then fitted.  As printed in
    HRNN eq. 5, one window counts evenly and in full: ``mixture: false``, ``trend_window_h: 1``,
    ``trend_temperature: 1``.
    ``smoothing``: events that every item is granted, so that none is impossible.
    ``mixture``: whether repetition, neighbours, age and a second half-life of q are weighed too.
    ``affinity``: whether what the network learned of taste is weighed; without it the mixture is
    alone, which tells what the network adds.  One epoch is enough then.
    ``similar_sessions``: how many sessions that resemble the current one the mixture looks at; 0
    leaves them out.
    ``residual``: whether the mixture is added to the scores in training too, as it was known before
    each target, so that the network learns what it leaves over, `parts.mixture.residual_prior`.
    """

    trend: bool = True
    half_life_h: float = 12.0
    trend_window_h: int = 0
    trend_temperature: float = 0.0
    smoothing: float = 0.1
    mixture: bool = True
    affinity: bool = True
    similar_sessions: int = 0
    residual: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("half_life_h", "smoothing"):
            require(getattr(self, name) > 0, name, getattr(self, name), "above 0")
        for name in ("similar_sessions", "trend_window_h", "trend_temperature"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        if not self.affinity and not (self.trend and self.mixture):
            raise UsageError(
                "parameter affinity is false, but only the mixture says anything without the "
                "network: set trend and mixture to true"
            )
        if self.residual and not (self.trend and self.mixture and self.affinity):
            raise UsageError(
                "parameter residual is true, but there is no mixture, or no network: set trend, "
                "mixture and affinity to true"
            )
        if self.trend and self.ips_temperature > 0:
            raise UsageError(
                "trend and ips_temperature both take popularity out of what is learned: set trend "
                "to false, or ips_temperature to 0"
            )


class TrendModel(RecurrentModel):
    """Each training target sees q as of the start of its own hour."""

    parameters: TrendParameters

    def __init__(self, parameters: TrendParameters, encoder: EncoderMaker = gru) -> None:
        super().__init__(parameters, encoder)
        self._features = self._own_features()
        self._evidence: FeatureStore | None = None
        # Of requests within a session, and of those that begin one.
        self._priors: tuple[GaussianPrior, GaussianPrior] | None = None
        self._inherited_priors: tuple[GaussianPrior, GaussianPrior] | None = None
        self._searching = self._weighed = False
        # What the mixture weighs in training, (2, K), where the network learns the residual.
        self._trained_beside: Floats | None = None
        self._seed = 0

    def _own_features(self) -> tuple[str, ...]:
        terms = SCORE_FEATURES if self.parameters.mixture else _PLAIN
        enabled = {
            AFFINITY: self.parameters.affinity,
            SIMILAR: self.parameters.similar_sessions > 0,
        }
        return tuple(term for term in terms if enabled.get(term, True))

    @property
    def follows_trend(self) -> bool:
        """Whether what is recent has a part in the scores."""
        return self.parameters.trend

    @property
    def prior_temperature(self) -> float:
        """As the parameters say."""
        return self.parameters.trend_temperature

    def fit_with(
        self, data: DataSet, seed: int, report: Report, options: FitOptions
    ) -> dict[str, float]:
        """As `RecurrentModel.fit_with`; the weights of the terms are fitted on the way."""
        self._seed, self._features = seed, self._own_features()
        self._priors = self._priors_of_parent(options.parent)
        self._inherited_priors, self._weighed = None, False
        self._trained_beside = None
        if self.parameters.residual:
            self._trained_beside = self._means(self._priors or (self._first_guess(),) * 2)
        metrics = super().fit_with(data, seed, report, options)
        if self._trained_beside is not None and self._priors is None:
            # Nothing was kept apart to fit them on: those that the network was trained beside.
            chosen = [SCORE_FEATURES.index(name) for name in self._features]
            within, beginning = self.score_weights()[:, chosen]
            self._priors = (
                GaussianPrior.about(within, STRENGTH),
                GaussianPrior.about(beginning, STRENGTH),
            )
        if self.parameters.mixture and self.follows_trend and self._priors is None:
            # Nothing was kept apart to fit them on.
            as_of_us = data.manifest.as_of.index * US_PER_HOUR
            self._priors = self._guess(data, self._first_guess(), (0, 0), as_of_us)
        return metrics

    def _priors_of_parent(
        self, parent: ParentWeights | None
    ) -> tuple[GaussianPrior, GaussianPrior] | None:
        if parent is None or not self.follows_trend:
            return None
        priors = WeightPriors.from_tensors(parent.tensors, self.name, "mixture.")
        return priors.about(self._features) if priors is not None else None

    def _prepare(self, data: DataSet, split: TargetSplit, start: ParentWeights | None) -> None:
        if not self.follows_trend:
            return
        self._searching = len(split.validation) > 0
        if self._searching and start is None:
            # What is believed knows the events that say when to stop.
            self._priors = None
        self._evidence = self._counted(self._uncounted(data), data, split.begins_us)
        if start is not None and not self._weighed and not self._searching:
            self._weigh_since(data, start)

    def _uncounted(self, data: DataSet) -> FeatureStore:
        """What is known at the time of a data set, but for neighbours and sessions."""
        chosen, n_items = self.parameters, len(data.item_ids)
        window_h = data.manifest.popularity_window_h
        if chosen.trend_window_h:
            window_h = min(window_h, chosen.trend_window_h)
        return FeatureStore(
            HourCounts.of_popularity(data.popularity),
            data.manifest.as_of.index,
            TrendRule(chosen.half_life_h, chosen.smoothing, window_h),
            n_items,
            Neighbours.none(n_items),
        )

    def _weigh_since(self, data: DataSet, parent: ParentWeights) -> None:
        """Fit the weights on what the parent does not know, as the network scores it now."""
        if parent.as_of_us is None:
            return
        new = self._asked(data.histories)
        new &= np.asarray(data.histories.time_us) >= parent.as_of_us
        self._fit_weights(data, np.flatnonzero(new), parent.as_of_us)

    def _begins_anew(self, data: DataSet, seed: int, options: FitOptions) -> None:
        parent = options.parent
        if not self.follows_trend or parent is None:
            return
        # Its successor is asked as the parent was: soon after it was trained, of young items too.
        # A part kept apart of an earlier state would ask for older ones.
        split = TargetSplit(self._learnable(data.histories), np.zeros(0, np.int64))
        encoding = self._encoding
        try:
            net, _ = self._built(data, split, seed, parent)
        except HourglassError:
            # Of other sizes: dwell times are binned otherwise by now, say.  Nothing is asked of it.
            self._encoding = encoding
            return
        self._net = net.to(device_of(options.device or self.parameters.device))
        self._evidence = self._uncounted(data)
        self._weigh_since(data, parent)
        self._net, self._catalogue, self._encoding = None, None, encoding
        self._inherited_priors, self._weighed = self._priors, False

    @property
    def _similarity_rule(self) -> SimilarityRule:
        """As STAN compares sessions."""
        return similarity_rule(self.parameters.similar_sessions)

    def _counted(
        self, features: FeatureStore, data: DataSet, before_us: int | None
    ) -> FeatureStore:
        """The same with what came after what in the histories, before some time."""
        if not self.parameters.mixture:
            return features
        histories, n_items = data.histories, len(data.item_ids)
        sessions = None
        if self.parameters.similar_sessions:
            sessions = Sessions.of(
                histories, n_items, self._similarity_rule, before_us, MOST_EVENTS
            )
            sessions = sessions.within_reach()
        neighbours = Neighbours.of(histories, n_items, before_us)
        return replace(features, neighbours=neighbours, sessions=sessions)

    def _searched(self, data: DataSet, split: TargetSplit) -> None:
        if not self.follows_trend or split.begins_us is None:
            return
        if self._priors is None and self._inherited_priors is not None:
            self._priors = self._inherited_priors
        else:
            self._fit_weights(data, np.sort(split.validation), split.begins_us)
        if not self.parameters.refit:
            # What is served knows the part that the weights were fitted on, as after a refit.
            self._evidence = self._counted(self.feature_store(), data, None)

    def _fit_weights(self, data: DataSet, event: Ints, begins_us: int) -> None:
        """Fit the weights on targets ``event`` from ``begins_us`` on, by what was known before.

        Candidates are the items that were known then: serving has no others either, and where
        younger ones take part, to know nothing of an item would seem a virtue.
        """
        self._weighed = True
        if self.parameters.trend_temperature and not self.parameters.mixture:
            return  # what is told needs no fitting
        histories, is_past = data.histories, np.asarray(data.histories.time_us) < begins_us
        item = np.asarray(histories.item).astype(np.int64) - 1
        events = np.bincount(item[is_past], minlength=len(data.item_ids))
        targets = by_kind(histories, event[events[item[event]] > 0])
        before = self._counted(self.feature_store(), data, begins_us)
        fallback = self._default_prior()
        guess = self._priors or self._guess(data, fallback, list(map(len, targets)), begins_us)
        targets = (thinned(targets[0], _MOST), thinned(targets[1], _MOST))
        beliefs = [
            belief.decayed(fallback, _REMEMBERED ** min(1.0, len(each) / _REMEMBERED_BY))
            for belief, each in zip(guess, targets, strict=True)
        ]
        if sum(map(len, targets)):
            # Both at once: each hour's popularity is computed for both kinds together.
            choices = self._choices(data, np.concatenate(targets), events, before)
            first = len(targets[0])
            rows = (slice(first), slice(first, None))
            for kind in (0, 1):
                if len(targets[kind]):
                    beliefs[kind] = fit_weights(choices.take(rows[kind]), beliefs[kind])
        self._priors = (beliefs[0], beliefs[1])

    def _guess(
        self, data: DataSet, fallback: GaussianPrior, n_apart: Sequence[int], before_us: int
    ) -> tuple[GaussianPrior, GaussianPrior]:
        """What is believed without a parent, where few requests were kept apart.

        Of requests before them all terms but the affinity are known as they were then, so those
        make up the number.  Weights fitted without the affinity are too sure of themselves.
        """
        wanted = [_MOST - n for n in n_apart]
        if not self.parameters.mixture or max(wanted) <= 0:
            return fallback, fallback
        histories = data.histories
        targets = np.flatnonzero(self._asked(histories))
        slices = latest_slices(
            histories, time_slices(histories, len(data.item_ids), targets, before_us), wanted
        )
        every = np.sort(np.concatenate([each.event for each in slices])) if slices else targets[:0]
        chosen = [
            thinned(events, most)
            for events, most in zip(by_kind(histories, every), wanted, strict=True)
        ]
        choices: tuple[list[Choices], list[Choices]] = ([], [])
        for each in slices:
            store = self._counted(self.feature_store(), data, each.begins_us)
            for of_kind, events in zip(choices, chosen, strict=True):
                event = np.intersect1d(each.event, events)
                if len(event):
                    of_kind.append(self._choices(data, event, each.item_events, store, False))
        guess = [
            fit_weights(Choices.joined(of_kind), fallback).decayed(fallback, _BELIEVED)
            if of_kind
            else fallback
            for of_kind in choices
        ]
        return guess[0], guess[1]

    def _choices(
        self,
        data: DataSet,
        event: Ints,
        item_events: Ints,
        features: FeatureStore,
        affinity: bool = True,
    ) -> Choices:
        histories = data.histories
        requests = Requests.before(histories, event)
        target = np.asarray(histories.item)[event].astype(np.int64) - 1
        shared = Shared.of(item_events, _COLUMNS, np.random.default_rng(self._seed % 2**64))
        last = np.full(len(event), -1)
        if not self.parameters.repeats:
            has_last = requests.length > 0
            last[has_last] = np.asarray(histories.item)[event[has_last] - 1] - 1
        terms = features.features_of(histories, requests, target, shared.column)
        if self.parameters.affinity and affinity:
            with self.inference():
                for rows, scored in self.affinity_blocks(histories, requests):
                    taste = scored.cpu().numpy()
                    terms[rows, 0, 0] = taste[np.arange(len(rows)), target[rows]]
                    terms[rows, 1:, 0] = taste[:, shared.column]
        first = SCORE_FEATURES.index(self._features[0])
        chosen = terms[..., first : first + len(self._features)]
        return Choices(chosen, log_weights(shared, target, last))

    def _first_guess(self) -> GaussianPrior:
        """What the logs agreed on."""
        own = {AFFINITY: 1.0} if self.parameters.residual else {}
        return self._about(DEFAULT_WEIGHTS | own)

    def _about(self, weights: Mapping[str, float]) -> GaussianPrior:
        return GaussianPrior.about(
            np.array([weights.get(name, 0.0) for name in self._features]), STRENGTH
        )

    def _default_prior(self) -> GaussianPrior:
        """The first guess, or the published form: log q as strong as was learned."""
        # When to stop is found in the published form: it costs less to ask.
        if self.parameters.mixture and (self._weighed or not self._searching):
            return self._first_guess()
        return self._about({AFFINITY: 1.0, LOG_Q: self._temperature()})

    def _temperature(self) -> float:
        temperature = self.trained_net().temperature
        assert temperature is not None  # noqa: S101 - only asked where the trend is told apart
        return float(temperature.detach())

    def _means(self, beliefs: tuple[GaussianPrior, GaussianPrior]) -> Floats:
        weights = np.zeros((2, len(SCORE_FEATURES)))
        chosen = [SCORE_FEATURES.index(name) for name in self._features]
        weights[:, chosen] = [belief.mean for belief in beliefs]
        return weights

    def score_weights(self) -> Floats:
        """Of all `SCORE_FEATURES`, (2, K): within a session, and at its beginning."""
        if self._trained_beside is not None and self._priors is None:
            return residual_weights(self._trained_beside, self._temperature())
        return self._means(self._priors or (self._default_prior(),) * 2)

    def feature_store(self) -> FeatureStore:
        """What is known beside taste: counts, sessions, metadata.

        Raises:
            HourglassError: the model has not been trained.
        """
        if self._evidence is None:
            raise HourglassError(f"{self.name} has not been trained: fit or load it first")
        return self._evidence

    def _prior(self, data: DataSet, split: TargetSplit) -> Prior | None:
        if not self.follows_trend:
            return super()._prior(data, split)
        hours = np.asarray(data.histories.time_us) // US_PER_HOUR
        store = self.feature_store()
        table = TrendTable.at(store.counts, hours, split.learned, store.n_items, store.rule)
        if self._trained_beside is None:
            return table
        return ResidualPrior.of_slices(
            table, store, split.learned, data.histories, self._trained_beside
        )

    def refresh(self, popularity: Popularity, as_of: Hour) -> None:
        """Replace the hourly counts by those known at ``as_of``."""
        if self.follows_trend:
            counts = HourCounts.of_popularity(popularity)
            self._evidence = replace(
                self.feature_store(), counts=counts, as_of=as_of.index, _of_hour={}
            )

    def with_score_features(
        self, affinity: Tensor, histories: Histories, requests: Requests
    ) -> Tensor:
        """Scores (n, V) of taste, weighed together with what else is known."""
        if not self.follows_trend:
            return affinity
        starts = begins_session(histories, requests, self.input_encoding().rule.gap_s)
        weights = self.score_weights()[starts.astype(np.int64)]  # (n, K)
        scores = affinity.cpu().numpy()
        scores *= weights[:, :1].astype(np.float32)
        add_score_features(scores, self.feature_store(), histories, requests, weights)
        return torch.from_numpy(scores)

    def tensors(self) -> Tensors:
        """The network's tensors, and what the terms are computed from and weighed by."""
        if not self.follows_trend:
            return super().tensors()
        store = self.feature_store()
        term_tensors = store.neighbours.tensors()
        if store.sessions is not None:
            term_tensors |= {
                f"similar.{name}": each for name, each in store.sessions.tensors().items()
            }
        beliefs = WeightPriors(self._features, self._priors).tensors() if self._priors else {}
        return {
            **super().tensors(),
            **{f"mixture.{name}": tensor for name, tensor in {**beliefs, **term_tensors}.items()},
            **{f"trend.{name}": getattr(store.counts, name) for name in _COUNTS},
            "trend.as_of": np.array([store.as_of]),
            "trend.window_h": np.array([store.rule.window_h]),
        }

    def load(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Take over weights and counts."""
        super().load(tensors)
        if not self.follows_trend:
            return
        chosen = self.parameters
        window_h = int(take_tensor(tensors, "trend.window_h")[0])
        self._evidence = FeatureStore(
            HourCounts(*(take_tensor(tensors, f"trend.{name}") for name in _COUNTS)),
            int(take_tensor(tensors, "trend.as_of")[0]),
            TrendRule(chosen.half_life_h, chosen.smoothing, window_h),
            self.trained_net().items.n_items,
            Neighbours.from_tensors({n: take_tensor(tensors, f"mixture.{n}") for n in _NEIGHBOURS}),
            self._read_sessions(tensors),
        )
        beliefs = WeightPriors.from_tensors(tensors, self.name, "mixture.")
        self._priors = None
        if beliefs is None:
            if chosen.mixture and NotedFit.from_tensors(tensors) is None:
                self._priors = former_default_priors(self._features)
            return
        has_sessions = self.feature_store().sessions is not None
        refuse_other_features(self.name, beliefs, self._features, has_sessions)
        self._features, self._priors = beliefs.features, beliefs.both

    def _read_sessions(self, tensors: Mapping[str, NDArray[Any]]) -> Sessions | None:
        if not (self.parameters.mixture and self.parameters.similar_sessions):
            return None
        n_items = self.trained_net().items.n_items
        return read_sessions(tensors, self.parameters.similar_sessions, n_items)
