"""Decisions in the report: every number is that of the file."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_hours import BASELINE, FIRST, World, decision, write_decision

from pipeline.report.format import Interval
from pipeline.sealed_json import read_record
from training.report.decisions import decided, figures, odds, tally


def shown(root: Path, **changes: object):  # noqa: ANN201 - a test's own
    world = World(root)
    content = decision(FIRST, "hrnn", world.model("hrnn", FIRST), world.model(BASELINE, FIRST))
    return decided(read_record(write_decision(root, content | changes)))


def test_the_numbers_are_those_of_the_file(tmp_path: Path) -> None:
    decision = shown(tmp_path)
    on_disk = json.loads((tmp_path / "decisions" / decision.file).read_text())
    sequential = on_disk["sequential"]
    assert decision.gain == Interval(
        *(sequential["difference"][k] for k in ("mean", "lower", "upper"))
    )
    assert decision.lower == sequential["lower"]
    assert decision.odds == pytest.approx(math.e)
    assert decision.needed == pytest.approx(20)
    assert (decision.looks, decision.targets, decision.users) == (3, 1200, 300)
    assert (decision.hour, decision.name, decision.outcome) == (FIRST, "hrnn", "hold")
    assert decision.champion == on_disk["champion"]["model_id"]
    (check,) = decision.checks
    assert dict(figures(check.numbers)) == {"looks": 3, "fixed_sample": decision.gain}


def test_nested_numbers_have_dotted_names_and_lists_are_text(tmp_path: Path) -> None:
    numbers = {"slices": {"item/new": {"users": 5, "difference": {"mean": 0.1, "lower": None}}},
               "as_of": {"champion": "2016-03-14T00"}, "probes": ["a", "b"]}  # fmt: skip
    check = {"name": "n", "outcome": "hold", "reason": "r", "sentence": "s", "numbers": numbers}
    shown_figures = dict(figures(shown(tmp_path, checks=[check]).checks[0].numbers))
    assert shown_figures["slices.item/new.users"] == 5
    assert shown_figures["slices.item/new.difference"][0] == 0.1  # type: ignore[index]
    assert math.isnan(shown_figures["slices.item/new.difference"][1])  # type: ignore[index]
    assert shown_figures["as_of.champion"] == "2016-03-14T00"
    assert shown_figures["probes"] == "a, b"


def test_an_older_file_tells_its_hours_own_difference(tmp_path: Path) -> None:
    limits = {"mean": 0.2, "lower": 0.1, "upper": 0.3}
    checks = [
        {"name": name, "outcome": "promote", "reason": "better", "sentence": "s",
         "numbers": {"difference": {**limits, "mean": mean}}}
        for name, mean in (("beats_floor", 0.5), ("beats_champion", 0.2))
    ]  # fmt: skip
    older = shown(tmp_path, checks=checks, sequential=None, line=None)
    assert older.gain == Interval(0.2, 0.1, 0.3)
    assert (older.lower, older.odds, older.looks) == (None, None, None)
    assert (older.name, older.targets, older.users) == ("hrnn", 400, 100)


def test_a_block_before_any_comparison_has_no_difference(tmp_path: Path) -> None:
    block = shown(tmp_path, outcome="block", checks=[], sequential=None, champion=None)
    assert (block.gain, block.champion, block.checks) == (None, None, ())
    assert tally([block]) == {"promote": 0, "hold": 0, "block": 1}


@given(st.floats(-700, 700))
def test_odds_are_the_exponential_up_to_a_million(log_odds: float) -> None:
    assert odds(log_odds) == pytest.approx(min(math.exp(log_odds), 1e6))


def test_what_is_no_number_has_no_odds() -> None:
    assert odds(None) is None
    assert odds("3") is None
