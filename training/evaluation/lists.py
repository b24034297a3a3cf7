"""What a model's lists show: how much of the catalogue, how evenly, how rare, and for how long.

Shapes: ``n`` targets, ``V`` items, ``L`` lists looked at, ``S`` future steps.  Lists are as in
`training.metrics.answers`: ties are against the model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pipeline.array_types import Bools, Floats, Floats32
from pipeline.settings.learning import EvaluationSettings
from training.data.reader import DataSet
from training.gate.guards import N_LISTS
from training.metrics.answers import coverage, gini, novelty, thresholds
from training.metrics.diversity import Audiences
from training.metrics.ranking import find_targets

FUTURE_STEPS = 20
_MOST_DIVERSE = 1_000  # lists whose items are compared with one another
_MOST_LISTS = 10_000  # sorting the scores of a large catalogue costs as much as making them


@dataclass(frozen=True)
class ListFigures:
    """Figures of lists of ``k``; NaN where there is nothing to say them of.

    ``later_recall``: Recall@k of the target that a list is made for, of the user's target after
    that, and so on up to `FUTURE_STEPS` further (HRNN figure 3).
    """

    k: int
    n_lists: int
    coverage: float
    gini: float
    novelty: float  # bits
    later_recall: tuple[float, ...]
    new_items: float = math.nan  # share of what is shown; NaN where age is not known
    diversity: float = math.nan  # mean distance of two items of a list

    @property
    def guarded(self) -> dict[str, float]:
        """What `training.gate.guards` holds a candidate's lists to, by the names of the guards."""
        return {
            N_LISTS: self.n_lists,
            "coverage": self.coverage,
            "evenness": 1.0 - self.gini,
            "novelty": self.novelty,
            "new_items": self.new_items,
            "diversity": self.diversity,
        }


class ShownLists:
    """Looks at the scores of a model while it is asked for its ranks.

    Args:
        test_set: what it is asked of.
        rule: which events are targets, and the length of a list.
        is_new: (V,) items first seen shortly before; None: their age is not known.
        audiences: who was there on each item; None: lists are not looked at for their diversity.
    """

    def __init__(
        self,
        test_set: DataSet,
        rule: EvaluationSettings,
        is_new: Bools | None = None,
        audiences: Audiences | None = None,
    ) -> None:
        self._is_new, self._audiences = is_new, audiences
        targets = find_targets(test_set.histories, rule)
        self._user, self._item, self._k = targets.requests.user, targets.item, rule.k
        self._item_events = test_set.item_events
        # Evenly over users and time, and the same of each model.
        self._every = max(1, -(-len(self._item) // _MOST_LISTS))
        self._shown = np.zeros(len(test_set.item_ids), np.int64)
        self._hits = np.zeros(FUTURE_STEPS + 1, np.int64)
        self._wanted = np.zeros(FUTURE_STEPS + 1, np.int64)
        self._n_lists = 0
        self._diverse_every = self._every * max(
            1, -(-len(self._item) // (self._every * _MOST_DIVERSE))
        )
        self._diversity: list[Floats] = []

    def look(self, rows: slice, scores: Floats32) -> None:
        """Count what the lists of some targets show; their scores are (n, V)."""
        row = np.arange(rows.start, rows.stop)
        chosen = np.flatnonzero(row % self._every == 0)
        if not len(chosen):
            return
        if len(chosen) < len(row):
            row, scores = row[chosen], scores[chosen]
        least = thresholds(scores, [self._k])[self._k][:, None]  # (L, 1)
        is_shown = scores > least  # (L, V)
        self._shown += is_shown.sum(axis=0)
        if self._audiences is not None:
            compared = is_shown[row % self._diverse_every == 0]
            self._diversity.append(self._audiences.diversity(compared))
        self._n_lists += len(row)
        later = row[:, None] + np.arange(FUTURE_STEPS + 1)  # (L, S)
        exists = later < len(self._item)
        later[~exists] = 0
        exists &= self._user[later] == self._user[row][:, None]
        hits = np.take_along_axis(scores, self._item[later].astype(np.int64) - 1, 1) > least
        self._hits += (hits & exists).sum(axis=0)
        self._wanted += exists.sum(axis=0)

    def figures(self) -> ListFigures:
        """Of all lists so far."""
        recall = np.full(FUTURE_STEPS + 1, np.nan)
        np.divide(self._hits, self._wanted, out=recall, where=self._wanted > 0)
        n_shown = int(self._shown.sum())
        new_items = math.nan
        if self._is_new is not None and n_shown:
            new_items = float(self._shown[self._is_new].sum() / n_shown)
        return ListFigures(
            self._k,
            self._n_lists,
            coverage(self._shown),
            gini(self._shown),
            novelty(self._shown, self._item_events),
            tuple(recall.tolist()),
            new_items,
            self._mean_diversity(),
        )

    def _mean_diversity(self) -> float:
        of_lists = np.concatenate(self._diversity) if self._diversity else np.empty(0)
        is_list = ~np.isnan(of_lists)
        return float(of_lists[is_list].mean()) if is_list.any() else math.nan
