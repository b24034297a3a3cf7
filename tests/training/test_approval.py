"""A person's answer to a decision, and what promotion makes of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from lives import decided, live_ids, register, registry

from pipeline.errors import HourglassError
from pipeline.hours import Hour
from pipeline.sealed_json import read_record, write_record
from training.deployment.approval import approve
from training.deployment.promote import install_first, promote
from training.deployment.superseded import waiting
from training.registry.mlflow_registry import Registry

__all__ = ["registry"]
MADE = datetime(2016, 3, 14, 14, 2, tzinfo=UTC)
SOON, LATE = MADE + timedelta(minutes=59), MADE + timedelta(minutes=61)


@pytest.fixture
def decision(registry: Registry) -> Path:
    """To promote hrnn-b, open for approval for an hour."""
    register(registry, "recent-a", "hrnn-b")
    install_first(registry, "recent-a", registry.records)
    return asking(registry)


def asking(registry: Registry, **content: Any) -> Path:
    gate = {"approval": True, "approval_timeout": "1h"}
    made = MADE.isoformat(timespec="seconds")
    return decided(registry, "hrnn-b", **{"gate_settings": gate, "made_at": made, **content})


def test_without_an_approval_nothing_is_promoted(registry: Registry, decision: Path) -> None:
    sentence = "needs a person's approval: .* until 2016-03-14T15:02:00"
    with pytest.raises(HourglassError, match=sentence):
        promote(registry, decision)
    assert live_ids(registry) == ("recent-a", None)


def test_an_approval_in_time_lets_it_pass_and_is_kept(registry: Registry, decision: Path) -> None:
    answer = approve(registry, decision, "ann", SOON, why="looks good")
    assert answer.record.parent == decision.parent
    content = read_record(answer.record).content
    assert (content["kind"], content["decision"]) == ("approval", decision.name)
    assert (content["by"], content["why"]) == ("ann", "looks good")
    assert content["at"] == "2016-03-14T15:01:00+00:00"
    assert promote(registry, decision).changed
    assert approve(registry, decision, "ann", LATE) == answer  # once more changes nothing


def test_an_approval_comes_too_late(registry: Registry, decision: Path) -> None:
    with pytest.raises(HourglassError, match="was open for approval until"):
        approve(registry, decision, "ann", LATE)
    answer = approve(registry, decision, "ann", SOON)
    late = json.loads(answer.record.read_text()) | {"at": LATE.isoformat()}
    answer.record.unlink()
    write_record(decision.parent, answer.record.name[:-18], late)
    with pytest.raises(HourglassError, match=f"{answer.record.name}: missing"):
        promote(registry, decision)


# Hours go by while a person thinks


def later(registry: Registry, hour: str, **content: Any) -> Path:
    """A decision of the same line about a later hour, made an hour later each."""
    made = f"{Hour.parse(hour) + 1}:02:00+00:00"
    return asking(registry, **{"hour": hour, "made_at": made, **content})


def test_hours_that_prove_nothing_do_not_void_what_waits(
    registry: Registry, decision: Path
) -> None:
    later(registry, "2016-03-14T14", outcome="hold")
    later(registry, "2016-03-14T15")  # nobody approved that one
    approve(registry, decision, "ann", SOON)
    assert promote(registry, decision, at="2016-03-14T15:02:00").changed


def test_an_hour_that_blocks_the_line_voids_what_waits(registry: Registry, decision: Path) -> None:
    block = later(registry, "2016-03-14T14", outcome="block")
    approve(registry, decision, "ann", SOON)
    with pytest.raises(HourglassError, match=f"out of date: {block.name}"):
        promote(registry, decision)


def test_a_newer_promotion_that_was_approved_goes_first(registry: Registry, decision: Path) -> None:
    newer = later(registry, "2016-03-14T14")
    approve(registry, decision, "ann", SOON)
    approve(registry, newer, "ann", LATE)
    with pytest.raises(HourglassError, match=f"out of date: {newer.name}"):
        promote(registry, decision)
    approve(registry, newer, "bob", LATE, reject=True)
    assert promote(registry, decision).changed


def test_after_its_deadline_any_newer_decision_voids_it(registry: Registry, decision: Path) -> None:
    approve(registry, decision, "ann", SOON)
    held = later(registry, "2016-03-14T14", outcome="hold")
    with pytest.raises(HourglassError, match=f"out of date: {held.name}"):
        promote(registry, decision, at=LATE.isoformat())


def test_what_waits_does_so_for_one_champion(registry: Registry, decision: Path) -> None:
    approve(registry, decision, "ann", SOON)
    register(registry, "pop-c")
    promote(registry, decided(registry, "pop-c"))
    with pytest.raises(HourglassError, match="but pop-c is live"):
        promote(registry, decision)


def test_what_waits_is_the_newest_that_is_open(registry: Registry, decision: Path) -> None:
    folder = decision.parent
    assert waiting(folder, SOON) == decision
    assert waiting(folder, LATE) is None
    later(registry, "2016-03-14T14", outcome="hold")
    assert waiting(folder, SOON) == decision
    newer = later(registry, "2016-03-14T15")
    assert waiting(folder, SOON) == newer
    approve(registry, newer, "ann", MADE + timedelta(hours=2, minutes=1), reject=True)
    assert waiting(folder, SOON) == decision
    later(registry, "2016-03-14T16", outcome="block")
    assert waiting(folder, SOON) is None


def test_a_rejection_is_final(registry: Registry, decision: Path) -> None:
    approve(registry, decision, "ann", SOON)
    approve(registry, decision, "bob", LATE, reject=True, why="holiday")
    with pytest.raises(HourglassError, match=r"rejected by bob \(holiday\): the champion stays"):
        promote(registry, decision)
    with pytest.raises(HourglassError, match="was rejected by bob"):
        approve(registry, decision, "carl", SOON)


def test_an_answer_from_before_what_it_contradicts_is_none(
    registry: Registry, decision: Path
) -> None:
    with pytest.raises(HourglassError, match=r"was made at .*, after the answer of .*: answer now"):
        approve(registry, decision, "ann", MADE - timedelta(minutes=1))
    approve(registry, decision, "ann", SOON)
    early = SOON - timedelta(minutes=5)
    with pytest.raises(HourglassError, match=r"ann answered .* otherwise at .*: answer now"):
        approve(registry, decision, "bob", early, reject=True)
    promote(registry, decision, at=SOON.isoformat())
    with pytest.raises(HourglassError, match=r"promotion-hrnn-b-.* was recorded at .*, after"):
        approve(registry, decision, "carl", early)


def test_the_same_question_asked_again_was_answered(registry: Registry, decision: Path) -> None:
    """Whoever runs the gate once more gets another file, but no other answer."""
    approve(registry, decision, "ann", SOON, reject=True, why="sale starts")
    again = asking(registry, made_at=(MADE + timedelta(minutes=5)).isoformat(timespec="seconds"))
    assert again != decision
    for act in (lambda: approve(registry, again, "bob", SOON), lambda: promote(registry, again)):
        with pytest.raises(HourglassError, match="was rejected by ann"):
            act()
    assert live_ids(registry) == ("recent-a", None)


def test_a_changed_answer_is_none(registry: Registry, decision: Path) -> None:
    record = approve(registry, decision, "ann", SOON, reject=True).record
    record.chmod(0o644)
    record.write_text(record.read_text().replace('"approved": false', '"approved": true'))
    with pytest.raises(HourglassError, match="changed after it was written"):
        promote(registry, decision)


def test_settings_may_ask_for_it_later_than_the_decision(registry: Registry) -> None:
    register(registry, "recent-a", "hrnn-b")
    install_first(registry, "recent-a", registry.records)
    decision = asking(registry, gate_settings={"approval": False, "approval_timeout": "1h"})
    with pytest.raises(HourglassError, match="needs a person's approval"):
        promote(registry, decision, approval=True)
    assert promote(registry, decision).changed


def test_there_is_nothing_to_approve_in_what_is_not_to_be_promoted(registry: Registry) -> None:
    register(registry, "hrnn-b")
    held = asking(registry, outcome="hold")
    with pytest.raises(HourglassError, match="says hold: there is nothing to approve"):
        approve(registry, held, "ann", SOON)
    with pytest.raises(HourglassError, match="needs a name"):
        approve(registry, held, " ", SOON)


def test_a_decision_of_unknown_age_cannot_be_approved(registry: Registry) -> None:
    register(registry, "hrnn-b")
    undated = decided(registry, "hrnn-b", gate_settings={"approval": True})
    with pytest.raises(HourglassError, match="does not say when it was made"):
        approve(registry, undated, "ann", SOON)
    with pytest.raises(HourglassError, match="does not say when it was made"):
        promote(registry, undated)
