"""The chain of records: each way to lose, change or add one shows, and kills leave it whole."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from lives import (
    Prepared,
    decided,
    dying,
    floored,
    live_ids,
    prepared_floored,
    register,
    registry,
    with_floor,
)

from pipeline.errors import HourglassError
from pipeline.sealed_json import write_record
from training.deployment.approval import approve
from training.deployment.champion import changing
from training.deployment.decision_check import refuse_inconsistent, verified_decision
from training.deployment.promote import install_first, promote, roll_back_by_hand
from training.registry.mlflow_registry import Registry, chain_head, set_chain_head
from training.registry.record_chain import (
    JOURNAL,
    KEY_VARIABLE,
    UNLINKED,
    anchor,
    chain_problem,
    link_record,
    verified_chain,
)

__all__ = ["floored", "prepared_floored", "registry"]
MADE = datetime(2016, 3, 14, 14, 2, tzinfo=UTC)
SOON = MADE + timedelta(minutes=20)
ASKING = {"approval": True, "approval_timeout": "1h"}
KEY = "0123456789abcdef0123456789abcdef"


def asking(registry: Registry, candidate: str = "hrnn-b") -> Path:
    made = MADE.isoformat(timespec="seconds")
    return decided(registry, candidate, gate_settings=ASKING, made_at=made)


def rewritten(path: Path, **changes: object) -> Path:
    """The record with other contents under its new checksum, in its stead."""
    content = json.loads(path.read_text()) | changes
    prefix = path.name.rpartition("-")[0]
    path.unlink()
    return write_record(path.parent, prefix, content)


def refused(act: Callable[[], object], registry: Registry, *words: str) -> None:
    before, head = live_ids(registry), chain_head(registry)
    with pytest.raises(HourglassError) as refusal:
        act()
    for word in words:
        assert word in str(refusal.value), refusal.value
    assert live_ids(registry) == before
    assert chain_head(registry) == head


# The attacks of the issue


def test_a_rollback_whose_record_was_removed_stays(floored: Registry) -> None:
    decision = decided(floored, "hrnn-b")
    promote(floored, decision)
    record = roll_back_by_hand(floored, floored.records, "bad").record
    record.unlink()
    refused(lambda: promote(floored, decision), floored, record.name, "missing", "from a copy")
    refused(lambda: roll_back_by_hand(floored, floored.records, "bad"), floored, record.name)


def test_a_rejection_that_was_removed_is_still_one(floored: Registry) -> None:
    decision = asking(floored)
    no = approve(floored, decision, "ann", SOON, reject=True).record
    no.unlink()
    again = (lambda: approve(floored, decision, "bob", SOON), lambda: promote(floored, decision))
    for act in again:
        refused(act, floored, no.name, "missing")


def test_a_hold_that_was_rewritten_to_promote_is_none(floored: Registry) -> None:
    hold = decided(floored, "hrnn-b", outcome="hold")
    forged = rewritten(hold, outcome="promote")
    refused(lambda: promote(floored, forged), floored, hold.name, "missing")


def test_a_forged_decision_beside_the_true_one_counts_for_nothing(
    floored: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    hold = decided(floored, "hrnn-b", outcome="hold")
    content = json.loads(hold.read_text()) | {"outcome": "promote"}
    forged = write_record(hold.parent, hold.name.rpartition("-")[0], content)
    refused(lambda: promote(floored, forged), floored, forged.name, "not in the chain")
    assert (floored.records / UNLINKED / forged.name).is_file()
    assert "counts for nothing" in capsys.readouterr().err


def test_an_outcome_that_its_checks_do_not_say_is_refused_though_linked(floored: Registry) -> None:
    """Whoever can link records must still forge the checks, and the sums behind them."""
    liar = decided(floored, "hrnn-b", outcome="hold")
    content = json.loads(liar.read_text())
    checks = [check for check in content["checks"] if check["outcome"] == "promote"]
    for change, word in (
        ({"outcome": "promote"}, "but its checks say hold (not_now)"),
        ({"outcome": "promote", "checks": []}, "holds no checks"),
        (
            {"outcome": "promote", "checks": checks[:-4], "reasons": []},
            "holds no check sample_size",
        ),
    ):
        prefix = liar.name.rpartition("-")[0]
        chain = verified_chain(floored)
        path = write_record(floored.records, prefix, content | change)
        link_record(floored, chain, path, "decision")
        with pytest.raises(HourglassError, match=word.replace("(", r"\(").replace(")", r"\)")):
            promote(floored, path)


def test_checks_that_the_sums_do_not_say_are_refused(floored: Registry) -> None:
    decision = decided(floored, "hrnn-b")
    content = json.loads(decision.read_text())
    worse = {"d": 0.0}
    look = content["look"] | {"floor": content["look"]["floor"] | worse}
    chain = verified_chain(floored)
    path = write_record(floored.records, decision.name.rpartition("-")[0], content | {"look": look})
    link_record(floored, chain, path, "decision")
    with pytest.raises(HourglassError, match=r"beats_floor says .*, but its sums say not"):
        verified_decision(floored, path, "reading it")
    refuse_inconsistent(verified_decision(floored, decision, "reading it"))


def test_a_decision_elsewhere_has_no_answers_beside_it(floored: Registry, tmp_path: Path) -> None:
    decision = asking(floored)
    approve(floored, decision, "ann", SOON, reject=True)
    elsewhere = tmp_path / "other" / "decisions"
    elsewhere.mkdir(parents=True)
    copied = Path(shutil.copy(decision, elsewhere))
    refused(lambda: promote(floored, copied), floored, "does not lie in")


# Any record, any way


def with_a_life(registry: Registry) -> None:
    """A bootstrap, an answered promotion, a rollback, and a decision that could be promoted."""
    with_floor(registry)
    first = asking(registry)
    approve(registry, first, "ann", SOON)
    promote(registry, first, at="2016-03-14T14:30:00")
    roll_back_by_hand(registry, registry.records, "bad", at="2016-03-14T14:40:00")
    decided(registry, "hrnn-c", hour="2016-03-14T14")


@pytest.fixture(scope="module")
def prepared_lived(mlflow_tables: None, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return Prepared(tmp_path_factory.mktemp("lived"), with_a_life)


@pytest.fixture
def lived(prepared_lived: Prepared, tmp_path: Path) -> Registry:
    """A registry `with_a_life`."""
    return prepared_lived.at(tmp_path)


def acts(registry: Registry) -> list[Callable[[], object]]:
    newest = next(registry.records.glob("2016-03-14T14-*.json"), registry.records / "none-0.json")
    return [
        lambda: promote(registry, newest),
        lambda: roll_back_by_hand(registry, registry.records, "bad"),
        lambda: verified_decision(registry, newest, "refitting"),
    ]


@pytest.mark.parametrize(
    "kind", ["bootstrap", "2016-03-14T13", "approval", "promotion", "rollback"]
)
def test_removing_or_changing_any_record_stops_every_act(lived: Registry, kind: str) -> None:
    (path,) = lived.records.glob(f"{kind}-*.json")
    whole = path.read_bytes()
    path.unlink()
    for act in acts(lived):
        refused(act, lived, path.name, "missing")
    path.write_bytes(whole + b" ")
    for act in acts(lived):
        refused(act, lived, path.name, "changed")
    assert path.name in str(chain_problem(lived))
    path.write_bytes(whole)
    assert chain_problem(lived) is None
    assert promote(lived, next(lived.records.glob("2016-03-14T14-*.json"))).changed


@pytest.mark.parametrize(
    "what", ["removed", "swapped", "changed", "cut", "tail", "gone", "no text"]
)
def test_a_link_that_was_touched_stops_every_act(lived: Registry, what: str) -> None:
    journal = lived.records / JOURNAL
    links = journal.read_bytes().splitlines(keepends=True)
    assert len(links) == 7  # an anchor, and six records
    touched = {
        "removed": [*links[:3], *links[4:]],
        "swapped": [*links[:2], links[3], links[2], *links[4:]],
        "changed": [*links[:2], links[2].replace(b"decision", b"monitor"), *links[3:]],
        "cut": links[1:3],
        "tail": links[:-1],
        "gone": [],
        "no text": [*links[:2], b"\xff\n", *links[3:]],
    }[what]
    journal.write_bytes(b"".join(touched))
    for act in acts(lived):
        refused(act, lived, JOURNAL)
    journal.unlink()
    refused(acts(lived)[0], lived, JOURNAL, "missing")
    journal.write_bytes(b"".join(links))
    acts(lived)[0]()


def test_a_chain_without_its_head_or_with_an_older_one_stops_every_act(lived: Registry) -> None:
    head = chain_head(lived)
    assert head is not None
    lived.client.delete_registered_model_tag(lived.name, "record_chain")
    for act in acts(lived):
        refused(act, lived, "no tag `record_chain`")
    links = (lived.records / JOURNAL).read_bytes().splitlines(keepends=True)
    set_chain_head(lived, f"3:{hashlib.sha256(links[3]).hexdigest()}")
    for act in acts(lived):
        refused(act, lived, "an older state of MLflow's store")
    for nonsense in ("6", "six:abc", f"6:{'0' * 64}"):
        set_chain_head(lived, nonsense)
        for act in acts(lived):
            refused(act, lived, "MLflow")
    assert "accepted as it is" in anchor(lived, "ann", "a typing error", "2016-03-14T16:00:00")
    assert chain_problem(lived) is None


def test_a_record_of_another_lake_put_there_counts_for_nothing(lived: Registry) -> None:
    (old,) = lived.records.glob("approval-*.json")
    content = json.loads(old.read_text()) | {"by": "mallory", "approved": False}
    (newest,) = lived.records.glob("2016-03-14T14-*.json")
    forged = write_record(lived.records, f"approval-{newest.name[-17:-5]}", content)
    assert promote(lived, newest).changed
    assert not forged.exists()


def test_a_champion_that_no_linked_record_made_live_stops_every_act(lived: Registry) -> None:
    """As an older version of the code would do it, or a hand that can write to the registry."""
    (old,) = lived.records.glob("promotion-*.json")
    content = json.loads(old.read_text()) | {"sentence": "by hand"}
    by_hand = write_record(lived.records, "promotion-hrnn-b", content)
    lived.client.set_model_version_tag(lived.name, "2", "live_record", by_hand.name)
    lived.client.set_registered_model_alias(lived.name, "champion", "2")
    for act in acts(lived):
        refused(act, lived, by_hand.name, "made hrnn-b live")
    anchor(lived, "ann", "it was me", "2016-03-14T16:00:00")
    assert roll_back_by_hand(lived, lived.records, "bad").champion.model_id == "recent-a"


def test_an_alias_that_was_moved_by_hand_stops_every_act(lived: Registry) -> None:
    live = lived.client.get_model_version_by_alias(lived.name, "champion")
    others = {
        str(version.version)
        for version in lived.client.search_model_versions(f"name = '{lived.name}'")
        if version.version != live.version and "live_record" not in version.tags
    }
    lived.client.set_registered_model_alias(lived.name, "champion", min(others))
    for act in acts(lived):
        refused(act, lived, "moved by other means")


def test_a_copied_lake_verifies_by_itself(lived: Registry, tmp_path: Path) -> None:
    shutil.copytree(lived.models.parent, tmp_path / "copy", ignore=shutil.ignore_patterns("copy"))
    copied = replace(lived, models=tmp_path / "copy" / "models")
    with changing(copied.records, "reading"):
        assert verified_chain(copied).n == 6
    next(copied.records.glob("rollback-*")).unlink()
    assert "rollback-" in str(chain_problem(copied))
    assert chain_problem(lived) is None


# Kills


@pytest.mark.parametrize("act", ["promote", "rollback", "approve"])
def test_a_kill_before_the_head_moves_leaves_what_was(lived: Registry, act: str) -> None:
    (newest,) = lived.records.glob("2016-03-14T14-*.json")
    if act == "approve":
        newest = decided(
            lived, "hrnn-c", hour="2016-03-14T15", gate_settings=ASKING, made_at=MADE.isoformat()
        )

    def run(registry: Registry) -> object:
        if act == "promote":
            return promote(registry, newest, at="2016-03-14T15:00:00")
        if act == "approve":
            return approve(registry, newest, "ann", SOON)
        promote(lived, newest)
        return roll_back_by_hand(registry, lived.records, "bad")

    with pytest.raises(KeyboardInterrupt):
        run(dying(lived, "set_registered_model_tag"))
    assert chain_problem(lived) is None
    run(lived)
    assert chain_problem(lived) is None
    assert len(list((lived.records / UNLINKED).iterdir())) == 1


def test_a_link_that_was_cut_short_is_removed(lived: Registry) -> None:
    journal = lived.records / JOURNAL
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"file": "decisions/2016')
    (newest,) = lived.records.glob("2016-03-14T14-*.json")
    assert promote(lived, newest).changed
    assert journal.read_bytes().startswith(whole + b'{"file": "decisions/promotion')


def test_a_first_anchor_without_its_head_is_made_again(registry: Registry) -> None:
    register(registry, "recent-a")
    with pytest.raises(KeyboardInterrupt):
        verified_chain(dying(registry, "set_registered_model_tag"))
    assert (registry.records / JOURNAL).is_file()
    assert install_first(registry, "recent-a", registry.records).model_id == "recent-a"
    assert chain_problem(registry) is None


# Lakes from before, and losses


def unchained(registry: Registry) -> None:
    """The state of a lake that was made before there was a chain."""
    registry.client.delete_registered_model_tag(registry.name, "record_chain")
    (registry.records / JOURNAL).unlink()


def test_an_old_lake_gets_its_chain_and_goes_on(
    floored: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    decision = asking(floored)
    approve(floored, decision, "ann", SOON)
    unchained(floored)
    assert promote(floored, decision).changed
    assert "the chain of records begins here: 3 records" in capsys.readouterr().err
    roll_back_by_hand(floored, floored.records, "bad")
    assert capsys.readouterr().err == ""
    next(floored.records.glob("approval-*.json")).unlink()
    refused(
        lambda: roll_back_by_hand(floored, floored.records, "bad"), floored, "approval-", "missing"
    )


def test_what_is_lost_for_good_is_accepted_by_a_person(lived: Registry) -> None:
    (newest,) = lived.records.glob("2016-03-14T14-*.json")
    (lost,) = lived.records.glob("rollback-*.json")
    lost.unlink()
    refused(lambda: promote(lived, newest), lived, lost.name)
    with pytest.raises(HourglassError, match="needs a name and a reason"):
        anchor(lived, "ann", " ", "2016-03-14T16:00:00")
    sentence = anchor(lived, "ann", "the disk failed", "2016-03-14T16:00:00")
    assert "accepted as it is" in sentence
    assert lost.name in sentence
    # Nobody knows what was decided about it since.
    refused(lambda: promote(lived, newest), lived, "when a broken chain was accepted")
    after = decided(lived, "hrnn-c", hour="2016-03-14T15")
    assert promote(lived, after).changed
    assert list(lived.records.glob("chain-until-*.jsonl"))


# Signed with a key


def test_with_a_key_every_link_is_signed_and_verified(
    floored: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    decision = decided(floored, "hrnn-b")
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    refused(lambda: promote(floored, decision), floored, "no link of the chain", "anchor")
    assert "signed from here on" in anchor(floored, "ann", "a key", "2016-03-14T14:00:00")
    assert promote(floored, decision).changed
    journal = floored.records / JOURNAL
    assert KEY not in journal.read_text()
    monkeypatch.delenv(KEY_VARIABLE)
    refused(
        lambda: roll_back_by_hand(floored, floored.records, "x"), floored, "is signed", KEY_VARIABLE
    )
    monkeypatch.setenv(KEY_VARIABLE, "another key of the same length ..")
    refused(
        lambda: roll_back_by_hand(floored, floored.records, "x"),
        floored,
        "is not signed with the key",
    )
    monkeypatch.setenv(KEY_VARIABLE, "short")
    refused(lambda: roll_back_by_hand(floored, floored.records, "x"), floored, "at least 16")
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    # Whoever can write to the registry, but has no key, makes a chain that nobody with it accepts.
    whole, head = journal.read_bytes(), chain_head(floored)
    lines = [json.loads(line) for line in whole.splitlines()]
    forged = {**lines[-1], "sha256": "0" * 64}
    data = (json.dumps(forged, sort_keys=True) + "\n").encode()
    journal.write_bytes(b"".join(whole.splitlines(keepends=True)[:-1]) + data)
    set_chain_head(floored, f"{forged['n']}:{hashlib.sha256(data).hexdigest()}")
    refused(
        lambda: roll_back_by_hand(floored, floored.records, "x"),
        floored,
        "is not signed with the key",
    )
    journal.write_bytes(whole)
    set_chain_head(floored, str(head))
    assert roll_back_by_hand(floored, floored.records, "x").champion.model_id == "recent-a"


def test_a_new_lake_with_a_key_is_signed_from_its_first_record(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    register(registry, "recent-a", "hrnn-b")
    install_first(registry, "recent-a", registry.records)
    assert promote(registry, decided(registry, "hrnn-b")).changed
    lines = [json.loads(line) for line in (registry.records / JOURNAL).read_text().splitlines()]
    assert all(len(line["mac"]) == 64 for line in lines)
    unchained(registry)
    refused(lambda: roll_back_by_hand(registry, registry.records, "x"), registry, "never signed")
