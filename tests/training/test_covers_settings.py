"""A decision that waited is held to what the settings name by the time it is carried out."""

from __future__ import annotations

from pathlib import Path

import pytest
from lives import decided, live_ids, register, registry

from pipeline.errors import HourglassError
from pipeline.settings.learning import GateSettings
from training.deployment.covers_settings import refuse_uncovered
from training.deployment.promote import install_first, promote
from training.gate.decision_file import read_decision
from training.registry.mlflow_registry import Registry

__all__ = ["registry"]
JUDGED_BY = {"approval": False, "approval_timeout": "1h"}


@pytest.fixture
def decision(registry: Registry) -> Path:
    """Promotes hrnn-b, which was compared with recent_pop and with what is live."""
    register(registry, "recent-a", "hrnn-b")
    install_first(registry, "recent-a", registry.records)
    return decided(registry, "hrnn-b")


def test_a_baseline_that_was_added_since_must_be_beaten_first(
    registry: Registry, decision: Path
) -> None:
    stricter = GateSettings(baseline=("recent_pop", "stan"))
    with pytest.raises(
        HourglassError,
        match=r"is older than the settings: hrnn-b was not compared with the baseline stan "
        r"\(gate.baseline\): wait for the next hour's decision, or run hourglass train",
    ):
        promote(registry, decision, gate=stricter)
    assert live_ids(registry) == ("recent-a", None)


def test_a_guard_that_was_added_since_must_be_kept_first(
    registry: Registry, decision: Path
) -> None:
    with pytest.raises(HourglassError, match=r"was not held to coverage \(gate.guards\)"):
        promote(registry, decision, gate=GateSettings(guards={"coverage": 0.9}))
    assert live_ids(registry) == ("recent-a", None)


def test_what_the_decision_was_held_to_lets_it_pass(registry: Registry, decision: Path) -> None:
    assert promote(registry, decision, gate=GateSettings()).changed


def test_a_promotion_that_is_complete_stays_so(registry: Registry, decision: Path) -> None:
    promote(registry, decision, gate=GateSettings())
    assert not promote(registry, decision, gate=GateSettings(baseline="stan")).changed


@pytest.mark.parametrize(
    ("judged_by", "now", "lack"),
    [
        ({"baseline": ["recent_pop", "stan"]}, {"baseline": "stan"}, None),
        ({"baseline": ["recent_pop", "stan"]}, {"baseline": ("p_pop", "stan")}, "baseline p_pop"),
        ({"guards": {"novelty": 0.9}}, {}, None),
        ({"guards": {"novelty": 0.9}}, {"guards": {"novelty": 0.8}}, None),
        (
            {"guards": {"novelty": 0.8}},
            {"guards": {"novelty": 0.9}},
            "held to novelty 0.8, not 0.9",
        ),
    ],
    ids=["fewer baselines", "another one", "no guard any more", "lower guard", "higher guard"],
)
def test_only_what_became_stricter_counts(
    registry: Registry,
    decision: Path,
    judged_by: dict[str, object],
    now: dict[str, object],
    lack: str | None,
) -> None:
    record = read_decision(decision)
    record.record.content["gate_settings"] = {**JUDGED_BY, **judged_by}
    gate = GateSettings(**{"baseline": "recent_pop", **now})
    if lack is None:
        refuse_uncovered(record, gate)
        return
    with pytest.raises(HourglassError, match=lack):
        refuse_uncovered(record, gate)


def test_where_nothing_was_live_there_were_no_lists_to_compare(registry: Registry) -> None:
    register(registry, "hrnn-b")
    first = read_decision(decided(registry, "hrnn-b"))
    refuse_uncovered(first, GateSettings(guards={"coverage": 0.9}))
