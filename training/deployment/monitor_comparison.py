"""The live model, or one that may replace it, beside each baseline on the hours that are judged."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.array_types import Objects
from pipeline.hours import HourRange, parse_duration_h
from pipeline.settings.settings import Settings
from training.deployment.monitor_record import BaselineResult, MonitorResult
from training.deployment.monitor_statistics import (
    MonitorEvidence,
    earlier_looks,
    is_below,
    monitor_evidence,
    monitor_numbers,
    write_users,
)
from training.evaluation.evaluate import Evaluation
from training.metrics.metrics import target_values
from training.metrics.ranks import Ranks, ranks_path, read_ranks


@dataclass(frozen=True)
class BaselineComparison:
    """What was evaluated on some hours, and what the baselines were there."""

    settings: Settings
    evaluation: Evaluation
    hours: HourRange  # that are judged
    user_ids: Objects  # of the rows of the frozen part
    baseline_ids: Mapping[str, str]  # fits of the baselines on the data set, by name

    def rivals(self, name: str) -> list[str]:
        """The baselines that a model of that name is compared with, in an order of their own."""
        return sorted(set(self.settings.gate.baselines) - {name})

    def compare(self, result: MonitorResult, folder: Path) -> dict[str, BaselineResult]:
        """The model of a finding beside each baseline that was evaluated, by the baseline's name.

        What users added to each look is kept in ``folder``, where the findings lie.

        Raises:
            HourglassError: an earlier finding, or what users added to it, is gone or was changed.
        """
        period_h = parse_duration_h(self.settings.gate.period)
        rivals = self.rivals(result.model.name)
        compared: dict[str, BaselineResult] = {}
        for name in rivals:
            now = self._evidence(result.model.model_id, name)
            if now is not None:
                earlier = earlier_looks(folder, result, period_h, name)
                numbers = monitor_numbers(self.settings, now, earlier, len(rivals))
                users = write_users(folder, result, now.look.user_sums)
                compared[name] = BaselineResult(self.baseline_ids[name], numbers, users)
        return compared

    def decisive(self, compared: Mapping[str, BaselineResult]) -> str | None:
        """The best baseline of those that a model is surely below, or else of all.

        Of those as good as each other the first by name; None where there is none.
        """
        least = self.settings.monitor.min_users
        below = [name for name in compared if is_below(compared[name].numbers, least)]
        return min(
            below or compared, key=lambda name: compared[name].numbers.difference, default=None
        )

    def is_fit(self, model_id: str, name: str) -> bool | None:
        """Whether a model is surely below no baseline on these hours; None where nobody knows."""
        rivals = self.rivals(name)
        looks = [self._evidence(model_id, rival) for rival in rivals]
        numbers = [monitor_numbers(self.settings, look, [], len(rivals)) for look in looks if look]
        if any(is_below(each, self.settings.monitor.min_users) for each in numbers):
            return False
        return True if len(numbers) == len(rivals) else None

    def baselines_by_figure(self, first: str | None) -> list[str]:
        """Model ids of the baselines: one before all, then by their figures on these hours.

        Those as good as each other, or not evaluated, come in the order of the settings.
        """
        listed = [name for name in self.settings.gate.baselines if name in self.baseline_ids]
        return sorted(
            (self.baseline_ids[name] for name in listed),
            key=lambda model_id: (model_id != first, -self._figure(model_id)),
        )

    def _figure(self, model_id: str) -> float:
        """The gate's metric of a model; minus infinity where it was not evaluated."""
        ranks = self._ranks(model_id)
        if ranks is None or not ranks.n_targets:
            return -math.inf
        values = target_values(self.settings.gate.metric, ranks.rank, self.settings.evaluation.k)
        return float(values.mean())

    def _evidence(self, model_id: str, baseline: str) -> MonitorEvidence | None:
        """A model beside a baseline; None where one of them was not evaluated."""
        ranks, baseline_id = self._ranks(model_id), self.baseline_ids.get(baseline)
        floor = self._ranks(baseline_id) if baseline_id else None
        if ranks is None or floor is None:
            return None
        return monitor_evidence(self.settings, self.hours, ranks, floor, self.user_ids)

    def _ranks(self, model_id: str) -> Ranks | None:
        """What `hourglass evaluate` stored of a model on the hours; None where it did not."""
        if model_id not in self.evaluation.names:
            return None
        evaluations = self.settings.path("evaluations")
        return read_ranks(ranks_path(evaluations, self.evaluation.frozen_id, model_id))
