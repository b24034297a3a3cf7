"""Whether a decision was held to all that the settings ask for by the time it is carried out.

A decision may wait hours for a person.  Settings that became stricter meanwhile count for it too:
a baseline that was added has not been beaten, a guard that was raised has not been kept.
"""

from __future__ import annotations

from pipeline.errors import HourglassError
from pipeline.settings.learning import GateSettings
from training.deployment.decision_check import gate_settings_of
from training.gate.decision_file import DecisionRecord


def refuse_uncovered(decision: DecisionRecord, gate: GateSettings) -> None:
    """Let a promotion pass that was judged by everything that the settings name.

    What they no longer name does no harm.  Guards compare with a live model; where there was none,
    there was nothing to compare.

    Args:
        decision: to promote a candidate.
        gate: the settings of now.

    Raises:
        HourglassError: a baseline is missing, or a guard is missing or was lower.
    """
    judged_by = gate_settings_of(decision)
    lacks = [name for name in gate.baselines if name not in judged_by.baselines]
    texts = [f"not compared with the baseline {', '.join(lacks)} (gate.baseline)"] if lacks else []
    for guard, share in sorted(gate.guards.items()) if decision.champion_id else ():
        before = judged_by.guards.get(guard)
        if before is None:
            texts.append(f"not held to {guard} (gate.guards)")
        elif before < share:
            texts.append(f"held to {guard} {before:g}, not {share:g} (gate.guards)")
    if texts:
        dataset = decision.record.content["candidate"].get("dataset_id") or "of its hour"
        raise HourglassError(
            f"{decision.record.path.name} is older than the settings: {decision.candidate_id} was "
            f"{'; '.join(texts)}: wait for the next hour's decision, or run hourglass train, "
            f"evaluate and gate with --dataset {dataset}"
        )
