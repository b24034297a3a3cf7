"""Every code that the gate, the monitor and the retrain policy give has a sentence."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import get_args

import pytest

from pipeline.settings.learning import GateSettings, RetrainSettings
from training.deployment import champion_history, monitor, monitor_record
from training.fit import retrain_policy
from training.gate import (
    artefact_checks,
    comparisons,
    gate,
    guards,
    preconditions,
    slice_harm,
)
from training.gate.reasons import CHECKS, REASONS, check_text, reason_text, reason_texts
from training.registry import champion_record

CODE = re.compile(r"[a-z]+(_[a-z]+)+")
# Names of settings, fields and tables in the same places, which are no reasons.
OTHER_NAMES = {
    "min_users", "min_targets", "max_block_drop", "hour_swing", "day_swing", "slice_margin",
    "min_slice_users", "bootstrap_samples", "tolerated_loss", "excess_over_tolerated",
    "fixed_sample", "this_look", "as_of", "item_id", "n_targets", "n_users", "least_share",
    "n_lists", "new_items",
}  # fmt: skip
ROLES = ("champion", "floor")


def texts_of(module: object) -> set[str]:
    """All texts of a module that look like codes, those with a role in them for each role."""
    tree = ast.parse(Path(str(module.__file__)).read_text("utf-8"))  # type: ignore[attr-defined]
    inside = {
        part for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values
    }
    found = {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in inside
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            names = {ast.unparse(p.value) for p in node.values if isinstance(p, ast.FormattedValue)}
            if names == {"role"}:
                for role in ROLES:
                    found.add(
                        "".join(p.value if isinstance(p, ast.Constant) else role  # type: ignore[misc]
                                for p in node.values)
                    )  # fmt: skip
    return {text for text in found if CODE.fullmatch(text)}


@pytest.mark.parametrize(
    "module",
    [
        preconditions,
        comparisons,
        slice_harm,
        guards,
        gate,
        artefact_checks,
        monitor,
        monitor_record,
        retrain_policy,
    ],
    ids=lambda module: module.__name__,
)
def test_every_code_has_a_sentence(module: object) -> None:
    codes = texts_of(module) - OTHER_NAMES - set(CHECKS)
    assert codes <= set(REASONS)


@pytest.mark.parametrize(
    "signs",
    [
        retrain_policy.RetrainSignals(None, None, None, None),
        retrain_policy.RetrainSignals(30, None, None, 0.5),
        retrain_policy.RetrainSignals(30, 0.9, 0.9, None),
        retrain_policy.RetrainSignals(1, 0.0, 0.0, 0.0),
    ],
    ids=["no model", "unknown", "moved", "quiet"],
)
def test_every_sign_for_a_retraining_has_a_sentence(signs: retrain_policy.RetrainSignals) -> None:
    assert set(retrain_policy.should_retrain(signs, RetrainSettings()).reasons) <= set(REASONS)


def test_what_is_live_has_a_sentence_for_each_reason() -> None:
    assert {*get_args(champion_record.Reason), "unknown"} <= set(REASONS)
    assert champion_history.__name__ == "training.deployment.champion_history"


def test_the_checks_of_the_gate_have_names() -> None:
    names = {check.__name__ for check in (*gate.PRECONDITIONS, *gate.COMPARISONS)}
    further = gate.further_checks(GateSettings(guards={"coverage": 1}))
    names |= {check.__name__ for check in further}
    assert {*names, "earlier_evidence", "choice", "decide"} == set(CHECKS)


def test_the_words_hold_no_code() -> None:
    for text in (*REASONS.values(), *CHECKS.values()):
        assert "_" not in text
    assert (
        reason_text("not_yet_better_than_champion") == "not yet proven better than the live model"
    )
    assert reason_texts(["old", "from_an_old_file"]) == "the live model is old, from an old file"
    assert check_text("beats_floor") == "better than the baseline"
