"""A prepared log -> what models learn from and what they are asked; answers -> figures.

N events, n requests, m pairs of a request and an item that comes after it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.array_types import Floats, Ints
from pipeline.errors import HourglassError, UsageError
from pipeline.hours import US_PER_HOUR, US_PER_S, Hour
from pipeline.settings.learning import EvaluationSettings
from training.data.arrays import ranges, session_of_event
from training.data.reader import DataSet
from training.metrics import answers
from training.metrics.answers import Answers
from training.metrics.metrics import target_values
from training.metrics.ranking import Scorer, find_targets
from training.protocols.cold import ColdTask, cold_task, list_figures
from training.protocols.datasets import catalogue_of, question_set, training_set
from training.protocols.events import Log, places_in, starts_of
from training.protocols.metadata import MetadataTable, with_metadata
from training.protocols.preparation import windows
from training.protocols.protocol import (
    RANK_METRICS,
    WHOLE_METRICS,
    Data,
    Preparation,
    Protocol,
    Questions,
)
from training.protocols.ratings import Average, EarlierRatings, Rater, rating_targets, rmse
from training.protocols.search.raw_log import SearchLog
from training.protocols.search.task import SearchTask, ndcg, parted, search_task
from training.protocols.split_rules import FlaggedQueries
from training.protocols.splits import split_log

_SET_METRICS = {"set_recall", "set_precision", "coverage", "gini"}


@dataclass(frozen=True)
class Exam:
    """What is learned from, and what is asked."""

    train: DataSet
    test: DataSet
    questions: answers.Questions
    index: Ints  # (m,) of each pair's item among those that come after, 0 first
    left_out: int  # targets on items that nothing was learned of


Task = Exam | ColdTask | SearchTask


def exam_of(log: Log, protocol: Protocol, data: Data, items: MetadataTable | None = None) -> Exam:
    """Split a prepared log of a protocol; ``items``: what is known of them.

    Raises:
        UsageError: nothing is left to learn from, or to ask.
    """
    rules, split = protocol.preparation_of(data), protocol.split_of(data)
    _refuse_nothing(log, protocol, rules)
    halves = split_log(log, split)
    learned, tested, is_target = halves.learned, halves.tested, halves.is_target
    _refuse_empty_part(len(learned), int(is_target.sum()), protocol, split.kind)
    if rules.window_events is not None:
        learned, _, _ = windows(learned, rules.window_events, rules.step)
        tested, row, is_first = windows(tested, rules.window_events, rules.step)
        is_target = is_first & is_target[row]
    if protocol.questions.targets == "last":
        index, length = places_in(tested.user)
        is_target &= index == length - 1
    as_of = Hour(int(learned.time_us.max()) // US_PER_HOUR + 1)
    catalogue = catalogue_of(learned, 1, rules.gap_s or _longest_silence_s(learned) + 1)
    train = training_set(learned, catalogue, as_of)
    # A history's first event follows nothing; half a history is given or nothing is asked.
    least = 0 if protocol.questions.targets in ("list", "rating") else 1
    test, left_out = question_set(tested, catalogue, as_of, is_target, least)
    train, test = with_metadata(train, items), with_metadata(test, items)
    if protocol.questions.targets == "rating" and not len(rating_targets(test.histories).item):
        raise UsageError(f"{protocol.id}: nothing is asked: no event of this log has a value")
    questions, index = questions_of(test, protocol.questions)
    if not len(questions.requests):
        raise UsageError(
            f"{protocol.id}: nothing is asked: no tested user acts again on an item that was "
            "learned of: this log is too small for the protocol"
        )
    return Exam(train, test, questions, index, left_out)


def cold_exam_of(
    log: Log, protocol: Protocol, data: Data, seed: int, items: MetadataTable | None
) -> ColdTask:
    """Hold half of the items of a prepared log out; ``items``: what is known of them.

    Raises:
        UsageError: nothing is left to ask.
    """
    _refuse_nothing(log, protocol, protocol.preparation_of(data))
    task = cold_task(log, items, None, seed)
    if not len(task.user):
        raise UsageError(f"{protocol.id}: nothing is asked: this log has too few items")
    return task


def search_exam_of(
    search: SearchLog, clicks: Log, protocol: Protocol, data: Data, split: FlaggedQueries
) -> SearchTask:
    """Part the queries of a search log by its prepared clicks.

    Raises:
        UsageError: nothing is left to learn from, or to ask.
    """
    _refuse_nothing(clicks, protocol, protocol.preparation_of(data))
    learned, asked_for = parted(search, clicks, split)
    _refuse_empty_part(len(learned), len(asked_for), protocol, split.kind)
    return search_task(search, learned, asked_for, data.words, split.seed)


def _refuse_empty_part(n_learned: int, n_asked: int, protocol: Protocol, split: str) -> None:
    if not n_learned or not n_asked:
        what = "to ask" if n_learned else "to learn from"
        raise UsageError(
            f"{protocol.id}: the split {split} leaves no event {what}: this log is "
            "too small or too short for the protocol"
        )


def _refuse_nothing(log: Log, protocol: Protocol, rules: Preparation) -> None:
    if not len(log):
        raise UsageError(
            f"{protocol.id}: the preparation leaves no event: this log is too small for its "
            f"thresholds, {rules}"
        )


def _longest_silence_s(log: Log) -> int:
    within = ~starts_of(log.session)[1:]
    return int(np.diff(log.time_us)[within].max(initial=0)) // US_PER_S


def questions_of(test: DataSet, wanted: Questions) -> tuple[answers.Questions, Ints]:
    """What is asked of a test set, and the index of each pair's item among what comes after.

    A request's items are distinct: one that comes twice stands where it comes first.
    """
    histories = test.histories
    targets = "within_session" if wanted.targets == "within_session" else "all"
    rule = EvaluationSettings(repeats=wanted.repeats, targets=targets)
    position = find_targets(histories, rule)
    requests, event, item = position.requests, position.position, position.item
    user = histories.user_of_event[event]
    stops = histories.offsets[user + 1]
    if wanted.targets == "list":
        first = np.flatnonzero(starts_of(user) & (requests.length > 0))
        requests, event, item, stops = requests.take(first), event[first], item[first], stops[first]
        lengths = stops - event
    else:
        if wanted.targets == "within_session":
            session = session_of_event(histories)
            stops = np.searchsorted(session, session[event], side="right")
        lengths = np.minimum(max(wanted.next_n, default=0), stops - event)
    row, after = ranges(event, lengths)
    later = histories.item[after]
    _, first_of_pair = np.unique(row * (len(test.item_ids) + 1) + later, return_index=True)
    chosen = np.sort(first_of_pair)
    questions = answers.Questions(
        requests, item, row[chosen], later[chosen], wanted.repeats == "drop"
    )
    return questions, (after - event[row])[chosen]


def lists_of(wanted: Questions) -> Sequence[int]:
    """Lengths of the lists that must be made out; none where ranks say all."""
    return wanted.k if _SET_METRICS & set(wanted.metrics) else ()


def figures(exam: Exam, replies: Answers, wanted: Questions, speed: float) -> dict[str, float]:
    """Figures by column; NaN where the model has none.

    Args:
        exam: what was asked.
        replies: what the model answered.
        wanted: the columns.
        speed: events that were learned from a second, NaN = learned without epochs.
    """
    row, n_items = exam.questions.row, len(exam.test.item_ids)
    values = {}
    for name, metric, k, n in wanted.columns():
        match metric:
            case "set_recall":
                near = exam.index < n if n else np.ones(len(row), np.bool_)
                value = answers.set_recall(replies.hits[k][near], row[near])
            case "set_precision":
                value = answers.set_precision(replies.hits[k], row, k)
            case "coverage":
                value = answers.coverage(replies.shown[k])
            case "gini":
                value = answers.gini(replies.shown[k])
            case "perplexity":
                chances = replies.log_chance
                value = math.nan if chances is None else answers.perplexity(chances)
            case "items_per_s":
                value = speed
            case _:
                of_rank = RANK_METRICS[metric] if k else WHOLE_METRICS[metric]
                value = float(target_values(of_rank[1], replies.rank, k or n_items).mean())
        values[name] = value
    return values


def cold_figures(task: ColdTask, scores: Floats, wanted: Questions, seed: int) -> dict[str, float]:
    """Figures of lists of the items held out, by column; ``scores`` (users, items held out)."""
    of_lists = list_figures(scores, task.relevant, wanted.k, np.random.default_rng([seed, 2]))
    name_of = {"mrr_all": "mrr", "set_precision": "precision", "ndcg": "ndcg"}
    return {
        column: of_lists[f"{name_of[metric]}@{k}" if k else name_of[metric]]
        for column, metric, k, _ in wanted.columns()
    }


def search_figures(task: SearchTask, model: Scorer, wanted: Questions) -> dict[str, float]:
    """Figures of one list of all products a query, by column: there is NDCG alone."""
    return {column: ndcg(model, task) for column, *_ in wanted.columns()}


def rating_error(exam: Exam, model: object) -> float:
    """RMSE of a model's predictions.

    Raises:
        HourglassError: the model predicts no values.
    """
    if not isinstance(model, Rater):
        raise HourglassError("this model predicts no ratings")
    histories, targets = exam.test.histories, rating_targets(exam.test.histories)
    predicted = model.predict(histories, targets.requests, targets.item)
    return rmse(predicted, histories.value[targets.position])


def average_error(exam: Exam, average: Average) -> float:
    """RMSE of an average of what was rated before each rating."""
    histories, targets = exam.test.histories, rating_targets(exam.test.histories)
    predicted = average(EarlierRatings(exam.train.histories, histories))[targets.position]
    return rmse(predicted, histories.value[targets.position])
