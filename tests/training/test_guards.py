"""Guards: a candidate whose lists show too little of the catalogue does not go live."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from judging import check_named, evidence, outcome_and_reasons

from pipeline.errors import HourglassError, UsageError
from pipeline.sealed_json import write_record
from pipeline.settings.learning import GateSettings
from pipeline.settings.settings import load_settings
from training.deployment.decision_check import refuse_inconsistent
from training.evaluation.lists import FUTURE_STEPS, ListFigures
from training.gate.decision_file import read_decision, read_record, write_decision
from training.gate.evidence import CheckResult, Evidence, Outcome
from training.gate.gate import decide
from training.gate.guards import within_guards

LIVE = {"n_lists": 800, "coverage": 0.5, "evenness": 0.2, "novelty": 8.0, "new_items": 0.1}


def guarded(guards: dict[str, float], **mine: float) -> Evidence:
    """A clear promotion by rank; its lists show what the live model's do, but for ``mine``."""
    gate = GateSettings(guards=guards)  # type: ignore[arg-type]
    return replace(evidence(), gate=gate, shown={"candidate": LIVE | mine, "champion": LIVE})


def check_of(case: Evidence) -> CheckResult:
    return check_named("within_guards", case)


@pytest.mark.parametrize("guard", ["coverage", "evenness", "novelty", "new_items"])
def test_below_a_guard_it_is_blocked_by_a_sentence_with_the_figures(guard: str) -> None:
    least = 0.9 * LIVE[guard]
    assert outcome_and_reasons(guarded({guard: 0.9}, **{guard: least + 1e-6}))[0] == "promote"
    case = guarded({guard: 0.9}, **{guard: least - 1e-6})
    assert outcome_and_reasons(case) == ("block", ("below_guard",))
    sentence = decide(case).sentence
    assert (
        f"is {least:.4g} against {LIVE[guard]:.4g} of the live model, below 0.9 of it" in sentence
    )
    # What is not guarded may fall.
    other = "novelty" if guard != "novelty" else "coverage"
    assert outcome_and_reasons(guarded({other: 0.9}, **{guard: least / 2}))[0] == "promote"


def test_just_what_the_guard_asks_for_is_enough() -> None:
    assert outcome_and_reasons(guarded({"coverage": 0.5}, coverage=0.25))[0] == "promote"
    assert outcome_and_reasons(guarded({"coverage": 1.0}))[0] == "promote"


def test_each_guard_that_is_crossed_is_named() -> None:
    check = check_of(guarded({"coverage": 0.9, "novelty": 0.9}, coverage=0.1, novelty=1.0))
    assert check.sentence.startswith("Coverage of the catalogue is 0.1 against 0.5 of")
    assert "; Novelty in bits is 1 against 8 of" in check.sentence
    assert check.numbers["guards"]["coverage"] == {
        "candidate": 0.1, "champion": 0.5, "least_share": 0.9,
    }  # fmt: skip


def test_of_too_few_lists_a_low_figure_holds_and_does_not_block() -> None:
    few = guarded({"coverage": 0.9}, coverage=0.1, n_lists=199)
    assert outcome_and_reasons(few) == ("hold", ("below_guard",))
    assert "of 199 lists, which are too few to tell" in decide(few).sentence
    assert outcome_and_reasons(guarded({"coverage": 0.9}, coverage=0.1, n_lists=200))[0] == "block"


@pytest.mark.parametrize("role", ["candidate", "champion"])
def test_lists_that_were_not_measured_hold(role: str) -> None:
    case = guarded({"coverage": 0.9, "new_items": 0.5})
    gone = {other: figures for other, figures in case.shown.items() if other != role}
    assert outcome_and_reasons(replace(case, shown=gone)) == ("hold", ("lists_not_measured",))
    unknown = case.shown | {role: LIVE | {"new_items": math.nan}}
    held = replace(case, shown=unknown)
    assert outcome_and_reasons(held) == ("hold", ("lists_not_measured",))
    assert check_of(held).sentence == "Not measured on this hour: share of new items"


def test_without_another_model_there_is_nothing_to_guard() -> None:
    case = guarded({"coverage": 1.0}, coverage=0.0)
    assert within_guards(replace(case, champion=None)).reason == "no_champion"
    same = replace(case, champion=case.candidate)
    assert outcome_and_reasons(same) == ("hold", ("same_model",))


def test_without_guards_nothing_is_checked_nor_written(tmp_path: Path) -> None:
    case = replace(guarded({}, coverage=0.0), gate=GateSettings())
    decision = decide(case)
    assert decision.outcome is Outcome.PROMOTE
    assert "within_guards" not in {check.name for check in decision.checks}
    content = read_record(write_decision(decision, tmp_path)).content
    assert "shown" not in content
    assert "guards" not in content["gate_settings"]


def test_a_decision_under_guards_can_be_computed_again(tmp_path: Path) -> None:
    case = guarded({"coverage": 0.9}, coverage=0.6, new_items=math.nan)
    path = write_decision(decide(case), tmp_path)
    refuse_inconsistent(read_decision(path))
    content = json.loads(path.read_text())
    assert content["shown"]["candidate"]["new_items"] is None

    def forged(**changes: Any) -> Path:
        return write_record(tmp_path, path.name.rpartition("-")[0], content | changes)

    poor = {**content["shown"], "candidate": {**content["shown"]["candidate"], "coverage": 0.1}}
    with pytest.raises(HourglassError, match="within_guards says no_guard_crossed, but its sums"):
        refuse_inconsistent(read_decision(forged(shown=poor)))
    without = [check for check in content["checks"] if check["name"] != "within_guards"]
    reasons = [code for code in content["reasons"] if code != "no_guard_crossed"]
    with pytest.raises(HourglassError, match="holds no check within_guards"):
        refuse_inconsistent(read_decision(forged(checks=without, reasons=reasons)))


def test_what_lists_show_is_named_as_the_guards_are() -> None:
    figures = ListFigures(20, 7, 0.25, 0.6, 10.0, (math.nan,) * (FUTURE_STEPS + 1), 0.125, 0.75)
    assert figures.guarded == {
        "n_lists": 7, "coverage": 0.25, "evenness": pytest.approx(0.4), "novelty": 10.0,
        "new_items": 0.125, "diversity": 0.75,
    }  # fmt: skip
    every = dict.fromkeys(figures.guarded.keys() - {"n_lists"}, 0.5)
    assert GateSettings(guards=every).guards == every  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("guards", "message"),
    [
        ({"gini": 0.9}, "should be 'coverage', 'evenness', 'novelty', 'new_items' or 'diversity'"),
        ({"coverage": 1.5}, "less than or equal to 1"),
        ({"coverage": -0.1}, "greater than or equal to 0"),
    ],
    ids=["unknown", "above 1", "below 0"],
)
def test_a_guard_is_a_share_of_a_known_figure(guards: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_settings(None, {"gate": {"guards": guards}})


def test_lists_of_one_item_are_held_to_no_diversity() -> None:
    """Which is not measured of them, so the gate would hold for ever."""
    guards = {"guards": {"diversity": 0.5}}
    with pytest.raises(UsageError, match="guards: diversity compares the items"):
        load_settings(None, {"gate": guards, "evaluation": {"k": 1}})
    assert load_settings(None, {"gate": guards, "evaluation": {"k": 2}}).evaluation.k == 2
    others = {"guards": {"coverage": 0.5}}
    assert load_settings(None, {"gate": others, "evaluation": {"k": 1}}).evaluation.k == 1
