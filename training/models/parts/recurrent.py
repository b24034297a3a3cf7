"""What all recurrent ranking systems share: how they are fitted, kept, continued and asked.

A system of this kind is its parameters: a plan of batches, what steps are told, a loss and a
popularity prior.  N events, V items, n requests, D width.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from pipeline.array_types import Bools, Floats32, Ints
from pipeline.errors import HourglassError, UsageError
from training.batching.targets import (
    TargetSplit,
    latest,
    learnable,
    repeats_last,
    split_targets,
    validation_requests,
    with_older,
)
from training.data.reader import DataSet, Histories, Requests
from training.metrics.metrics import mean_metric
from training.metrics.ranking import mask_last_item, rank_of_target
from training.model_types import FitProgress, Report, Tensors, WholeFit
from training.models.parts.base import require_items, take_tensor
from training.models.parts.whole_fits import NotedFit
from training.nn.build import FrequencyPrior, negatives_of, plan_of, rewards_of
from training.nn.gru import gru
from training.nn.input_encoding import InputEncoding
from training.nn.learner import (
    Prior,
    RankingLearner,
    RecurrentLearner,
    Retention,
    Teacher,
    TrainingData,
)
from training.nn.losses import loss_named
from training.nn.network import NetOptions, StateNet, UserRows
from training.nn.parameters import SESSION_PLANS, RecurrentParameters
from training.nn.retention import anchored
from training.nn.step_inputs import EventSteps
from training.nn.steps import EncoderMaker
from training.nn.tables.item_embedding import FeatureRows
from training.nn.tables.new_items import begin_new_items
from training.nn.tables.user_table import learned_users, table_rows, user_hashes
from training.nn.user_states import StateReader, request_states
from training.nn.warm_start import WarmStart, item_rows
from training.trainer.device import device_of, require_compiler
from training.trainer.interface import FitOptions, ParentWeights
from training.trainer.trainer import FitResult, Schedule, run_fit

_ENCODING = "memory"
_KNOWN_USERS = "known_users"
_WORD_WEIGHTS = "items.token_weight"  # only where tokens have weights of their own
_ANCHOR_BATCHES = 20  # of what the parent knew: what its weights are worth
_SCORED_FLOATS = 1 << 24  # scores in memory together
_K = 20  # of the MRR that decides when learning stops


class RecurrentModel:
    """Learns from every prefix of every history whose next event is a target."""

    name: str
    _figure: ClassVar[str] = f"validation_mrr_{_K}"
    _figure_text: ClassVar[str] = f"MRR@{_K}"

    def __init__(self, parameters: RecurrentParameters, encoder: EncoderMaker = gru) -> None:
        if parameters.user_width and not getattr(encoder, "reads_users", False):
            raise UsageError(
                f"parameter user_width = {parameters.user_width} is given, but {self.name} does "
                "not tell users apart: leave it out"
            )
        self.parameters = parameters
        self._encoder = encoder
        self._net: StateNet | None = None
        self._encoding: InputEncoding | None = None
        self._optimiser: Tensors = {}
        self._known_users: Ints = np.zeros(0, np.int64)  # (U,) hashes, ascending
        self._whole_fit: NotedFit | None = None
        # Vectors and biases of all items, metadata mixed in, from one question to the next.
        self._catalogue: tuple[Tensor, Tensor] | None = None

    def fit(self, data: DataSet, seed: int, report: Report) -> dict[str, float]:
        """Train from scratch; on the CPU equal seeds give equal weights."""
        return self.fit_with(data, seed, report, FitOptions())

    def fit_with(
        self, data: DataSet, seed: int, report: Report, options: FitOptions
    ) -> dict[str, float]:
        """Train, from scratch or from another model, perhaps going on with an earlier attempt.

        With a validation part there are two fits: one finds the best number of epochs, one runs
        that many on everything.

        Raises:
            HourglassError: there is nothing to learn from, the loss is no longer a number, or the
                model to continue from has another shape.
        """
        require_items(self.name, data)
        chosen, report = self.parameters, self._with_figure(report)
        if not chosen.item_vectors and data.item_features is None:
            raise HourglassError(
                f"{self.name}: item_vectors is false, but nothing is known of the items: add "
                "their metadata, or set it to true"
            )
        if chosen.compile:
            require_compiler(self.name)
        self._encoding = InputEncoding.of(
            data,
            forgets=chosen.plan in SESSION_PLANS,
            context=chosen.context_input,
            items=chosen.item_features or chosen.metadata_input,
            users=chosen.user_features,
        )
        targets = self._learnable(data.histories)
        as_told, options = options, self._with_whole_fits(data, int(targets.sum()), options)
        if as_told.parent is not options.parent:
            self._begins_anew(data, seed, as_told)
        known_us = None if options.parent is None else options.parent.as_of_us
        epochs, share = chosen.epochs, chosen.validation_share
        if self._steps_on(options):
            # A short step from a model that is known to be good: there is no search.
            recent = latest(data, targets, chosen.continue_h)
            rng = np.random.default_rng([seed % 2**64, data.manifest.as_of.index])
            targets = with_older(recent, targets, chosen.continue_kept, rng)
            epochs, share = chosen.continue_epochs, 0.0
        split = split_targets(data.histories, targets, share, known_us)
        split = split.asking(targets, self._asked(data.histories))
        search_metrics: dict[str, float] = {}
        result: FitResult | None = None
        if len(split.validation):
            result = self._fit_part(data, split, epochs, seed, report, options, "search")
            epochs = max(1, round(result.metrics["best_epoch"]))
            search_metrics = {
                "best_epoch": float(epochs),
                self._figure: self._reported(result.metrics["validation_loss"]),
            }
            self._searched(data, split)
        if chosen.refit or result is None:
            # The state of the first fit's optimiser is as large as the model: let go of it.
            self._net = result = None
            whole = split.whole(targets)
            result = self._fit_part(data, whole, epochs, seed, report, options, "fit")
        self._optimiser = result.optimiser
        reported = ("loss", "epochs", "padding")
        metrics = {name: result.metrics[name] for name in reported if name in result.metrics}
        if chosen.anew_h and self._whole_fit is not None:
            metrics["whole_fit_age_h"] = self._whole_fit.age_h(data)
        return {**metrics, **search_metrics}

    def _with_whole_fits(self, data: DataSet, n_targets: int, options: FitOptions) -> FitOptions:
        """Without the parent where it is time to begin anew; notes when that was."""
        parent, as_now = options.parent, NotedFit.of(data, n_targets)
        self._whole_fit = as_now
        if parent is None:
            return options
        noted = NotedFit.from_tensors(parent.tensors)
        is_anew = options.made_anew
        if is_anew is None:
            anew_h = self.parameters.anew_h
            is_anew = noted is not None and noted.seen_from(data, n_targets, anew_h).is_due
        if is_anew:
            return dataclasses.replace(options, parent=None)
        # A parent of before that was noted counts from now on.
        self._whole_fit = noted or as_now
        return options

    def whole_fit_before(self, data: DataSet, parent: ParentWeights) -> WholeFit | None:
        """The latest whole fit behind a parent, seen from a data set; None: it does not tell."""
        noted = NotedFit.from_tensors(parent.tensors)
        if noted is None:
            return None
        n_targets = int(self._learnable(data.histories).sum())
        return noted.seen_from(data, n_targets, self.parameters.anew_h)

    def _steps_on(self, options: FitOptions) -> bool:
        return options.parent is not None and self.parameters.continue_h > 0

    def _with_figure(self, report: Report) -> Report:
        def say(progress: FitProgress) -> None:
            loss = progress.validation_loss
            if loss is not None:
                value = self._reported(loss)
                label = self._figure_text
                progress = dataclasses.replace(progress, figure=label, figure_value=value)
            report(progress)

        return say

    def optimiser_tensors(self) -> Tensors:
        """State of the optimiser after the last fit."""
        return self._optimiser

    def _fit_part(
        self,
        data: DataSet,
        split: TargetSplit,
        epochs: int,
        seed: int,
        report: Report,
        options: FitOptions,
        phase: str,
    ) -> FitResult:
        chosen = self.parameters
        device = device_of(options.device or chosen.device)
        net, optimiser = self._built(data, split, seed, options.parent)
        self._net, self._catalogue = net.to(device), None
        self._prepare(data, split, options.parent)
        if epochs == 0:
            return FitResult({"epochs": 0.0}, 0, optimiser or {}, 0.0)
        if options.checkpoints is not None:
            options = dataclasses.replace(options, checkpoints=options.checkpoints / phase)
        schedule = Schedule(
            epochs=epochs,
            learning_rate=chosen.learning_rate
            * (chosen.continue_rate if self._steps_on(options) else 1.0),
            decay_epochs=chosen.epochs,
            decay_power=chosen.decay_power,
            final_rate=chosen.final_rate,
            weight_decay=chosen.weight_decay,
            optimiser=chosen.optimiser,
            max_gradient_norm=chosen.max_gradient_norm,
            patience=chosen.patience if len(split.validation) else 0,
            precision=chosen.precision,
            checkpoint_s=chosen.checkpoint_s,
        )
        begun = options.parent.model_id if options.parent else "nothing"
        lasting = dataclasses.replace(chosen, checkpoint_s=1.0)  # what changes no weight
        plan = plan_of(chosen, data.histories, split.learned, seed)
        learner = self._learner(data, split)
        if isinstance(learner, RankingLearner):
            learner.retention = self._retention(data, split, seed, options)
        result = run_fit(
            self.name,
            learner,
            plan,
            schedule,
            seed,
            report,
            options,
            f"{data.manifest.dataset_id} from {begun}, {phase}: {lasting}",
            optimiser,
        )
        self._catalogue = None
        return dataclasses.replace(result, metrics={**result.metrics, "padding": plan.padding})

    def _built(
        self, data: DataSet, split: TargetSplit, seed: int, start: ParentWeights | None
    ) -> tuple[StateNet, Tensors | None]:
        """A network with its first weights, which depend on the seed and the start alone.

        With it comes what the start kept of its optimiser.  Items without an event that is known
        are cold; users without a target to learn from have no vector, unless the start has one.
        """
        item_events = split.item_events(data.histories, data.item_events)
        if self.parameters.user_width:
            users_before = None if start is None else take_tensor(start.tensors, _KNOWN_USERS)
            self._known_users = learned_users(data.histories, split.learned, users_before)
        memory, n_items = self.input_encoding(), len(data.item_ids)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = self._network(memory, n_items)
        cold, optimiser = np.concatenate([[False], item_events == 0]), None
        if start is not None:
            before = InputEncoding.from_array(take_tensor(start.tensors, _ENCODING))
            memory = self._encoding = memory.measured_as(before)
            users = None
            if self.parameters.user_width:
                users = (take_tensor(start.tensors, _KNOWN_USERS), self._known_users)
            continuation = WarmStart(start, before, data.item_ids, memory, users)
            continuation.weights(net)
            net.fix_temperature()
            if self.parameters.new_items == "neighbours":
                begin_new_items(net.items, data.histories, continuation.new_items, split.begins_us)
            cold, optimiser = continuation.cold(item_events), continuation.optimiser(net)
        if not self.parameters.item_vectors:
            cold[1:] = True
        if net.items.reads_metadata and data.item_features is not None:
            net.items.describe(data.item_features, cold)
        return net, optimiser

    def _network(self, memory: InputEncoding, n_items: int) -> StateNet:
        shape = dataclasses.replace(memory.shape(n_items), n_users=len(self._known_users))
        return StateNet(
            shape,
            self._net_options(n_items),
            lambda sizes: self._encoder(sizes, self.parameters),
        )

    def _net_options(self, n_items: int) -> NetOptions:
        chosen = self.parameters
        return NetOptions(
            width=chosen.width,
            tied=chosen.tied,
            sparse=0 < chosen.negatives < n_items,
            input_dropout=chosen.input_dropout,
            sequence_dropout=chosen.sequence_dropout,
            dropout=chosen.dropout,
            session=chosen.session_input,
            delta=chosen.delta_input,
            dwell=chosen.dwell_input,
            feedback=chosen.feedback_input,
            item_features=chosen.item_features,
            metadata=chosen.metadata_input,
            feature_hidden=chosen.feature_hidden,
            prior=self.follows_trend,
            temperature=self.prior_temperature,
            user_width=chosen.user_width,
            user_dropout=chosen.user_dropout,
            compiled=chosen.compile,
        )

    def _learnable(self, histories: Histories) -> Bools:
        """Events that may be learned from, (N,)."""
        return learnable(
            self.name, histories, self.parameters.repeats or self.parameters.learn_repeats
        )

    def _asked(self, histories: Histories) -> Bools:
        """Those of them that requests ask for, (N,)."""
        learned = self._learnable(histories)
        return learned if self.parameters.repeats else learned & ~repeats_last(histories)

    def _training_data(self, data: DataSet, split: TargetSplit) -> TrainingData:
        memory, histories = self.input_encoding(), data.histories
        return TrainingData(
            steps=EventSteps(histories, memory.rule, memory.scale),
            item=histories.item,
            users=self._users(histories),
            validate=lambda: self._validation(histories, split.validation),
        )

    def _retention(
        self, data: DataSet, split: TargetSplit, seed: int, options: FitOptions
    ) -> Retention:
        """What a short step is held to: the network as it is before it."""
        chosen, parent = self.parameters, options.parent
        teacher, anchor = None, None
        if parent is None or not self._steps_on(options):
            return Retention()
        if chosen.continue_distil:
            frozen = copy.deepcopy(self.trained_net()).eval().requires_grad_(requires_grad=False)
            unmet = torch.from_numpy(item_rows(data.item_ids, parent.item_ids) < 0)
            teacher = Teacher(
                self._ranking_learner(data, split, frozen),
                chosen.continue_distil,
                unmet.to(frozen.items.vector.weight.device),
            )
        if chosen.continue_anchor:
            is_past = np.asarray(data.histories.time_us) < (parent.as_of_us or 0)
            earlier = TargetSplit(self._learnable(data.histories) & is_past, split.validation[:0])
            plan = plan_of(chosen, data.histories, earlier.learned, seed)
            batches = itertools.islice(plan.batches(0), _ANCHOR_BATCHES)
            rng = np.random.default_rng(seed % 2**64)
            anchor = anchored(self._learner(data, earlier), batches, chosen.continue_anchor, rng)
        return Retention(teacher, anchor)

    def _learner(self, data: DataSet, split: TargetSplit) -> RecurrentLearner:
        return self._ranking_learner(data, split, self.trained_net())

    def _ranking_learner(self, data: DataSet, split: TargetSplit, net: StateNet) -> RankingLearner:
        chosen, offsets = self.parameters, data.histories.offsets
        return RankingLearner(
            net,
            self._training_data(data, split),
            lambda event: np.searchsorted(offsets, event, side="right") - 1,
            loss_named(chosen.loss, chosen.score_penalty),
            negatives_of(chosen, data, split) if net.items.vector.sparse else None,
            self._prior(data, split),
            rewards_of(chosen, data.histories),
        )

    def _validation(self, histories: Histories, validation: Ints) -> float | None:
        """1 - MRR@20 on events that are not learned from, asked as in serving."""
        if not len(validation):
            return None
        n_items = self.trained_net().items.n_items
        requests, event = validation_requests(histories, validation, n_items)
        ranks = np.empty(len(event), np.int32)
        self._catalogue = None
        with self.inference():
            for rows, scored in self.scored_blocks(histories, requests):
                scores = scored.cpu().numpy()
                if not self.parameters.repeats:
                    mask_last_item(scores, histories, requests.take(rows))
                ranks[rows] = rank_of_target(scores, histories.item[event[rows]])
        self._catalogue = None
        return 1.0 - mean_metric("mrr", ranks, _K)

    def _reported(self, validation_loss: float) -> float:
        """The figure that people know, from what is made small."""
        return 1.0 - validation_loss

    @property
    def follows_trend(self) -> bool:
        """Whether log q of the hour counts, as strongly as the network learns."""
        return False

    @property
    def prior_temperature(self) -> float:
        """How strongly log q counts where that is not learned; 0 where it is."""
        return 0.0

    def _begins_anew(self, data: DataSet, seed: int, options: FitOptions) -> None:
        """Let a variant learn of the parent what a network made anew cannot say."""

    def _prepare(self, data: DataSet, split: TargetSplit, start: ParentWeights | None) -> None:
        """Let a variant get ready before training starts; weights are those it begins with."""

    def _searched(self, data: DataSet, split: TargetSplit) -> None:
        """Let a variant choose what it can on the validation part, not learned from so far."""

    def _prior(self, data: DataSet, split: TargetSplit) -> Prior | None:
        """What a variant adds to the scores of training targets."""
        temperature = self.parameters.ips_temperature
        if temperature == 0:
            return None
        return FrequencyPrior(split.item_events(data.histories, data.item_events), temperature)

    def with_score_features(
        self,
        affinity: Tensor,
        histories: Histories,  # noqa: ARG002
        requests: Requests,  # noqa: ARG002
    ) -> Tensor:
        """Let a variant turn what was learned of taste (n, V) into the scores of requests."""
        return affinity

    def score(self, histories: Histories, requests: Requests) -> Floats32:
        """Score all items for each request, (n, V)."""
        scores = np.empty((len(requests), self.trained_net().items.n_items), np.float32)
        with self.inference():
            for rows, scored in self.scored_blocks(histories, requests):
                scores[rows] = scored.cpu().numpy()
        return scores

    def scored_blocks(
        self, histories: Histories, requests: Requests
    ) -> Iterator[tuple[Ints, Tensor]]:
        """Rows of requests and the scores of all items, (b, V)."""
        for rows, affinity in self.affinity_blocks(histories, requests):
            yield rows, self.with_score_features(affinity, histories, requests.take(rows))

    @contextmanager
    def inference(self) -> Iterator[None]:
        """Nothing is dropped and nothing is learned."""
        net = self.trained_net()
        was_training = net.training
        net.eval()
        try:
            with torch.inference_mode():
                yield
        finally:
            net.train(was_training)

    def affinity_blocks(
        self, histories: Histories, requests: Requests
    ) -> Iterator[tuple[Ints, Tensor]]:
        """Rows of requests and state . vector + bias of all items, (b, V)."""
        vectors, biases = self.catalogue()
        block = max(1, _SCORED_FLOATS // max(1, len(vectors)))
        for rows, states in self.request_states(histories, requests):
            for first in range(0, len(rows), block):
                chunk = slice(first, first + block)
                yield rows[chunk], functional.linear(states[chunk], vectors, biases)

    def catalogue(self) -> tuple[Tensor, Tensor]:
        """Vectors (V, D) and biases (V,) of all items, computed once a fit."""
        if self._catalogue is None:
            self._catalogue = self.trained_net().items.everything(self.parameters.warm_mix)
        return self._catalogue

    def request_states(
        self, histories: Histories, requests: Requests
    ) -> Iterator[tuple[Ints, Tensor]]:
        """Rows of requests and their states, (b, D)."""
        memory = self.input_encoding()
        if requests.context is not None:
            context = memory.terms.read_context(requests.context, histories.context_fields)
            requests = dataclasses.replace(requests, context=context)
        encoded, chosen = memory.terms.read(histories), self.parameters
        reader = StateReader(
            self.trained_net(),
            memory.rule,
            memory.scale,
            self._users(encoded),
            chosen.warm_mix,
            chosen.max_len,
        )
        return request_states(reader, encoded, requests)

    def _users(self, histories: Histories) -> UserRows:
        features = self.input_encoding().read_users(histories.user_features)
        device = self.trained_net().items.vector.weight.device
        rows = None
        if self.parameters.user_width:
            rows = table_rows(user_hashes(histories.user_ids), self._known_users)
        return UserRows(
            None if features is None else FeatureRows.of(features, device),
            None if rows is None else torch.from_numpy(rows).to(device),
        )

    def trained_net(self) -> StateNet:
        """The network.

        Raises:
            HourglassError: the model has not been trained.
        """
        if self._net is None:
            raise HourglassError(f"{self.name} has not been trained: fit or load it first")
        return self._net

    def input_encoding(self) -> InputEncoding:
        """Sizes, scales and the gap by which steps are read.

        Raises:
            HourglassError: the model has not been trained.
        """
        if self._encoding is None:
            raise HourglassError(f"{self.name} has not been trained: fit or load it first")
        return self._encoding

    def tensors(self) -> Tensors:
        """Weights by their names in the network, and what its codes mean."""
        weights = {k: v.cpu().numpy() for k, v in self.trained_net().state_dict().items()}
        users = {_KNOWN_USERS: self._known_users} if self.parameters.user_width else {}
        whole_fit = {} if self._whole_fit is None else self._whole_fit.tensors()
        return {**weights, **users, **whole_fit, _ENCODING: self.input_encoding().to_array()}

    def load(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Take over weights.

        Raises:
            HourglassError: a weight is missing or has another shape than the parameters say.
        """
        memory = InputEncoding.from_array(take_tensor(tensors, _ENCODING))
        n_items = len(take_tensor(tensors, "items.vector.weight")) - 1
        self._whole_fit = NotedFit.from_tensors(tensors)
        if self.parameters.user_width:
            self._known_users = take_tensor(tensors, _KNOWN_USERS)
        net = self._network(memory, n_items)
        weights = {}
        for name, expected in net.state_dict().items():
            weight = take_tensor(tensors, name)
            # How many tokens all items have together is no size of the network.
            if name != "items.token" and weight.shape != tuple(expected.shape):
                raise HourglassError(
                    f"{self.name}: tensor {name!r} has shape {weight.shape}, its parameters say "
                    f"{tuple(expected.shape)}: train it again"
                )
            weights[name] = torch.from_numpy(np.array(weight))
        if net.items.reads_metadata:
            net.items.token = weights["items.token"]
            if _WORD_WEIGHTS in tensors:
                weights[_WORD_WEIGHTS] = torch.from_numpy(np.array(tensors[_WORD_WEIGHTS]))
                net.items.token_weight = weights[_WORD_WEIGHTS]
        net.load_state_dict(weights)
        self._encoding, self._catalogue = memory, None
        # Whoever asks a model may have no GPU, even if it was trained on one.
        self._net = net.to(device_of("cpu" if self.parameters.device == "cpu" else "auto"))
