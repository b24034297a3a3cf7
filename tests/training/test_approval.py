"""A person's answer to a decision, and what promotion makes of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from lives import Prepared, decided, live_ids, register, registry

from pipeline.errors import HourglassError
from pipeline.hours import Hour
from pipeline.sealed_json import read_record, write_record
from pipeline.settings.learning import GateSettings
from training.deployment.approval import approve
from training.deployment.promote import install_first, promote
from training.deployment.superseded import waiting
from training.registry.mlflow_registry import Registry

__all__ = ["registry"]
MADE = datetime(2016, 3, 14, 14, 2, tzinfo=UTC)
SOON, LATE = MADE + timedelta(minutes=59), MADE + timedelta(minutes=61)


def with_question(registry: Registry) -> None:
    """Whether to promote hrnn-b in recent-a's stead is open for approval for an hour."""
    register(registry, "recent-a", "hrnn-b")
    install_first(registry, "recent-a", registry.records)
    asking(registry)


@pytest.fixture(scope="module")
def prepared_question(mlflow_tables: None, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return Prepared(tmp_path_factory.mktemp("question"), with_question)


@pytest.fixture
def questioned(prepared_question: Prepared, tmp_path: Path) -> Registry:
    """A registry `with_question`."""
    return prepared_question.at(tmp_path)


@pytest.fixture
def decision(questioned: Registry) -> Path:
    """Promotes hrnn-b, if approved."""
    (path,) = questioned.records.glob("[0-9]*.json")
    return path


def asking(registry: Registry, **content: Any) -> Path:
    gate = {"approval": True, "approval_timeout": "1h"}
    made = MADE.isoformat(timespec="seconds")
    return decided(registry, "hrnn-b", **{"gate_settings": gate, "made_at": made, **content})


def test_without_an_approval_nothing_is_promoted(questioned: Registry, decision: Path) -> None:
    sentence = "needs a person's approval: .* until 2016-03-14T15:02:00"
    with pytest.raises(HourglassError, match=sentence):
        promote(questioned, decision)
    assert live_ids(questioned) == ("recent-a", None)


def test_an_approval_in_time_lets_it_pass_and_is_kept(questioned: Registry, decision: Path) -> None:
    answer = approve(questioned, decision, "ann", SOON, why="looks good")
    assert answer.record.parent == decision.parent
    content = read_record(answer.record).content
    assert (content["kind"], content["decision"]) == ("approval", decision.name)
    assert (content["by"], content["why"]) == ("ann", "looks good")
    assert content["at"] == "2016-03-14T15:01:00+00:00"
    assert promote(questioned, decision).changed
    assert approve(questioned, decision, "ann", LATE) == answer  # once more changes nothing


def test_an_approval_comes_too_late(questioned: Registry, decision: Path) -> None:
    with pytest.raises(HourglassError, match="was open for approval until"):
        approve(questioned, decision, "ann", LATE)
    answer = approve(questioned, decision, "ann", SOON)
    late = json.loads(answer.record.read_text()) | {"at": LATE.isoformat()}
    answer.record.unlink()
    write_record(decision.parent, answer.record.name[:-18], late)
    with pytest.raises(HourglassError, match=f"{answer.record.name}: missing"):
        promote(questioned, decision)


# Hours go by while a person thinks


def later(registry: Registry, hour: str, **content: Any) -> Path:
    """A decision of the same line about a later hour, made an hour later each."""
    made = f"{Hour.parse(hour) + 1}:02:00+00:00"
    return asking(registry, **{"hour": hour, "made_at": made, **content})


def test_hours_that_prove_nothing_do_not_void_what_waits(
    questioned: Registry, decision: Path
) -> None:
    later(questioned, "2016-03-14T14", outcome="hold")
    later(questioned, "2016-03-14T15")  # nobody approved that one
    approve(questioned, decision, "ann", SOON)
    assert promote(questioned, decision, at="2016-03-14T15:02:00").changed


def test_an_hour_that_blocks_the_line_voids_what_waits(
    questioned: Registry, decision: Path
) -> None:
    block = later(questioned, "2016-03-14T14", outcome="block")
    approve(questioned, decision, "ann", SOON)
    with pytest.raises(HourglassError, match=f"out of date: {block.name}"):
        promote(questioned, decision)


def test_a_newer_promotion_that_was_approved_goes_first(
    questioned: Registry, decision: Path
) -> None:
    newer = later(questioned, "2016-03-14T14")
    approve(questioned, decision, "ann", SOON)
    approve(questioned, newer, "ann", LATE)
    with pytest.raises(HourglassError, match=f"out of date: {newer.name}"):
        promote(questioned, decision)
    approve(questioned, newer, "bob", LATE, reject=True)
    assert promote(questioned, decision).changed


def test_after_its_deadline_any_newer_decision_voids_it(
    questioned: Registry, decision: Path
) -> None:
    approve(questioned, decision, "ann", SOON)
    held = later(questioned, "2016-03-14T14", outcome="hold")
    with pytest.raises(HourglassError, match=f"out of date: {held.name}"):
        promote(questioned, decision, at=LATE.isoformat())


def test_what_waits_does_so_for_one_champion(questioned: Registry, decision: Path) -> None:
    approve(questioned, decision, "ann", SOON)
    register(questioned, "pop-c")
    promote(questioned, decided(questioned, "pop-c"))
    with pytest.raises(HourglassError, match="but pop-c is live"):
        promote(questioned, decision)


def test_what_waits_is_the_newest_that_is_open(questioned: Registry, decision: Path) -> None:
    folder = decision.parent
    assert waiting(folder, SOON) == decision
    assert waiting(folder, LATE) is None
    later(questioned, "2016-03-14T14", outcome="hold")
    assert waiting(folder, SOON) == decision
    newer = later(questioned, "2016-03-14T15")
    assert waiting(folder, SOON) == newer
    approve(questioned, newer, "ann", MADE + timedelta(hours=2, minutes=1), reject=True)
    assert waiting(folder, SOON) == decision
    later(questioned, "2016-03-14T16", outcome="block")
    assert waiting(folder, SOON) is None


def test_a_rejection_is_final(questioned: Registry, decision: Path) -> None:
    approve(questioned, decision, "ann", SOON)
    approve(questioned, decision, "bob", LATE, reject=True, why="holiday")
    with pytest.raises(HourglassError, match=r"rejected by bob \(holiday\): the champion stays"):
        promote(questioned, decision)
    with pytest.raises(HourglassError, match="was rejected by bob"):
        approve(questioned, decision, "carl", SOON)


def test_an_answer_from_before_what_it_contradicts_is_none(
    questioned: Registry, decision: Path
) -> None:
    with pytest.raises(HourglassError, match=r"was made at .*, after the answer of .*: answer now"):
        approve(questioned, decision, "ann", MADE - timedelta(minutes=1))
    approve(questioned, decision, "ann", SOON)
    early = SOON - timedelta(minutes=5)
    with pytest.raises(HourglassError, match=r"ann answered .* otherwise at .*: answer now"):
        approve(questioned, decision, "bob", early, reject=True)
    promote(questioned, decision, at=SOON.isoformat())
    with pytest.raises(HourglassError, match=r"promotion-hrnn-b-.* was recorded at .*, after"):
        approve(questioned, decision, "carl", early)


def test_the_same_question_asked_again_was_answered(questioned: Registry, decision: Path) -> None:
    """Whoever runs the gate once more gets another file, but no other answer."""
    approve(questioned, decision, "ann", SOON, reject=True, why="sale starts")
    again = asking(questioned, made_at=(MADE + timedelta(minutes=5)).isoformat(timespec="seconds"))
    assert again != decision
    for act in (
        lambda: approve(questioned, again, "bob", SOON),
        lambda: promote(questioned, again),
    ):
        with pytest.raises(HourglassError, match="was rejected by ann"):
            act()
    assert live_ids(questioned) == ("recent-a", None)


def test_a_changed_answer_is_none(questioned: Registry, decision: Path) -> None:
    record = approve(questioned, decision, "ann", SOON, reject=True).record
    record.chmod(0o644)
    record.write_text(record.read_text().replace('"approved": false', '"approved": true'))
    with pytest.raises(HourglassError, match="changed after it was written"):
        promote(questioned, decision)


def test_settings_may_ask_for_it_later_than_the_decision(registry: Registry) -> None:
    register(registry, "recent-a", "hrnn-b")
    install_first(registry, "recent-a", registry.records)
    decision = asking(registry, gate_settings={"approval": False, "approval_timeout": "1h"})
    with pytest.raises(HourglassError, match="needs a person's approval"):
        promote(registry, decision, gate=GateSettings(approval=True))
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
