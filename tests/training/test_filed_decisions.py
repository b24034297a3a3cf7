"""Decisions and answers that were filed away count as those that lie where they were written."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from lives import Prepared, decided, live_ids, prepared_floored, registry

from pipeline.errors import HourglassError
from pipeline.sealed_json import file_away, find_record, read_record, where_filed, write_record
from training.deployment.approval import answers, approve
from training.deployment.promote import promote, roll_back_by_hand
from training.gate.decision_file import read_decision
from training.registry import record_chain
from training.registry.mlflow_registry import Registry
from training.registry.record_chain import (
    UNLINKED,
    anchor,
    chain_problem,
    link_record,
    verified_chain,
)

__all__ = ["prepared_floored", "registry"]
RECENT = 3
MADE = datetime(2016, 3, 14, 14, 2, tzinfo=UTC)
SOON = MADE + timedelta(minutes=20)
ASKING = {"approval": True, "approval_timeout": "1h"}


@pytest.fixture
def floored(
    prepared_floored: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Registry:
    """A registry `with_floor`, where what takes months to be filed away takes a few links."""
    monkeypatch.setattr(record_chain, "RECENT", RECENT)
    return prepared_floored.at(tmp_path)


def asking(registry: Registry) -> Path:
    made = MADE.isoformat(timespec="seconds")
    return decided(registry, "hrnn-b", gate_settings=ASKING, made_at=made)


def link_others(registry: Registry, count: int) -> None:
    """Links of something else."""
    for _ in range(count):
        chain = verified_chain(registry)
        other = write_record(registry.records, "approval-0123456789ab", {"format": 1, "n": chain.n})
        link_record(registry, chain, other, "approval")


def forged_answer(registry: Registry, decision: Path, *, approved: bool) -> Path:
    """An answer that nobody gave, beside those that are filed away."""
    sha256 = read_record(decision).sha256
    content = {
        "format": 1,
        "kind": "approval",
        "decision": decision.name,
        "decision_sha256": sha256,
        "approved": approved,
        "by": "mallory",
        "why": "",
        "at": SOON.isoformat(),
        "at_proven": False,
    }
    forged = write_record(registry.records, f"approval-{sha256[:12]}", content)
    file_away(forged)
    return forged


@pytest.mark.parametrize("is_decision_filed", [True, False])
def test_an_answer_that_nobody_gave_counts_for_nothing_among_old_ones(
    floored: Registry, is_decision_filed: bool
) -> None:
    decision = asking(floored)
    if is_decision_filed:
        file_away(decision)
    yes = forged_answer(floored, decision, approved=True)
    with pytest.raises(HourglassError, match="needs a person's approval"):
        promote(floored, decision)
    no = forged_answer(floored, decision, approved=False)
    approve(floored, decision, "ann", SOON)
    assert promote(floored, decision).changed
    for forged in (yes, no):
        assert (floored.records / UNLINKED / forged.name).is_file()


def test_an_anchor_takes_no_answer_that_nobody_gave(
    floored: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    decision = asking(floored)
    forged = forged_answer(floored, decision, approved=True)
    monkeypatch.setenv(record_chain.KEY_VARIABLE, "0123456789abcdef")
    assert "signed from here on" in anchor(floored, "ann", "a key", "2016-03-14T14:10:00")
    assert (floored.records / UNLINKED / forged.name).is_file()
    with pytest.raises(HourglassError, match="needs a person's approval"):
        promote(floored, decision)


def test_an_anchor_takes_of_two_copies_the_one_that_is_read(floored: Registry) -> None:
    """As where half of an older copy was put back; people see which one is damaged."""
    decision = asking(floored)
    file_away(decision)
    link_others(floored, RECENT)
    decision.write_text("{}")
    assert "accepted as it is" in anchor(floored, "ann", "half a copy", "2016-03-14T14:10:00")
    verified_chain(floored, since=f"decisions/{decision.name}")


def test_a_rejection_counts_though_its_decision_was_put_back(floored: Registry) -> None:
    """A part of an older copy has the decision where it was, and not the answer to it."""
    decision = decided(floored, "hrnn-b", made_at=MADE.isoformat(timespec="seconds"))
    approve(floored, decision, "ann", SOON, reject=True)
    link_others(floored, RECENT + 1)
    verified_chain(floored)
    assert find_record(decision) == where_filed(decision)
    shutil.copy(where_filed(decision), decision)
    with pytest.raises(HourglassError, match="rejected by ann"):
        promote(floored, decision)
    with pytest.raises(HourglassError, match="rejected by ann"):
        approve(floored, decision, "bob", SOON)
    assert live_ids(floored) == ("recent-a", None)


def test_a_decision_that_is_filed_while_it_is_promoted_keeps_its_approval(
    floored: Registry,
) -> None:
    decision = asking(floored)
    approve(floored, decision, "ann", SOON)
    link_others(floored, RECENT + 1)
    before = read_decision(decision)
    assert before.record.path == decision
    assert promote(floored, decision).changed
    assert find_record(decision) == where_filed(decision)
    assert [answer.by for answer in answers(before)] == ["ann"]


def test_a_rejection_of_long_ago_that_was_removed_is_still_one(floored: Registry) -> None:
    """The same question asked again, more links later than an act reads at least."""
    decision = decided(floored, "hrnn-b", made_at=MADE.isoformat(timespec="seconds"))
    no = approve(floored, decision, "ann", SOON, reject=True).record
    link_others(floored, 3 * RECENT)
    again = decided(floored, "hrnn-b", made_at=(MADE + timedelta(hours=9)).isoformat())
    with pytest.raises(HourglassError, match="rejected by ann"):
        promote(floored, again)
    lies = find_record(no)
    assert lies is not None
    lies.unlink()
    with pytest.raises(HourglassError, match=f"{no.name}: missing"):
        promote(floored, again)
    assert live_ids(floored) == ("recent-a", None)


def test_a_rollback_of_long_ago_that_was_removed_is_still_one(floored: Registry) -> None:
    decision = decided(floored, "hrnn-b", hour="2016-03-14T13")
    promote(floored, decision)
    back = roll_back_by_hand(floored, floored.records, "bad").record
    link_others(floored, 3 * RECENT)
    promote(floored, decided(floored, "hrnn-c", hour="2016-03-14T13", line="other"))
    roll_back_by_hand(floored, floored.records, "bad too")
    link_others(floored, 3 * RECENT)
    again = decided(floored, "hrnn-b", hour="2016-03-14T13", seed=1)
    with pytest.raises(HourglassError, match="rolled back or replaced since"):
        promote(floored, again)
    promotion = json.loads(where_filed(back).read_text())["after"]
    for name in (back.name, decision.name, promotion):
        where_filed(floored.records / name).unlink()
    for other in (floored.records / "past" / "2016-03").glob("*hrnn-c*"):
        other.unlink()
    with pytest.raises(HourglassError, match=f"{back.name}.*: missing|more: missing"):
        promote(floored, again)
    assert live_ids(floored)[0] == "recent-a"


def test_kills_between_the_files_lose_nothing(
    floored: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    decision = asking(floored)
    approve(floored, decision, "ann", SOON)
    link_others(floored, RECENT + 1)
    names = {path.name for path in floored.records.glob("*-*.json")}
    real, moves = Path.replace, 0

    def killed(path: Path, target: Path) -> Path:
        nonlocal moves
        moves += 1
        if moves == 2:
            raise KeyboardInterrupt
        return real(path, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "replace", killed)
        verified_chain(floored)
    assert len(list((floored.records / "past").rglob("*.json"))) == 1
    assert chain_problem(floored) is None
    assert promote(floored, decision).changed
    assert all(find_record(floored.records / name) is not None for name in names)


def test_no_act_waits_for_records_that_cannot_be_filed_away(floored: Registry) -> None:
    """As on a full disk, or where the past may only be read."""
    decision = decided(floored, "hrnn-b")
    (floored.records / "past").write_text("no folder can be made here")
    link_others(floored, 3 * RECENT)
    assert promote(floored, decision).changed
    assert roll_back_by_hand(floored, floored.records, "bad").champion.model_id == "recent-a"
    assert chain_problem(floored) is None
