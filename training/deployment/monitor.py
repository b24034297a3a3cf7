"""The monitor: the model that was live during an hour is judged when the hour has ended.

Surely below a baseline, or unable to score, it gives way to the previous model or a baseline.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.array_types import Objects
from pipeline.errors import HourglassError, one_line
from pipeline.hours import HourRange
from pipeline.settings.settings import Settings
from pipeline.text.wording import counted, verb
from training.deployment.champion import changing, loadable
from training.deployment.champion_history import ChampionPeriod
from training.deployment.monitor_comparison import BaselineComparison
from training.deployment.monitor_record import (
    MONITOR_KIND,
    MonitorNumbers,
    MonitorOutcome,
    MonitorResult,
    monitor_results_between,
    write_monitor_result,
)
from training.deployment.monitor_statistics import is_below
from training.deployment.rollback import Rollback, roll_back
from training.evaluation.evaluate import Evaluation
from training.gate.roles import baselines_text
from training.metrics.ranks import rule_key
from training.registry.artefact import load_model
from training.registry.champion_card import refuse_changed_model
from training.registry.champion_record import ModelRef
from training.registry.mlflow_registry import (
    LiveModel,
    Registry,
    champion,
    model_ref,
    registered_version,
    rollback_targets,
)
from training.registry.model_card import read_card
from training.registry.model_store import available
from training.registry.record_chain import (
    MONITOR_FOLDER,
    is_linked,
    link_record,
    verified_chain,
)

Verdict = tuple[MonitorOutcome, str, str]  # outcome, reason code, sentence


@dataclass(frozen=True)
class ChampionMonitor:
    """What one hour is judged with."""

    settings: Settings
    registry: Registry
    evaluation: Evaluation
    hours: HourRange  # that were judged
    user_ids: Objects  # of the rows of the frozen part
    baseline_ids: Mapping[str, str]  # fits of the baselines on the data set, by name
    quality_passed: bool | None
    at: str | None

    def __call__(self, period: ChampionPeriod) -> tuple[MonitorResult, Path]:
        """Judge the model that was live during the hours, replace it if it must be, and say so.

        Done again after it replaced a model, it changes nothing; nor does it where less is known
        of the hour than before.

        Raises:
            HourglassError: the model must be replaced, but nothing that it could be replaced by
                loads; a record cannot be read or written, or is missing or was changed.
        """
        folder = self.settings.path(MONITOR_FOLDER)
        before = monitor_results_between(folder, self.hours.first, self.hours.first + 1)
        for path, earlier in before:
            if earlier.outcome is MonitorOutcome.REPLACED and self._is_linked(path):
                return earlier, path
        result = self._judge(period)
        for path, earlier in before:
            if earlier.model == result.model and earlier.informed and not result.informed:
                return earlier, path
        if result.outcome is MonitorOutcome.REPLACED:
            result = self._replace(result)
        record = write_monitor_result(folder, result)
        if result.outcome is MonitorOutcome.REPLACED:
            with changing(self.registry.records, f"noting what became of {result.model.model_id}"):
                link_record(self.registry, verified_chain(self.registry), record, MONITOR_KIND)
        return result, record

    @property
    def _beside(self) -> BaselineComparison:
        return BaselineComparison(
            self.settings, self.evaluation, self.hours, self.user_ids, self.baseline_ids
        )

    def _is_linked(self, record: Path) -> bool:
        """Whether a finding that a model was replaced was made by the monitor itself."""
        with changing(self.registry.records, "reading what the monitor found"):
            return is_linked(self.registry, record)

    def _judge(self, period: ChampionPeriod) -> MonitorResult:
        gate, evaluation = self.settings.gate, self.settings.evaluation
        result = MonitorResult(
            first=self.hours.first,
            stop=self.hours.stop,
            model=ModelRef(period.model_id, period.version, period.name),
            since_record=period.record.name if period.record else None,
            floor_id=None if len(gate.baselines) > 1 else self.baseline_ids.get(gate.baselines[0]),
            frozen_id=self.evaluation.frozen_id,
            rule={
                "metric": gate.metric,
                "k": evaluation.k,
                "rule": rule_key(evaluation),
                "floor": baselines_text(gate.baselines),
                "hours": len(self.hours),
            },
            outcome=MonitorOutcome.KEPT,
            reason="",
            sentence="",
            at=self.at,
        )
        verdict = self._without_figures(period)
        if verdict is None:
            beside = self._beside
            compared = beside.compare(result, self.settings.path(MONITOR_FOLDER))
            decisive = beside.decisive(compared)
            if decisive is not None:
                chosen = compared[decisive]
                result = replace(result, numbers=chosen.numbers)
                result = (
                    replace(result, floor_id=chosen.model_id, baselines=compared)
                    if len(gate.baselines) > 1
                    else replace(result, users=chosen.users)
                )
            missing = [name for name in beside.rivals(period.name) if name not in compared]
            verdict = self._by_figures(period.model_id, decisive, result.numbers, missing)
        outcome, reason, sentence = verdict
        return replace(result, outcome=outcome, reason=reason, sentence=sentence)

    def _without_figures(self, period: ChampionPeriod) -> Verdict | None:
        """What is to be said of a model whatever it scored; None where its figures decide."""
        model_id = period.model_id
        broken = self._cannot_score(model_id)
        if broken is not None:
            return MonitorOutcome.REPLACED, "cannot_score", f"{broken}."
        if not self._beside.rivals(period.name):
            sentence = f"{model_id} is the baseline itself, so there is nothing to compare it with."
            return MonitorOutcome.KEPT, "is_the_floor", sentence
        if self.quality_passed is not True:
            bad = self.quality_passed is False
            why = "failed a critical expectation" if bad else "were never validated"
            return (
                MonitorOutcome.UNJUDGED,
                "bad_data" if bad else "data_not_validated",
                f"{model_id} is not judged on {self.hours}: the data {why}.",
            )
        if self._knows_the_hours(model_id):
            return (
                MonitorOutcome.UNJUDGED,
                "learned_from_the_hour",
                f"{model_id} is not judged on {self.hours}: it learned from them.",
            )
        return None

    def _by_figures(
        self,
        model_id: str,
        baseline: str | None,
        numbers: MonitorNumbers | None,
        missing: Sequence[str],
    ) -> Verdict:
        least = self.settings.monitor.min_users
        condemned = numbers is not None and is_below(numbers, least)
        if numbers is None or (missing and not condemned):
            several = len(missing) > 1
            return (
                MonitorOutcome.UNJUDGED,
                "not_evaluated",
                f"{model_id} and the {'baselines' if several else 'baseline'} "
                f"{', '.join(missing)} were not {'all' if several else 'both'} evaluated on "
                f"{self.hours}: run hourglass evaluate.",
            )
        if numbers.users < least:
            return (
                MonitorOutcome.UNJUDGED,
                "few_users",
                f"{model_id} is not judged on {self.hours}: {counted(numbers.users, 'user')} "
                f"{verb(numbers.users, 'is', 'are')} fewer than {least}.",
            )
        only = len(self.settings.gate.baselines) == 1
        which = "the baseline" if only else f"the baseline {baseline}"
        figures = (
            f"{self.settings.gate.metric} {numbers.live:.4f} against {numbers.floor:.4f} of "
            f"{which}, difference {numbers.difference:+.4f} [{numbers.lower:+.4f}, "
            f"{numbers.upper:+.4f}], {counted(numbers.users, 'user')}"
        )
        if condemned:
            sentence = f"{model_id} is surely below {which} on {self.hours}: {figures}."
            return MonitorOutcome.REPLACED, "below_floor", sentence
        best = "the baseline" if only else "the best baseline beside it"
        sentence = f"{model_id} is not below {best} on {self.hours}: {figures}."
        return MonitorOutcome.KEPT, "not_below_floor", sentence

    def _replace(self, result: MonitorResult) -> MonitorResult:
        live = champion(self.registry)
        if live is None or live.version != result.model.version:
            other = live.model_id if live else "nothing"
            return replace(
                result,
                outcome=MonitorOutcome.UNJUDGED,
                reason="not_live_any_more",
                sentence=f"{result.sentence.rstrip('.')}; it is not live any more, {other} is.",
            )
        done = self._roll_back(live, result)
        record = done.record.name
        return replace(
            result,
            sentence=f"{result.sentence.rstrip('.')}; {done.champion.model_id} is live instead.",
            replaced_by=done.champion.model_id,
            live_record=record,
        )

    def _roll_back(self, live: LiveModel, result: MonitorResult) -> Rollback:
        reasons = []
        for stack in self._rollback_targets(live, result.floor_id):
            try:
                loadable(self.registry, stack[0].model_id)
            except HourglassError as error:
                reasons.append(str(error))
                continue
            return roll_back(
                self.registry,
                self.registry.records,
                live,
                stack,
                "below_floor" if result.reason == "below_floor" else "cannot_score",
                result.sentence,
                self.at,
                self.hours.stop,
            )
        because = "; ".join(reasons) or "there is no previous model and no baseline"
        raise HourglassError(
            f"{result.sentence.rstrip('.')}, but nothing can replace it ({because}): "
            "train the baseline and run hourglass monitor again"
        )

    def _rollback_targets(
        self, live: LiveModel, decisive: str | None
    ) -> list[tuple[ModelRef, ...]]:
        """What may replace the live model, best first, each with what lies behind it.

        Of several baselines the ``decisive`` one comes first, the others by their figures.
        """
        behind = rollback_targets(self.registry, live)
        fit = self._is_fit(behind[0]) if behind else False
        ways = [behind] if fit else []
        for model_id in self._beside.baselines_by_figure(decisive):
            if model_id == live.model_id:
                continue
            version = str(registered_version(self.registry, model_id).version)
            floor = model_ref(self.registry, version)
            ways.append((floor, *(behind[1:] if fit is False else behind)))
        # Nobody knows how good it is, yet it is better than a model that cannot serve at all.
        return [*ways, behind] if fit is None else ways

    def _is_fit(self, before: ModelRef) -> bool | None:
        """Whether the previous model may come back; None where its figures are not known."""
        if self._cannot_score(before.model_id) is not None:
            return False
        if not self._beside.rivals(before.name):
            return True
        if self.quality_passed is not True or self._knows_the_hours(before.model_id):
            return None
        return self._beside.is_fit(before.model_id, before.name)

    def _knows_the_hours(self, model_id: str) -> bool:
        """Whether a model learned from what would judge it."""
        return read_card(available(self.registry, model_id)).as_of > self.hours.first

    def _cannot_score(self, model_id: str) -> str | None:
        """Why a model cannot serve; None where it can."""
        # That the server cannot be reached now says nothing against the model: it raises.
        folder = available(self.registry, model_id)
        version = registered_version(self.registry, model_id)
        try:
            refuse_changed_model(self.registry, version)
            load_model(folder)
        except Exception as error:  # whatever keeps it from loading keeps it from serving
            return f"{model_id} cannot be loaded: {one_line(error)}"
        failure = self.evaluation.failures.get(model_id)
        return None if failure is None else f"{model_id} cannot score: {failure}"
