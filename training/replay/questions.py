"""What is asked in a step of a replay: the same of every arm, and what each request knows."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pipeline.array_types import Ints, Ints32
from pipeline.dataset.as_known.known_log import known_counts
from pipeline.dataset.as_known.known_sessions import known_sessions
from pipeline.dataset.rows.arrays import index_of_items
from pipeline.dataset.rows.event_log import FlatLog, start_us
from pipeline.errors import HourglassError
from pipeline.hours import US_PER_HOUR, Hour, HourRange, parse_duration_h
from training.data.in_memory import (
    InMemoryDataset,
    InMemoryDatasets,
    build_in_memory,
    in_memory_test_set,
)
from training.data.reader import DataSet
from training.metrics.ranking import Targets, find_targets, rank_targets
from training.replay.arms import Arm, ArmState, follows_popularity, with_current_popularity
from training.replay.known_requests import LateRows, known_requests
from training.replay.store import COLUMNS, StepRanks

_THRESHOLDS = ("min_item_events", "min_session_events", "min_user_sessions")


@dataclass(frozen=True)
class Questions:
    """The frozen events of one step, cut when the first arm asks for them.

    ``rows`` are the late events of a replay as known.
    """

    datasets: InMemoryDatasets
    hours: HourRange
    rows: LateRows | None = None

    @cached_property
    def test_set(self) -> InMemoryDataset | None:
        """All that happened, however late it came; None without an event.

        In a vocabulary of all items met before the end of the step.
        """
        log, settings = self.datasets.log, self.datasets.settings
        items = np.flatnonzero(log.item_first_us < start_us(self.hours.stop))
        if settings.dataset.cold_items:
            # An arm may recommend what nobody has met yet: it costs it a place as any other.
            items = np.arange(len(log.item_ids))
        base = self._base()
        test_set = (
            None if base is None else in_memory_test_set(log, settings, base, self.hours, items)
        )
        return test_set if test_set is not None and len(test_set.data.histories.item) else None

    def _base(self) -> InMemoryDataset | None:
        """A cut that names event types, contexts, features; models have the rest of their own."""
        rules = self.datasets.settings.dataset
        reach_h = parse_duration_h(rules.window) + parse_duration_h(rules.history)
        wider = {"window": f"{reach_h}h", **dict.fromkeys(_THRESHOLDS, 1)}
        for dataset_rules in (rules, rules.model_copy(update=wider)):
            with suppress(HourglassError):
                return self.datasets.train(dataset_rules, self.hours.first)[0]
        # Where all of these hours came later, what is asked must not depend on it.
        settings = self.datasets.settings.model_copy(update={"dataset": dataset_rules})
        with suppress(HourglassError):
            return build_in_memory(self.datasets.log, settings, self.hours.first)
        return None

    @cached_property
    def to_find(self) -> Targets:
        """What is to be found of the test set: the same whatever a request knows."""
        if self.test_set is None:
            raise AssertionError(f"nothing happened in {self.hours}")
        return find_targets(self.test_set.data.histories, self.datasets.settings.evaluation)

    @cached_property
    def requests(self) -> tuple[DataSet, Targets]:
        """The same targets, asked of what was known when each was asked."""
        log, settings = self.datasets.log, self.datasets.settings
        if self.test_set is None:
            raise AssertionError(f"nothing happened in {self.hours}")
        if log.late is None or self.rows is None:
            return self.test_set.data, self.to_find
        return known_requests(
            log, log.late, self.rows, settings, self.test_set, self.to_find, self.hours
        )

    def prepare(self) -> None:
        """Cut everything now; all arms are asked the same."""
        if self.test_set is not None:
            _ = self.requests

    @cached_property
    def _counts(self) -> dict[Hour, FlatLog]:
        return {}

    def popularity_at(self, hour: Hour) -> FlatLog:
        """A log whose hourly counts are those that were known at the start of an hour."""
        log = self.datasets.log
        if hour not in self._counts:
            sessions = None if log.late is None else known_sessions(log.late, hour)
            self._counts[hour] = (
                log
                if sessions is None
                else dataclasses.replace(log, counts=known_counts(log, sessions.change))
            )
        return self._counts[hour]


def ranks(arm: Arm, state: ArmState, questions: Questions) -> tuple[StepRanks, int]:
    """The ranks of the targets, and how many of these the arm has in its vocabulary."""
    datasets, test_set = questions.datasets, questions.test_set
    if test_set is None:
        return StepRanks(**{name: np.empty(0, kind) for name, kind in COLUMNS.items()}), 0
    log, settings = datasets.log, datasets.settings
    data, targets = questions.requests
    rank = np.empty(len(targets.item), np.int32)
    for places in _asked_together(arm, state, questions, targets):
        ranked = rank_targets(
            state.model,
            data,
            settings.evaluation,
            model_id=arm.name,
            item_ids=log.item_ids[state.encoding.items],
            targets=targets.take(places),
        )
        rank[places] = ranked.rank
    return _step_ranks(questions, test_set, state, rank)


def _asked_together(
    arm: Arm, state: ArmState, questions: Questions, targets: Targets
) -> Iterator[Ints]:
    """Places of targets (n,) by user, with the model's popularity as it was known to them.

    A model that follows popularity is served it fresh each hour.  Where events came late, the
    counts of former hours are others an hour later.
    """
    hours, log = questions.hours, questions.datasets.log
    requests = targets.requests
    by_user = np.argsort(requests.user, kind="stable")
    since = hours.first - parse_duration_h(questions.datasets.settings.dataset.popularity_window)
    if log.late is None or len(hours) == 1 or not follows_popularity(arm, state):
        known_log = questions.popularity_at(hours.first)
        with_current_popularity(arm, state, known_log, hours, since)
        yield by_user
        return
    hour_of = requests.now_us[by_user] // US_PER_HOUR
    for index in np.unique(hour_of).tolist():
        hour = Hour(index)
        so_far = HourRange(hours.first, hour + 1)
        with_current_popularity(arm, state, questions.popularity_at(hour), so_far, since)
        yield by_user[hour_of == index]


def _step_ranks(
    questions: Questions, test_set: InMemoryDataset, state: ArmState, rank: Ints32
) -> tuple[StepRanks, int]:
    """Ranks (n,) of what was to be found, in the codes of the log."""
    log, targets = questions.datasets.log, questions.to_find
    k = questions.datasets.settings.evaluation.k
    user_codes = np.searchsorted(log.user_ids, test_set.data.histories.user_ids)
    item = test_set.encoding.items[targets.item - 1]
    # Where there are few items, the last of all would still be one of the first k.
    is_miss = index_of_items(log, state.encoding.items)[item] < 0
    step_ranks = StepRanks(
        user=user_codes[targets.requests.user].astype(np.int32),
        time_us=targets.requests.now_us,
        item=item.astype(np.int32),
        known=log.item_first_us[item] < start_us(questions.hours.first),
        item_age_us=targets.requests.now_us - log.item_first_us[item],
        rank=np.where(is_miss, np.maximum(rank, k + 1), rank).astype(np.int32),
    )
    return step_ranks, int((~is_miss).sum())
