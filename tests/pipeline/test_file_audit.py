from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import HourglassError
from pipeline.ingest import file_audit as accounts_module
from pipeline.ingest.file_audit import (
    FileAudit,
    check_events,
    check_records,
    commit_audits,
    read_audits,
    reconcile,
    reconcile_all,
    versions_of,
)
from pipeline.lake.lake import Lake
from pipeline.lake.tables import SOURCE_FILES

T0 = datetime(2016, 3, 14, 13, tzinfo=UTC)


def account(
    name: str, accepted: int, duplicates: int = 0, quarantined: int = 0, version: int = 0
) -> FileAudit:
    records = accepted + duplicates + quarantined
    modified = T0 + timedelta(minutes=version)
    return FileAudit(
        name, T0, modified, 10, f"{name}{version}", records, accepted, duplicates, quarantined
    )


def fates(accounts: list[FileAudit]) -> list[tuple[int, int]]:
    return [(each.accepted, each.duplicates) for each in accounts]


def test_versions_are_those_of_a_file_with_the_oldest_first() -> None:
    a0, a1, b = account("a", 1), account("a", 2, version=1), account("b", 3)
    assert versions_of([a1, b, a0]) == {"a": [a0, a1], "b": [b]}


def test_what_a_file_loses_becomes_its_duplicates() -> None:
    assert reconcile([account("a", 5, 1, 2)], 2) == [account("a", 3, 3, 2)]


def test_the_newest_content_loses_first() -> None:
    before = [account("a", 3), account("a", 2, version=1)]
    assert fates(reconcile(before, 1)) == [(3, 0), (1, 1)]
    assert fates(reconcile(before, 4)) == [(1, 2), (0, 2)]


def test_a_grown_content_takes_the_place_of_what_it_was() -> None:
    assert reconcile([account("a", 3)], 3, {"a0"}) == []


def test_what_a_replaced_content_does_not_lose_falls_to_the_others() -> None:
    before = [account("a", 3, 4), account("a", 2, version=1)]
    # Both are the same events; the file counted for them under its newest content.
    assert fates(reconcile(before, 1, {"a1"})) == [(4, 3)]


def test_a_file_whose_account_is_gone_cannot_lose() -> None:
    assert reconcile([], 3) == []
    assert reconcile_all({"a": [account("a", 1)]}, {"b": 2}, {}) == {"a": [account("a", 1)]}


COUNTS = st.tuples(*[st.integers(0, 5)] * 3)


@given(st.lists(COUNTS, min_size=1, max_size=4), st.integers(0, 20))
def test_nothing_of_an_account_is_lost(counts: list[tuple[int, int, int]], displaced: int) -> None:
    before = [account("a", *each, version=n) for n, each in enumerate(counts)]
    after = reconcile(before, displaced)
    check_records(after)
    assert [each.records for each in after] == [each.records for each in before]
    owned = sum(each.accepted for each in before)
    assert sum(each.accepted for each in after) == max(owned - displaced, 0)
    assert all(now.accepted <= old.accepted for now, old in zip(after, before, strict=True))


def test_records_that_became_nothing_are_told() -> None:
    good = account("a", 1, 2, 3)
    check_records([good])
    lost = FileAudit(**{**vars(good), "source_file": "b.csv", "records": 7})
    with pytest.raises(HourglassError, match=r"b\.csv: 7 records were read but 6 accounted for"):
        check_records([good, lost])


def test_events_that_no_file_accounts_for_are_told() -> None:
    before, arrived = {"a": [account("a", 3)]}, [account("b", 2)]
    check_events(before, before, arrived, 3, 5)
    with pytest.raises(HourglassError, match=r"events would hold 6 rows but .* account for 5"):
        check_events(before, before, arrived, 3, 6)
    # Nothing can be said of a lake in which it was not so before.
    check_events(before, before, arrived, 4, 6)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(f"sqlite:///{tmp_path}/catalog.db", tmp_path / "lake")


def test_accounts_are_added_and_settled_ones_take_the_place_of_the_known(lake: Lake) -> None:
    commit_audits(lake, {}, {}, [account("a", 3), account("b", 1)], {})
    known = versions_of(read_audits(lake))
    settled = reconcile_all(known, {"a": 1}, {})
    commit_audits(lake, known, settled, [account("c", 2)], {})
    now = sorted(read_audits(lake), key=lambda each: each.source_file)
    assert now == [account("a", 2, 1), account("b", 1), account("c", 2)]


def test_accounts_of_many_runs_are_joined_into_one_file(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounts_module, "_MOST_FILES", 2)
    files = []
    for n in range(5):
        known = versions_of(read_audits(lake))
        commit_audits(lake, known, known, [account(str(n), n)], {})
        files.append(len(lake.files(SOURCE_FILES)))
    assert files == [1, 2, 1, 2, 1]
    assert sorted(read_audits(lake), key=str) == [account(str(n), n) for n in range(5)]
