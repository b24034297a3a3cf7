"""An hour costs the same however many lie behind it, and the chain of records holds as before."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import record_growth
from benchmarks.record_growth import FIRST, LINE, Past, decision, lay_out, operations
from pipeline.errors import HourglassError
from pipeline.hours import Hour, HourRange
from pipeline.sealed_json import (
    dated_records,
    file_away,
    find_record,
    read_record,
    where_filed,
    write_record,
)
from training.cli.options import decision_file
from training.deployment import monitor_record
from training.deployment.approval import answers
from training.deployment.champion_history import champion_during, champion_periods
from training.deployment.monitor_record import (
    monitor_results_between,
    read_monitor_result,
    write_monitor_result,
)
from training.fit.model_lines import latest_model_of
from training.gate.judged_hours import judged_hours
from training.registry import journal, record_chain
from training.registry.journal import KEY_VARIABLE
from training.registry.mlflow_registry import Registry
from training.registry.record_chain import (
    JOURNAL,
    UNLINKED,
    anchor,
    chain_problem,
    link_record,
    refuse_unlinked,
    verified_chain,
)

RECENT = 4
WEEKS_H = 2 * 168
SOME_H = 168 + 22
KEY = "0123456789abcdef0123456789abcdef"


@pytest.fixture(autouse=True)
def little_is_recent(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes months to be filed away takes hours."""
    monkeypatch.setattr(record_chain, "RECENT", RECENT)
    monkeypatch.setattr(monitor_record, "RECENT", RECENT)
    monkeypatch.setattr(record_growth, "THERE_H", RECENT)
    monkeypatch.setattr(journal, "_BLOCK_BYTES", 700)  # lines lie across blocks


@contextmanager
def counting(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """Files opened, names listed and links parsed meanwhile."""
    counts: Counter[str] = Counter()

    def counted(
        name: str, real: Callable[..., Any], size: Callable[..., int]
    ) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            counts[name] += size(*arguments)
            return real(*arguments, **options)

        return call

    listdir = os.listdir
    with monkeypatch.context() as patch:
        patch.setattr(io, "open", counted("opened", io.open, lambda *_: 1))
        for name in ("listdir", "scandir"):
            real = getattr(os, name)
            patch.setattr(os, name, counted("listed", real, lambda path: len(listdir(path))))
        patch.setattr(journal, "_parse", counted("links", journal._parse, lambda _: 1))
        yield counts


def gone_on(past: Past) -> Past:
    """The past after an hour of today's code: the folders are short, and the links say more."""
    chain = verified_chain(past.registry)
    for _, run in operations(past):
        run()
    link_record(past.registry, chain, one_more(past), "decision")
    results = monitor_results_between(past.settings.path("monitor"), FIRST, past.newest)
    latest = results[-1][1]
    write_monitor_result(
        past.settings.path("monitor"), replace(latest, first=past.newest, stop=past.newest + 1)
    )
    return replace(past, newest=past.newest + 1)


def one_more(past: Past) -> Path:
    return decision(past.settings.work, past.newest.index - FIRST.index)


@pytest.fixture
def past(tmp_path: Path) -> Past:
    return gone_on(lay_out(tmp_path, SOME_H))


def test_an_hour_reads_and_lists_the_same_however_many_lie_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    costs: list[dict[str, Counter[str]]] = []
    for hours in (SOME_H, SOME_H + WEEKS_H):
        past = gone_on(lay_out(tmp_path / str(hours), hours))
        cost: dict[str, Counter[str]] = {}
        for name, run in operations(past):
            with counting(monkeypatch) as counts:
                run()
            cost[name] = counts
        costs.append(cost)
    few, many = costs
    month_h = 31 * 24
    for name, counts in many.items():
        for what in ("opened", "links"):
            assert counts[what] == few[name][what], (name, what)
        # Where hours of a range are filed away, their months are listed.
        assert counts["listed"] <= few[name]["listed"] + month_h, name
    for name in ("verify the chain", "newest data set", "hours judged", "who is live"):
        assert many[name] == few[name]
    assert many["verify the chain"]["links"] < 6 * RECENT


def test_the_folders_stay_short_and_the_past_is_found_by_its_old_names(past: Past) -> None:
    records, findings = past.registry.records, past.settings.path("monitor")
    assert len(list(records.glob("*-*.json"))) <= 3 * RECENT
    assert len(list(findings.glob("*.json"))) == RECENT + 1
    decisions = list(dated_records(records))
    assert [hour for hour, _ in decisions] == list(HourRange(FIRST, past.newest))
    oldest = decisions[0][1]
    assert oldest == where_filed(records / oldest.name)
    assert read_record(records / oldest.name).folder == records
    newest_first = dated_records(records, newest_first=True)
    assert next(newest_first)[0] == past.newest - 1
    assert len(monitor_results_between(findings, FIRST, past.newest)) == len(decisions)
    (_, first) = monitor_results_between(findings, FIRST, FIRST + 1)[0]
    assert read_monitor_result(findings / write_monitor_result(findings, first).name) == first
    assert not list(findings.glob(f"{FIRST}-*"))  # it is there already, and stays where it is
    whole = champion_periods(past.registry, records)
    assert len(whole) == 1 + (SOME_H - 1) // record_growth.PROMOTED_EVERY_H
    for hour in (FIRST + 1, FIRST + 9, past.newest):
        some = champion_periods(past.registry, records, hour)
        assert champion_during(some, hour) == champion_during(whole, hour)
        assert some == whole[-len(some) :]
    assert chain_problem(past.registry) is None


def test_an_act_on_an_old_record_verifies_back_to_it(past: Past) -> None:
    records = past.registry.records
    old = where_filed(next(path for _, path in dated_records(records)))
    file = f"decisions/{old.name}"
    assert file not in verified_chain(past.registry).digests
    chain = verified_chain(past.registry, since=file)
    sha256 = hashlib.sha256(old.read_bytes()).hexdigest()
    refuse_unlinked(chain, records, records / old.name, sha256)
    refuse_unlinked(chain, records, old, sha256)
    after = list(dated_records(records))[2][1]
    data = after.read_bytes()
    after.write_bytes(data + b" ")
    with pytest.raises(HourglassError, match=f"{after.name}: changed"):
        verified_chain(past.registry, since=file)
    after.unlink()
    with pytest.raises(HourglassError, match=f"{after.name}: missing"):
        verified_chain(past.registry, naming=[file])


def test_the_report_tells_of_old_records_what_acts_do_not(past: Past) -> None:
    records = past.registry.records
    promotion = next((records / "past" / "promotion").iterdir())
    data = promotion.read_bytes()
    promotion.write_bytes(data + b" ")
    verified_chain(past.registry)
    assert f"{promotion.name}: changed" in str(chain_problem(past.registry))
    promotion.write_bytes(data)
    old = next(path for _, path in dated_records(records))
    old.unlink()
    verified_chain(past.registry)
    assert f"{old.name}: missing" in str(chain_problem(past.registry))
    with pytest.raises(HourglassError, match="put the folder"):
        verified_chain(past.registry, since=f"decisions/{old.name}")


def test_a_forged_record_beside_a_long_chain_counts_for_nothing(past: Past) -> None:
    forged = one_more(past)
    verified_chain(past.registry)
    assert (past.registry.records / UNLINKED / forged.name).is_file()


def test_the_last_change_is_known_long_after_it(
    past: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = past.registry
    for _ in range(5 * RECENT):
        chain = verified_chain(registry)
        link_record(registry, chain, one_more(past), "decision")
        past = replace(past, newest=past.newest + 1)
    live = registry.client.live  # type: ignore[attr-defined]
    with counting(monkeypatch) as counts:
        assert verified_chain(registry).change == (f"decisions/{live[2]}", sha256_of(past, live[2]))
    assert counts["links"] < 6 * RECENT
    last = find_record(registry.records / live[2])
    assert last is not None
    assert last != registry.records / live[2]
    data = last.read_bytes()
    last.write_bytes(data + b" ")
    with pytest.raises(HourglassError, match="changed after it was written as the last change"):
        verified_chain(registry)
    last.unlink()
    with pytest.raises(HourglassError, match="cannot be read"):
        verified_chain(registry)
    last.write_bytes(data)
    before = json.loads(data)["after"]
    move_alias(registry, before)  # as after a kill
    verified_chain(registry)
    earlier = json.loads(read_bytes(past, before))["after"]
    for record in (earlier, None):
        move_alias(registry, record)
        with pytest.raises(HourglassError, match="moved by other means"):
            verified_chain(registry)
    by_hand = registry.records / "promotion-x-0123456789ab.json"
    by_hand.write_text("{}")
    move_alias(registry, by_hand.name)
    with pytest.raises(HourglassError, match="is in no chain of records"):
        verified_chain(registry)


def move_alias(registry: Registry, record: str | None) -> None:
    client: Any = registry.client
    client.live = (client.live[0], client.live[1], record)


def read_bytes(past: Past, name: str) -> bytes:
    path = find_record(past.registry.records / name)
    assert path is not None
    return path.read_bytes()


def sha256_of(past: Past, name: str) -> str:
    return hashlib.sha256(read_bytes(past, name)).hexdigest()


@pytest.mark.parametrize("what", ["changed", "removed", "cut short", "older head"])
def test_a_touched_tail_of_a_long_chain_is_refused(past: Past, what: str) -> None:
    path = past.registry.records / JOURNAL
    links = path.read_bytes().splitlines(keepends=True)
    touched = {
        "changed": [*links[:-2], links[-2].replace(b"decision", b"approval"), links[-1]],
        "removed": [*links[:-3], *links[-2:]],
        "cut short": links[:-1],
        "older head": [*links, links[-1], links[-1]],
    }[what]
    path.write_bytes(b"".join(touched))
    with pytest.raises(HourglassError, match=r"removed, changed or moved|which MLflow names|older"):
        verified_chain(past.registry)
    path.write_bytes(b"".join(links) + b'{"file": "deci')
    verified_chain(past.registry)
    assert path.read_bytes() == b"".join(links)


def test_a_long_signed_chain_is_verified_from_its_tail(
    past: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = past.registry
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    assert "signed from here on" in anchor(registry, "ann", "a key", "2026-01-01T00:00:00")
    for _ in range(2):
        chain = verified_chain(registry)
        link_record(registry, chain, one_more(past), "decision")
        past = replace(past, newest=past.newest + 1)
    monkeypatch.delenv(KEY_VARIABLE)
    with pytest.raises(HourglassError, match="is signed: set"):
        verified_chain(registry)
    # Whoever can write to the registry too appends links, but cannot sign them.
    path, head = registry.records / JOURNAL, verified_head(registry)
    n, digest = head
    data = path.read_bytes()
    forged = b""
    for _ in range(3 * RECENT):
        n += 1
        link = {"kind": "decision", "file": "decisions/x-0.json", "sha256": "", "n": n}
        line = (json.dumps({**link, "previous": digest, "live": None}) + "\n").encode()
        digest, forged = hashlib.sha256(line).hexdigest(), forged + line
    path.write_bytes(data + forged)
    registry.client.set_registered_model_tag("", "record_chain", f"{n}:{digest}")
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    with pytest.raises(HourglassError, match="is not signed with the key"):
        verified_chain(registry)


def verified_head(registry: Registry) -> tuple[int, str]:
    number, _, digest = str(registry.client.tags["record_chain"]).partition(":")  # type: ignore[attr-defined]
    return int(number), digest


def test_data_sets_that_went_unnoticed_are_found_by_their_models(past: Past) -> None:
    settings = past.settings
    shards, models = settings.path("shards"), settings.path("models")
    newest = f"{LINE}-{SOME_H - 1:06d}"
    assert latest_model_of(settings, LINE, past.newest) == newest
    for path in sorted(shards.glob("set-*/manifest.json")):
        path.unlink()
        path.parent.rmdir()
    assert latest_model_of(settings, LINE, past.newest) == newest
    for path in sorted((shards / ".by_time").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (shards / ".by_time").rmdir()
    assert latest_model_of(settings, LINE, past.newest) == newest
    (models / newest / "model.json").unlink()
    assert latest_model_of(settings, LINE, past.newest) == f"{LINE}-{SOME_H - 2:06d}"
    assert latest_model_of(settings, LINE, Hour(FIRST.index)) is None


def test_answers_to_a_decision_are_found_when_both_are_filed_away(past: Past) -> None:
    records = past.registry.records
    path = one_more(past)
    prefix = f"approval-{read_record(path).sha256[:12]}"
    answer = {"format": 1, "approved": False, "by": "ann", "why": "", "at": "2026-01-01T00:00:00"}
    answered = write_record(records, prefix, answer)
    for filed in (path, answered):
        decided: Any = SimpleNamespace(record=read_record(path))
        assert [each.by for each in answers(decided)] == ["ann"]
        file_away(filed)
    decided = SimpleNamespace(record=read_record(path))
    assert [each.record for each in answers(decided)] == [where_filed(answered)]
    # Whoever names it by hand names it as ever, or where it lies.
    for named in (Path(path.name), path, where_filed(path)):
        assert decision_file(records, named) == path


def test_hours_judged_are_asked_for_by_their_names(
    past: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = FIRST + SOME_H - 1
    with counting(monkeypatch) as counts:
        assert judged_hours(past.settings, HourRange(last - 1, last + 5)) == {last - 1, last}
    assert not counts["listed"]
