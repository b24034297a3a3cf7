"""Runs a protocol: raw files -> figures of its models beside the published ones."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from pipeline.array_types import Ints
from pipeline.errors import HourglassError, UsageError, suggest
from training.fit.model_configs import ModelConfig, agreeing
from training.metrics.answers import answers_of
from training.metrics.seed_estimate import Estimate
from training.models import MODEL_NAMES, build
from training.models.parts.base import GradientTrained, Model
from training.models.parts.recurrent import RecurrentModel
from training.protocols.cold import ColdTask, over_histories
from training.protocols.events import Log
from training.protocols.protocol import RMSE, Data, ModelEntry, Protocol
from training.protocols.questions import (
    Exam,
    Task,
    average_error,
    cold_figures,
    figures,
    lists_of,
    rating_error,
    search_figures,
)
from training.protocols.ratings import AVERAGES
from training.protocols.read_data import files_of_logs, read_exam
from training.protocols.search.task import SearchTask

Status = Callable[[str], AbstractContextManager[None]]
_LOGITS = "cross_entropy"  # the loss of models whose scores are logits of what comes next


@dataclass(frozen=True)
class Row:
    """What one model reached, and what was published; ``note`` says why nothing was reached."""

    name: str
    reached: Mapping[str, Estimate] = field(default_factory=dict)
    published: Mapping[str, float] = field(default_factory=dict)
    note: str = ""
    failed: bool = False


@dataclass(frozen=True)
class Result:
    """The table of one log; ``shift``: of a search log, how far what is asked is from what is
    learned, by its name.
    """

    protocol: Protocol
    data: str  # name of the log in the protocol
    files: Sequence[Path]
    sizes: Mapping[str, int]
    columns: Sequence[str]
    rows: Sequence[Row]
    shift: Mapping[str, float] = field(default_factory=dict)


def chosen_models(protocol: Protocol, names: Sequence[str]) -> dict[str, ModelEntry]:
    """The models that were named, or all; those that exist can be built.

    Raises:
        UsageError: the protocol has no such model, or a parameter is wrong.
    """
    for name in names:
        if name not in protocol.models:
            raise UsageError(
                f"{protocol.id} has no model {name!r}{suggest(name, protocol.models)}: use some of "
                f"{', '.join(protocol.models)}"
            )
    models = {name: protocol.models[name] for name in names or protocol.models}
    for entry in models.values():
        if entry.type in MODEL_NAMES:
            build(entry.type, entry.parameters)
    return models


def run_protocol(
    protocol: Protocol,
    raw: Path,
    seeds: Sequence[int],
    models: Mapping[str, ModelEntry],
    status: Status,
    say: Callable[[str], None],
) -> list[Result]:
    """A table for each log of the protocol whose files lie at or below a folder.

    Args:
        protocol: what is run.
        raw: folder of the raw files, or one file.
        seeds: of models that chance has a part in; the others run once.
        models: of `chosen_models`.
        status: shows what takes its time.
        say: is told the figures of each model as they come.

    Raises:
        UsageError: no file of the protocol is there, or the log is too small for it.
        HourglassError: a file cannot be read.
    """
    results = []
    for name, files in files_of_logs(raw, protocol).items():
        data = protocol.data[name]
        with status(f"{protocol.id}: reading {name}"):
            whole, log, exam = read_exam(files, protocol, data)
        sizes = _sizes(whole, log, exam)
        del whole, log
        rows = [
            _row(label, entry, protocol, data, exam, seeds, status, say)
            for label, entry in models.items()
        ]
        if len(models) == len(protocol.models):
            rows += [
                Row(label, published=published, note="no model here")
                for label, published in data.published.items()
                if label not in protocol.models
            ]
        columns = [column for column, *_ in protocol.questions.columns()]
        shift = exam.shift if isinstance(exam, SearchTask) else {}
        results.append(Result(protocol, name, files, sizes, columns, rows, shift))
    return results


def _sizes(whole: Log, log: Log, exam: Task) -> dict[str, int]:
    sizes = {}
    for name, events in (("read", whole), ("prepared", log)):
        sizes[f"{name}_events"] = len(events)
        sizes[f"{name}_users"] = _distinct(events.user)
        sizes[f"{name}_items"] = _distinct(events.item)
    train = exam.train.manifest
    targets, tested_users, left_out = _targets(exam)
    return {
        **sizes,
        "learned_events": train.n_events,
        "learned_users": train.n_users,
        "learned_items": int(np.count_nonzero(exam.train.item_events)),
        "targets": targets,
        "tested_users": tested_users,
        "left_out_targets": left_out,
        **(exam.sizes if isinstance(exam, SearchTask) else {}),
    }


def _targets(exam: Task) -> tuple[int, int, int]:
    """How many there are, of how many users, and how many were left out."""
    if isinstance(exam, ColdTask):
        return int(exam.relevant.sum()), len(exam.user), 0
    if isinstance(exam, SearchTask):
        return len(exam.item), len(exam.test.histories.user_ids), 0
    requests = exam.questions.requests
    return len(requests), _distinct(requests.user), exam.left_out


def _distinct(codes: Ints) -> int:
    return int(np.count_nonzero(np.bincount(codes)))


def _row(
    label: str,
    entry: ModelEntry,
    protocol: Protocol,
    data: Data,
    exam: Task,
    seeds: Sequence[int],
    status: Status,
    say: Callable[[str], None],
) -> Row:
    row = Row(label, published=data.published.get(label, {}))
    wanted = protocol.questions
    if entry.type in AVERAGES and isinstance(exam, Exam) and wanted.targets == "rating":
        reached = {RMSE: Estimate.of([average_error(exam, AVERAGES[entry.type])])}
        return replace(row, reached=reached)
    if entry.type not in MODEL_NAMES:
        return replace(row, note=f"not built: there is no model type {entry.type}")
    config = ModelConfig(label, entry.type, entry.parameters)
    config = agreeing(config, wanted.repeats == "keep")
    by_seed = []
    try:
        for seed in seeds:
            model = build(config.system, config.parameters)
            with status(f"{protocol.id}: {label}, seed {seed}"):
                by_seed.append(_figures(model, exam, protocol, seed))
            shown = ", ".join(
                f"{name} {value:.4f}"
                for name, value in by_seed[-1].items()
                if not math.isnan(value)
            )
            say(f"{label}, seed {seed}: {shown}")
            if not isinstance(model, GradientTrained):
                break
    except HourglassError as error:
        return replace(row, note=f"failed: {error}", failed=True)
    reached = {
        name: Estimate.of([run[name] for run in by_seed])
        for name, value in by_seed[0].items()
        if not math.isnan(value)
    }
    return replace(row, reached=reached)


def _figures(model: Model, exam: Task, protocol: Protocol, seed: int) -> dict[str, float]:
    wanted = protocol.questions
    begun_s = time.perf_counter()
    metrics = model.fit(exam.train, seed, lambda _: None)
    took_s = time.perf_counter() - begun_s
    if isinstance(exam, ColdTask):
        return cold_figures(exam, over_histories(model, exam), wanted, seed)
    if isinstance(exam, SearchTask):
        return search_figures(exam, model, wanted)
    if wanted.targets == "rating":
        return {RMSE: rating_error(exam, model)}
    learns = isinstance(model, GradientTrained)
    replies = answers_of(
        model,
        exam.test.histories,
        exam.questions,
        len(exam.test.item_ids),
        lists_of(wanted),
        has_chances=_has_chances(model) and "perplexity" in wanted.metrics,
    )
    # A search for the number of epochs takes as long as it happens to.
    counts = learns and "best_epoch" not in metrics
    speed = exam.train.manifest.n_events * metrics["epochs"] / took_s if counts else math.nan
    return figures(exam, replies, wanted, speed)


def _has_chances(model: Model) -> bool:
    """Whether the softmax of a model's scores is what it takes for the chance of each item."""
    if not isinstance(model, RecurrentModel):
        return False
    chosen = model.parameters
    is_corrected = chosen.negatives == 0 or chosen.log_q_correction
    return chosen.loss == _LOGITS and is_corrected and chosen.ips_temperature == 0
