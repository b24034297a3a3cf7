"""What people are told of the gate's decisions: each outcome once, each candidate by name."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pipeline.errors import HourglassError
from training.gate.evidence import Outcome
from training.gate.gate import Decision
from training.steps.gate import Verdict, refuse_blocked, verdict_of


def decision(name: str, outcome: str, sentence: str) -> tuple[Decision, Path]:
    evidence = SimpleNamespace(name=name, candidate=SimpleNamespace(model_id=f"{name}-1"))
    reached = Decision(Outcome(outcome), (), sentence, (), cast(Any, evidence))
    return reached, Path(f"{name}.json")


@pytest.mark.parametrize(
    ("decisions", "told"),
    [
        (
            [decision("hrnn", "promote", "Better than the baseline; no harm.")],
            "promote: hrnn: Better than the baseline; no harm",
        ),
        (
            [decision("hrnn", "hold", "hrnn-1 is the champion already.")],
            "hold: hrnn-1 is the champion already",
        ),
        (
            [decision("steady", "hold", "Too few."), decision("hrnn", "promote", "Better.")],
            "promote: hrnn: Better; steady, hold: Too few",
        ),
        (
            [decision("hrnn", "block", "Not loadable."), decision("steady", "hold", "Too few.")],
            "block: steady, hold: Too few; hrnn: Not loadable",
        ),
        (
            [decision("steady", "hold", "steady-1 rests."), decision("hrnn", "promote", "Yes.")],
            "promote: hrnn: Yes; steady, hold: steady-1 rests",
        ),
    ],
)
def test_no_outcome_and_no_candidate_is_told_twice(
    decisions: list[tuple[Decision, Path]], told: str
) -> None:
    verdict = verdict_of(decisions)
    assert f"{verdict.told_outcome}: {verdict.sentence}" == told
    assert verdict.path == decisions[-1][1]


def test_a_block_is_told_as_one() -> None:
    verdict = verdict_of([decision("hrnn", "block", "Not loadable.")])
    with pytest.raises(HourglassError, match=r"^blocked: hrnn: Not loadable$"):
        refuse_blocked(verdict)
    refuse_blocked(Verdict("hold", "too few", None))
