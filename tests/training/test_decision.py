from __future__ import annotations

import json
import os
import stat
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from judging import GATE, RULE, START, Card, at_hour, evidence, ranks_of, users

from pipeline.errors import HourglassError
from pipeline.hours import Hour
from training.data.reader import sha256_of
from training.gate.decision_file import (
    contestant,
    latest_decision,
    read_decision,
    read_record,
    write_decision,
    write_record,
)
from training.gate.evidence import Outcome
from training.gate.gate import decide
from training.gate.sequential_test import Sums, scale_of, sequential, variance_by_day
from training.metrics.ranks import write_ranks

PROMOTED = decide(evidence())


def test_a_decision_is_read_back_as_it_was_made(tmp_path: Path) -> None:
    path = write_decision(PROMOTED, tmp_path)
    assert path.name.startswith("2016-03-14T13-hrnn-new-")
    found = read_decision(path)
    assert found.outcome is Outcome.PROMOTE
    assert found.reasons == PROMOTED.reasons
    assert (found.candidate_id, found.champion_id) == ("hrnn-new", "hrnn-old")
    assert found.as_of == START
    assert found.candidate_card_sha256 == "c" * 64


def test_every_number_and_setting_is_in_the_file(tmp_path: Path) -> None:
    content = read_record(write_decision(PROMOTED, tmp_path)).content
    # Without guards they are as before there were any.
    assert content["gate_settings"] == GATE.model_dump(mode="json", exclude={"guards"})
    assert content["evaluation_settings"] == RULE.model_dump(mode="json", exclude={"max_users"})
    assert content["evaluation_id"] == "frozen"
    assert content["seed"] == 0
    assert content["candidate"]["ranks_sha256"] == "0" * 64
    checks = {check["name"]: check for check in content["checks"]}
    assert checks["sample_size"]["numbers"]["n_users"] == 150
    gain = checks["beats_champion"]["numbers"]["this_look"]["difference"]
    assert 0 < gain["lower"] < gain["mean"] < gain["upper"]
    assert content["line"] == ""
    assert content["earlier_looks"] == []
    assert content["lines_sharing_the_risk"] == 1
    assert "made_at" not in content


def test_a_decision_can_be_computed_again_from_its_files_alone(tmp_path: Path) -> None:
    for hour in range(3):
        case = at_hour(tmp_path, hour, evidence(0.5, 0.45, 0.0, seed=hour))
        path = write_decision(decide(case), tmp_path, f"t{hour}")
    content = read_record(path).content
    files = [tmp_path / told["file"] for told in content["earlier_looks"]]
    assert [sha256_of(file) for file in files] == [
        told["sha256"] for told in content["earlier_looks"]
    ]
    looks = [read_record(file).content["look"] for file in files] + [content["look"]]
    sums = [Sums.read(look["champion"]["all"]) for look in looks]
    gate = content["gate_settings"]
    days = [Hour.parse(look["first"]).index // 24 for look in looks]
    again = sequential(
        sums,
        alpha=(1 - gate["confidence"]) / content["lines_sharing_the_risk"],
        common_shock=gate["hour_swing"],
        scale=scale_of(sums[0], gate["min_targets"], gate["day_swing"]),
        by_day=variance_by_day(sums, days, gate["day_swing"]),
    )
    told = content["sequential"]
    assert told.pop("difference")["mean"] == pytest.approx(again.mean)
    assert told == pytest.approx(asdict(again))
    assert len(looks) == 3


def test_an_unknown_number_is_null_in_the_file(tmp_path: Path) -> None:
    path = write_record(tmp_path, "x", {"format": 1, "lower": float("nan"), "all": [float("inf")]})
    assert read_record(path).content == {"format": 1, "lower": None, "all": [None]}


def test_the_same_decision_again_is_the_same_file(tmp_path: Path) -> None:
    path = write_decision(PROMOTED, tmp_path)
    before = path.stat()
    assert write_decision(decide(evidence()), tmp_path) == path
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert os.listdir(tmp_path) == [path.name]  # noqa: PTH208
    assert write_decision(PROMOTED, tmp_path, made_at="2016-03-14T14") != path


def test_a_decision_is_read_only(tmp_path: Path) -> None:
    path = write_decision(PROMOTED, tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o444


def change(path: Path, old: str, new: str) -> None:
    path.chmod(0o644)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_a_changed_decision_is_refused(tmp_path: Path) -> None:
    path = write_decision(decide(evidence(0.5, 0.5)), tmp_path)
    change(path, '"outcome": "hold"', '"outcome": "promote"')
    with pytest.raises(HourglassError, match="changed after it was written"):
        read_decision(path)
    with pytest.raises(HourglassError, match="holds something else than its name says"):
        write_decision(decide(evidence(0.5, 0.5)), tmp_path)


def test_a_renamed_decision_is_refused(tmp_path: Path) -> None:
    path = write_decision(PROMOTED, tmp_path)
    other = path.rename(tmp_path / path.name.replace("hrnn-new", "hrnn-evil"))
    with pytest.raises(HourglassError, match="renamed, it is about hrnn-new"):
        read_decision(other)
    plain = other.rename(tmp_path / "decision.json")
    with pytest.raises(HourglassError, match="does not end in a checksum"):
        read_decision(plain)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"format": 2, "kind": "decision"}, "not a record of format 1"),
        ({"format": 1, "kind": "rollback"}, "a rollback record, not a decision"),
        ({"format": 1, "kind": "decision", "outcome": "promote"}, "not a whole decision"),
        ({"format": 1, "kind": "decision", "outcome": "yes"}, "not a whole decision"),
    ],
)
def test_records_that_are_no_decision_are_refused(
    tmp_path: Path, content: dict[str, object], message: str
) -> None:
    with pytest.raises(HourglassError, match=message):
        read_decision(write_record(tmp_path, "2016-03-14T13-m", content))


def test_a_missing_decision_is_named(tmp_path: Path) -> None:
    with pytest.raises(HourglassError, match="No such file"):
        read_decision(tmp_path / "2016-03-14T13-m-0123456789ab.json")
    with pytest.raises(HourglassError, match="no decision yet"):
        latest_decision(tmp_path)


def test_a_write_that_dies_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", die)
    with pytest.raises(KeyboardInterrupt):
        write_decision(PROMOTED, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_latest_decision_is_of_the_latest_hour_then_the_last_written(tmp_path: Path) -> None:
    later = evidence()
    later = decide(replace(later, start=START + 1))
    newest = write_decision(later, tmp_path)
    first = write_decision(PROMOTED, tmp_path)
    second = write_decision(decide(evidence(0.5, 0.5)), tmp_path)
    write_record(tmp_path, "rollback-hrnn-new", {"format": 1, "kind": "rollback"})
    os.utime(first, ns=(5, 5))
    os.utime(second, ns=(9, 9))
    os.utime(newest, ns=(1, 1))
    assert latest_decision(tmp_path) == newest
    newest.unlink()
    assert latest_decision(tmp_path) == second


def test_of_candidates_judged_together_the_promoted_one_is_the_latest(tmp_path: Path) -> None:
    chosen = write_decision(PROMOTED, tmp_path, "2016-03-14T14:00")
    other = replace(evidence(0.5, 0.5), name="other", seed=5)
    write_decision(decide(other), tmp_path, "2016-03-14T14:00")
    assert latest_decision(tmp_path) == chosen
    later = write_decision(decide(other), tmp_path, "2016-03-14T15:00")
    assert latest_decision(tmp_path) == later


def test_decisions_are_canonical_json(tmp_path: Path) -> None:
    data = write_decision(PROMOTED, tmp_path).read_text()
    again = json.dumps(json.loads(data), indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    assert data == again


def test_a_contestant_comes_with_its_ranks_or_without(tmp_path: Path) -> None:
    user = users(5, np.random.default_rng(0))
    path = write_ranks(ranks_of("hrnn-1", user * 0 + 3, user), tmp_path)
    found = contestant(Card("hrnn-1", as_of="2016-03-14T13"), tmp_path, "frozen")
    assert found.ranks is not None
    assert found.as_of == START
    assert found.ranks_sha256 == sha256_of(path)
    path.write_bytes(b"damaged")
    assert contestant(Card("hrnn-1"), tmp_path, "frozen").ranks is None
    assert contestant(Card("hrnn-2"), tmp_path, "frozen").ranks is None
