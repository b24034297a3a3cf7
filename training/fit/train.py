"""Train: fit the chosen models on a frozen data set, keep their artefacts, register them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pipeline.dataset.manifest import LINEAGE_NAME
from pipeline.errors import HourglassError, SomeFailedError, one_line
from pipeline.settings.settings import Settings
from pipeline.version import code_version
from training.data.reader import DataSet
from training.fit.descent import Descent, descent_of
from training.fit.model_check import Facts, check_model, naming
from training.fit.model_configs import ModelConfig, agreeing
from training.fit.parent_model import NONE, ParentModel, find_own_parents, find_parent
from training.fit.progress_display import EpochEnd, Epochs
from training.fit.resume import ResumePoint, locked_checkpoint_dir, remove_checkpoints
from training.model_types import Continuation, FitProgress
from training.models import build
from training.models.parts.base import GradientTrained, Model
from training.registry.artefact import Extras, load_model, model_id_of, save_model
from training.registry.candidates import remember, trained_on
from training.registry.mlflow_registry import Registry
from training.registry.mlflow_run import (
    EpochMetrics,
    MlflowRun,
    TrainingRun,
    log_training,
    machine_facts,
)

if TYPE_CHECKING:
    from training.trainer.distributed import ProcessGroup


@dataclass(frozen=True)
class TrainOptions:
    """How to train, beside what the models' parameters say."""

    seed: int = 0
    device: str | None = None  # cpu, cuda or auto; None leaves it to the models
    fresh: bool = False  # forget what an attempt that was cut short left
    init_from: str | None = None  # champion, previous, a model id, none; None: as the models say
    continuation: Continuation = Continuation.AS_DUE  # of models that have one to go on from
    # Why models are to be made anew where others are as due: codes of `retrain_policy` by name.
    anew: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    refit_of: str | None = None  # the judged model that is to learn from its judging hours too


@dataclass(frozen=True)
class Trained:
    """One fitted model; ``seconds`` is what this fit took.

    ``is_new``: whether there was one; else the model was there already.  ``descent``: in words,
    what it has of the model before it.
    """

    name: str
    system: str
    model_id: str
    version: str
    metrics: dict[str, float]
    seconds: float = 0.0
    is_new: bool = False
    resumed_from: str | None = None
    continued_from: str | None = None
    made_anew_after: str | None = None
    descent: str | None = None


class ProgressListener(Protocol):
    """Who shows people how a fit goes."""

    def begin(self, model: ModelConfig, model_id: str, resumed_from: str | None) -> None:
        """A fit begins, or goes on."""

    def on_progress(self, progress: FitProgress, phase: int) -> None:
        """How far it has come; called often."""

    def on_epoch(self, ended: EpochEnd) -> None:
        """An epoch is over."""

    def message(self, sentence: str) -> None:
        """Something that people should know, and that stops nothing."""


def train(
    settings: Settings,
    registry: Registry | None,
    data: DataSet,
    models: Sequence[ModelConfig],
    options: TrainOptions,
    listener: ProgressListener,
) -> list[Trained]:
    """Fit each model; the same ingredients give the same model, and one that is there is kept.

    Where `torchrun` started several processes, all of them call this; only the first one writes,
    registers and is answered.

    Args:
        settings: of the work folder.
        registry: open in the first process, None in the others.
        data: what they learn from.
        models: what to fit.
        options: how.
        listener: is told how it goes.

    Raises:
        UsageError: a model's parameters are wrong, or the model to continue from does not exist or
            cannot be continued; nothing is fitted then.
        HourglassError: a fit does not come to an end.
        ModelsFailedError: so did some of several; the others were fitted all the same.
    """
    from training.trainer.device import device_of
    from training.trainer.distributed import ProcessGroup

    if options.device is not None:
        device_of(options.device)
    processes = ProcessGroup.here()
    models = [agreeing(model, settings.evaluation.repeats == "keep") for model in models]
    init_from = options.init_from
    origin = find_parent(settings, registry, init_from or NONE, data, models, processes)
    own = (
        find_own_parents(
            settings, registry, data, models, processes, listener.message, options.refit_of
        )
        if init_from is None
        else {}
    )
    # Before the first is fitted: the data set may be older than the settings.
    facts = Facts(data.manifest.popularity_window_h, data.histories.event_types)
    for model in models:
        with naming(f"model {model.name!r}"):
            check_model(model, facts)
    lineage = json.loads((data.folder / LINEAGE_NAME).read_text("utf-8"))
    training = _Training(
        settings, registry, data, lineage, options, origin, own, processes, listener, code_version()
    )
    trained: list[Trained] = []
    failed: list[str] = []
    for model in _baselines_first(models, settings.gate.baselines):
        try:
            done = training.run(model)
        except Exception as error:
            # Several processes would lose one another; of one line there is nothing to go on with.
            if processes.world > 1 or len(models) == 1:
                raise
            failed.append(f"{model.name}: {one_line(error)}")
            continue
        if done is not None:
            trained.append(done)
            training.remember_candidate(done)
    if failed:
        raise ModelsFailedError(
            f"{len(failed)} of {len(models)} models failed, the others are trained; {failed[0]}",
            trained,
        )
    return trained


def _baselines_first(models: Sequence[ModelConfig], baselines: Sequence[str]) -> list[ModelConfig]:
    """Whatever fails, the live model can then be monitored against the baselines."""
    return sorted(models, key=lambda model: model.name not in baselines)


class ModelsFailedError(SomeFailedError):
    """Some models could not be fitted; ``trained`` are the others."""

    def __init__(self, sentence: str, trained: list[Trained]) -> None:
        super().__init__(sentence)
        self.trained = trained


@dataclass(frozen=True)
class _Training:
    settings: Settings
    registry: Registry | None
    data: DataSet
    lineage: dict[str, Any]
    options: TrainOptions
    parent: ParentModel | None
    own_parents: Mapping[str, ParentModel]
    group: ProcessGroup
    listener: ProgressListener
    code: str

    def run(self, model: ModelConfig) -> Trained | None:
        """Fit one model, or find it; None in all processes but the first."""
        system = build(model.system, model.parameters)
        origin = self.parent if self.parent and self.parent.fits(model) else None
        origin = origin or self.own_parents.get(model.name)
        descent = None
        if origin is not None:
            continuation, signs = self.options.continuation, self.options.anew.get(model.name, ())
            descent = descent_of(system, self.data, origin, continuation, signs)
        model_id = self._model_id(model, descent)
        together = isinstance(system, GradientTrained)
        if self.registry is None:
            if together and not self._agreed(False):
                self._fit(system, model_id, descent, lambda _: None)
            return None
        metrics = _metrics_of(self.settings.path("models") / model_id)
        checkpoints = self.settings.path("checkpoints") / model_id
        run = self._run_of(model, model_id, descent, system)
        if metrics is not None:
            remove_checkpoints(checkpoints)
            if together:
                self._agreed(True)
            version = log_training(self.registry, replace(run, metrics=metrics))
            return self._trained(model, model_id, version, metrics, descent)
        checkpoint_dir: AbstractContextManager[ResumePoint] = (
            locked_checkpoint_dir(checkpoints, self.options.fresh)
            if together
            else nullcontext(ResumePoint(0, None))
        )
        with checkpoint_dir as resume_point:
            log = MlflowRun(self.registry, run, self.listener.message)
            self.listener.begin(model, model_id, resume_point.position)
            began_s = time.monotonic()
            try:
                if together:
                    self._agreed(False)
                metrics, per_s = self._reporting(system, model_id, descent, resume_point, log)
                seconds = time.monotonic() - began_s
                facts = {**run.facts, "seconds": seconds, "events_per_s": per_s}
                self._save(model, system, metrics, descent, facts)
            except KeyboardInterrupt:
                log.fail("interrupted", "KILLED")
                raise
            except Exception as error:
                log.fail(one_line(error))
                raise
            version = log.finish(metrics)
            if together:
                remove_checkpoints(checkpoints)
        return self._trained(
            model,
            model_id,
            version,
            metrics,
            descent,
            seconds=seconds,
            is_new=True,
            resumed_from=resume_point.position,
        )

    def remember_candidate(self, done: Trained) -> None:
        """Note whom the data set's hours will judge: its own fit rather than a refit."""
        settings, dataset_id = self.settings, self.data.manifest.dataset_id
        is_refit = self.options.refit_of is not None
        if is_refit and done.name in (trained_on(settings, dataset_id) or {}):
            return
        remember(settings, dataset_id, {done.name: done.model_id})

    def _agreed(self, is_trained: bool) -> bool:
        """What the first process found out, which the others wait for."""
        return bool(self.group.broadcast([float(is_trained)])[0])

    def _reporting(
        self,
        system: Model,
        model_id: str,
        descent: Descent | None,
        resume_point: ResumePoint,
        log: MlflowRun,
    ) -> tuple[dict[str, float], float | None]:
        """Training metrics, and how fast it went in the end."""
        epochs = Epochs(resume_point.parts)

        def tell(ended: EpochEnd | None) -> None:
            if ended is not None:
                log.epoch(EpochMetrics(ended.progress.epoch, ended.curves))
                self.listener.on_epoch(ended)

        def report(progress: FitProgress) -> None:
            tell(epochs.on_progress(progress))
            self.listener.on_progress(progress, epochs.phase)

        metrics = self._fit(system, model_id, descent, report)
        last = epochs.stop()
        tell(last)
        return metrics, last.progress.events_per_s if last else None

    def _fit(
        self,
        system: Model,
        model_id: str,
        descent: Descent | None,
        report: Callable[[FitProgress], None],
    ) -> dict[str, float]:
        from training.trainer.interface import FitOptions

        if not isinstance(system, GradientTrained):
            return system.fit(self.data, self.options.seed, report)
        options = FitOptions(
            device=self.options.device,
            checkpoints=self.settings.path("checkpoints") / model_id,
            parent=descent.parent.weights if descent else None,
            made_anew=descent.made_anew if descent else None,
        )
        return system.fit_with(self.data, self.options.seed, report, options)

    def _save(
        self,
        model: ModelConfig,
        system: Model,
        metrics: dict[str, float],
        descent: Descent | None,
        facts: dict[str, Any],
    ) -> None:
        optimiser = None
        if model.keep_optimiser and isinstance(system, GradientTrained):
            optimiser = system.optimiser_tensors() or None
        extras = Extras(
            optimiser=optimiser,
            continued_from=descent.continued_from if descent else None,
            optimiser_continued=bool(descent and descent.optimiser_continued),
            made_anew_after=descent.made_anew_after if descent else None,
            facts=facts,
        )
        models, seed = self.settings.path("models"), self.options.seed
        save_model(models, system, model.parameters, self.data, seed, metrics, self.code, extras)

    def _model_id(self, model: ModelConfig, descent: Descent | None) -> str:
        return model_id_of(
            model.system,
            model.parameters,
            self.data.manifest.dataset_id,
            self.options.seed,
            self.code,
            descent.continued_from if descent else None,
            bool(descent and descent.optimiser_continued),
            descent.made_anew_after if descent else None,
        )

    def _run_of(
        self, model: ModelConfig, model_id: str, descent: Descent | None, system: Model
    ) -> TrainingRun:
        device = self.options.device or str(model.parameters.get("device", "auto"))
        return TrainingRun(
            model_id=model_id,
            system=model.system,
            parameters=model.parameters,
            metrics={},
            dataset_id=self.data.manifest.dataset_id,
            as_of=str(self.data.manifest.as_of),
            snapshots=self.lineage,
            config_digest=self.settings.digest("dataset", "sessions"),
            code_version=self.code,
            seed=self.options.seed,
            name=model.name,
            continued_from=descent.continued_from if descent else None,
            made_anew_after=descent.made_anew_after if descent else None,
            facts=machine_facts(system, device, self.group.world),
            init_from=self.options.init_from or model.init_from,
        )

    @staticmethod
    def _trained(
        model: ModelConfig,
        model_id: str,
        version: str,
        metrics: dict[str, float],
        descent: Descent | None,
        *,
        seconds: float = 0.0,
        is_new: bool = False,
        resumed_from: str | None = None,
    ) -> Trained:
        return Trained(
            name=model.name,
            system=model.system,
            model_id=model_id,
            version=version,
            metrics=metrics,
            seconds=round(seconds, 3),
            is_new=is_new,
            resumed_from=resumed_from,
            continued_from=descent.continued_from if descent else None,
            made_anew_after=descent.made_anew_after if descent else None,
            descent=descent.sentence if descent else None,
        )


def _metrics_of(model: Path) -> dict[str, float] | None:
    """Training metrics of a model that is there and sound: the same would come out again."""
    try:
        card = load_model(model).card
    except HourglassError:
        return None
    return {name: float("nan") if v is None else v for name, v in card.metrics.items()}
