"""What a person reads before a promotion says what the decision holds, in a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import HourglassError
from pipeline.sealed_json import Record
from training.deployment.approval_question import approval_question
from training.gate.decision_file import decision_of


def model(name: str, as_of: str = "2016-03-14T12") -> dict[str, Any]:
    return {"model_id": name, "system": name.partition("-")[0], "as_of": as_of, "version": "3"}


def compared(mean: float, lower: float, upper: float, theirs: float) -> dict[str, Any]:
    return {
        "metric": "mrr@20",
        "mean": mean,
        "fixed_sample": {"lower": lower, "upper": upper, "mean": mean},
        "this_look": {"candidate": {"mean": theirs + mean}, "other": {"mean": theirs}},
    }


def part(verdict: str, difference: float | None) -> dict[str, Any]:
    return {"verdict": verdict, "difference": {"mean": difference}}


CONTENT: dict[str, Any] = {
    "kind": "decision",
    "as_of": "2016-03-14T13",
    "outcome": "promote",
    "reasons": [],
    "sentence": "Better.",
    "line": "hrnn",
    "soundness": None,
    "candidate": model("hrnn-b"),
    "champion": model("hrnn-a", "2016-03-14T09"),
    "floor": model("recent_pop-x"),
    "checks": [
        {"name": "sample_size", "numbers": {"n_users": 1204, "n_targets": 1}},
        {"name": "beats_floor", "numbers": compared(0.1, 0.05, 0.15, 0.2)},
        {"name": "beats_champion", "numbers": compared(0.0269, 0.0129, 0.041, 0.2395)},
    ],
    "earlier_looks": [{}, {}],
    "slices": {
        "item/head": part("harmless", 0.01),
        "item/tail": part("harmless", -0.002),
        "page|x": part("too_small", -0.03),
        "new": part("too_small", None),
    },
    "evaluation_settings": {"horizon": "1h"},
    "gate_settings": {"approval": True, "approval_timeout": "1h"},
    "made_at": "2016-03-14T14:02:10+00:00",
}


def question(since: str | None = "2016-03-14T10:05:00+00:00", **content: Any) -> dict[str, str]:
    """The rows of the table by their names."""
    path = Path("/work/decisions/2016-03-14T13-hrnn-b-0123456789ab.json")
    decision = decision_of(Record(path, "0" * 64, CONTENT | content))
    text = approval_question(decision, since, {"hrnn-a": 0.5, "hrnn-b": 0.25})
    assert "/work" not in text
    head, rule, *lines = text.split("\n")
    assert (head, rule) == ("| | |", "|---|---|")
    rows = (line.replace("\\|", "\0").strip("| ").split(" | ") for line in lines)
    return {name: cell.replace("\0", "\\|") for name, cell in rows}


def test_the_question_says_what_there_is_to_weigh() -> None:
    assert question() == {
        "Live now": "hrnn-a, since 2016-03-14 10:05 UTC, learned until 2016-03-14T09",
        "Wants in": "**hrnn-b**, learned until 2016-03-14T12",
        "Against it": "MRR@20 **+0.0269** [+0.0129, +0.0410]; in this hour 0.2395 → 0.2664",
        "Against recent_pop": "MRR@20 **+0.1000** [+0.0500, +0.1500]; in this hour 0.2000 → 0.3000",
        "Judged on": "1,204 users, 1 event, 3 hours",
        "Parts of users and items": "2 of 4 shown harmless, 2 too small to tell; behind on "
        "page\\|x -0.0300, item/tail -0.0020",
        "Items shown": "50.0% → 25.0% of all items",
        "Without an answer": "by **2016-03-14 15:02 UTC** nothing changes",
    }


def test_what_is_not_known_is_not_made_up() -> None:
    rows = question(None, champion=None, checks=[], slices={}, earlier_looks=[])
    assert rows["Live now"] == "nothing"
    assert "Against it" not in rows
    assert rows["Against recent_pop"] == "not compared"
    assert rows["Judged on"] == "1 hour"
    assert rows["Parts of users and items"] == "no other model to compare with"
    assert rows["Items shown"] == "25.0% of all items"
    assert question(None)["Live now"] == "hrnn-a, learned until 2016-03-14T09"


def test_a_comparison_is_told_once_while_the_baseline_is_live() -> None:
    sample, gain = CONTENT["checks"][:2]
    same = [sample, gain, {**gain, "name": "beats_champion"}]
    rows = question(champion=model("recent_pop-w"), checks=same)
    assert rows["Against it"].startswith("MRR@20 **+0.1000**")
    assert "Against recent_pop" not in rows
    # An older fit of it may come to other numbers.
    assert "Against recent_pop" in question(champion=model("recent_pop-w"))


def test_each_of_several_baselines_is_compared_by_its_name() -> None:
    sample, gain = CONTENT["checks"][:2]
    of_each = {"recent_2h": compared(0.1, 0.05, 0.15, 0.2), "stan": compared(0.02, 0.01, 0.03, 0.3)}
    both = {**gain, "numbers": {**gain["numbers"], "bar": "stan", "baselines": of_each}}
    floors = {"recent_2h": model("recent_pop-x"), "stan": model("stan-y")}
    rows = question(floors=floors, floor=None, checks=[sample, both])
    assert rows["Against recent_2h"].startswith("MRR@20 **+0.1000** [+0.0500, +0.1500]")
    assert rows["Against stan"].startswith("MRR@20 **+0.0200** [+0.0100, +0.0300]")
    # One of them is live, by the very fit that is compared: told once.
    live = [sample, both, {"name": "beats_champion", "numbers": of_each["stan"]}]
    rows = question(floors=floors, floor=None, checks=live, champion=model("stan-y"))
    assert "Against stan" not in rows
    assert "Against recent_2h" in rows


def test_coverage_that_was_not_measured_is_not_guessed() -> None:
    assert question(champion=model("hrnn-old"))["Items shown"] == "not measured"


def test_a_decision_without_a_time_cannot_be_asked_about() -> None:
    with pytest.raises(HourglassError, match="does not say when it was made"):
        question(made_at=None)
