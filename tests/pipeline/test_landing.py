from __future__ import annotations

import gzip
import hashlib
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.accounts import Account
from pipeline.errors import UsageError
from pipeline.hours import Hour, HourRange
from pipeline.landing import (
    Arrival,
    RawFile,
    Unreadable,
    arrived_in,
    find_raw_files,
    grown,
    not_yet_ingested,
)
from pipeline.sources.base import hour_of_folder

CLOCK = datetime(2016, 3, 14, 13, 20, tzinfo=UTC)
H12, H13 = Hour.parse("2016-03-14T12"), Hour.parse("2016-03-14T13")


def put(root: Path, name: str, content: bytes = b"x\n", modified_us: int | None = None) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    if modified_us is not None:
        os.utime(path, ns=(modified_us * 1000, modified_us * 1000))
    return path


def names(files: list[RawFile]) -> list[str]:
    return [file.source_file for file in files]


def find(root: Path, pattern: str = "**/*", hours: HourRange | None = None) -> list[RawFile]:
    files, unreadable = find_raw_files(root, pattern, hour_of_folder, CLOCK)
    assert not unreadable
    return arrived_in(files, hours)


def test_files_come_in_the_order_of_their_names_with_what_is_known_of_them(tmp_path: Path) -> None:
    put(tmp_path, "b.csv", b"12345", modified_us=1_457_960_000_250_000)
    put(tmp_path, "2016-03-14T12/a.csv")
    late, other = find(tmp_path)
    assert late.source_file == "2016-03-14T12/a.csv"
    assert (late.arrival, late.arrival_is_named) == (H12, True)
    assert (other.arrival, other.arrival_is_named) == (H13, False)
    assert other.bytes == 5
    assert other.modified == datetime.fromtimestamp(1_457_960_000.25, UTC)
    assert other.sha256() == (hashlib.sha256(b"12345").hexdigest(), {})


def test_unfinished_and_hidden_files_are_passed_over(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv.tmp", ".c.csv", "_SUCCESS", ".git/d.csv", "_temporary/e.csv"):
        put(tmp_path, name)
    (tmp_path / "folder.csv").mkdir()
    assert names(find(tmp_path)) == ["a.csv"]


def test_the_source_may_be_one_file(tmp_path: Path) -> None:
    put(tmp_path, "other.csv")
    assert names(find(put(tmp_path, "events.csv"), "**/*.nothing")) == ["events.csv"]


def test_hours_narrow_only_what_is_named_by_hour(tmp_path: Path) -> None:
    for name in ("2016-03-14T12/a", "2016-03-14T13/a", "a"):
        put(tmp_path, name)
    assert names(find(tmp_path, hours=HourRange(H12, H13))) == ["2016-03-14T12/a", "a"]
    only_named = HourRange(H13 + 5, H13 + 6)
    assert names(find(tmp_path, hours=only_named)) == ["a"]


def test_a_folder_that_is_missing_empty_or_has_no_match_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none: no such file or folder: set source\.path"):
        find(tmp_path / "none")
    with pytest.raises(UsageError, match=r"no file matches '\*\*/\*': see source.pattern"):
        find(tmp_path)
    put(tmp_path, "a.csv")
    with pytest.raises(UsageError, match=r"no file matches '\*\.tsv': see source.pattern"):
        find(tmp_path, "*.tsv")


@pytest.mark.parametrize("pattern", ["", "/data/*"])
def test_a_pattern_that_is_no_pattern_is_told(tmp_path: Path, pattern: str) -> None:
    put(tmp_path, "a.csv")
    with pytest.raises(UsageError, match=r"source\.pattern"):
        find(tmp_path, pattern)


def test_a_folder_that_cannot_be_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: Path) -> NoReturn:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(UsageError, match="cannot be read: Permission denied"):
        find(tmp_path)


def test_a_name_that_no_table_can_hold_is_told(tmp_path: Path) -> None:
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.csv")).write_bytes(b"x\n")
    except OSError:
        pytest.skip("this file system takes no such names")
    with pytest.raises(UsageError, match=r"caf\\xe9\.csv.*: rename it"):
        find(tmp_path)


def known(file: RawFile) -> Account:
    digest, _ = file.sha256()
    arrival = file.arrival.start
    return Account(file.source_file, arrival, file.modified, file.bytes, digest, 0, 0, 0, 0)


def fresh(files: list[RawFile], known: list[Account]) -> list[str]:
    arrivals, unreadable = not_yet_ingested(files, known)
    assert not unreadable
    return names([arrival.file for arrival in arrivals])


def test_a_file_is_new_once(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", b"one")
    (a,) = find(tmp_path)
    assert not_yet_ingested([a], []) == ([Arrival(a, hashlib.sha256(b"one").hexdigest())], [])
    assert not_yet_ingested([a], [known(a)]) == ([], [])


def test_a_touched_file_is_known_and_a_grown_one_is_not(tmp_path: Path) -> None:
    path = put(tmp_path, "a.csv", b"one", modified_us=1_000_000_000_000_000)
    before = known(find(tmp_path)[0])
    os.utime(path, (2_000_000_000, 2_000_000_000))
    assert fresh(find(tmp_path), [before]) == []
    path.write_bytes(b"one and more")
    assert fresh(find(tmp_path), [before]) == ["a.csv"]


def test_a_change_of_the_same_length_is_seen_by_its_time(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", b"one", modified_us=1_000_000_000_000_000)
    before = known(find(tmp_path)[0])
    put(tmp_path, "a.csv", b"two", modified_us=1_000_000_000_000_001)
    assert fresh(find(tmp_path), [before]) == ["a.csv"]


def test_an_unchanged_file_is_not_even_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "a.csv", gzip.compress(b"one", mtime=0))
    before = known(find(tmp_path)[0])
    monkeypatch.setattr(RawFile, "sha256", lambda *_: pytest.fail("it was read"))
    assert fresh(find(tmp_path), [before]) == []


def test_equal_content_under_another_name_is_another_file(tmp_path: Path) -> None:
    put(tmp_path, "a.csv", b"one")
    before = known(find(tmp_path)[0])
    put(tmp_path, "b.csv", b"one")
    assert fresh(find(tmp_path), [before]) == ["b.csv"]


@settings(deadline=None)
@given(st.binary(max_size=40), st.sets(st.integers(0, 50)))
def test_a_digest_comes_with_those_of_the_beginnings(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, sizes: set[int]
) -> None:
    (file,) = find(put(tmp_path_factory.mktemp("digest"), "a", content))
    digest, beginnings = file.sha256(sizes)
    assert digest == hashlib.sha256(content).hexdigest()
    assert beginnings == {
        size: hashlib.sha256(content[:size]).hexdigest() for size in sizes if size <= len(content)
    }


def test_a_file_has_grown_only_if_it_begins_with_all_that_was_known(tmp_path: Path) -> None:
    put(tmp_path, "a", b"one\n", modified_us=1)
    before = known(find(tmp_path)[0])
    put(tmp_path, "a", b"one\ntwo\n")
    (more,), _ = not_yet_ingested(find(tmp_path), [before])
    assert more.continues == {before.sha256}
    assert grown([more], {"a": [before]}) == ["a"]
    assert grown([more], {"b": [before]}) == []
    put(tmp_path, "a", b"two\nand three\n")
    (other,), _ = not_yet_ingested(find(tmp_path), [before])
    assert other.continues == frozenset()
    assert grown([other], {"a": [before]}) == []
    # Of a file that once was another, only the last content has grown.
    between = known(find(tmp_path)[0])
    put(tmp_path, "a", b"two\nand three\nand four\n")
    (last,), _ = not_yet_ingested(find(tmp_path), [before, between])
    assert last.continues == {between.sha256}
    assert grown([last], {"a": [before, between]}) == []


def test_what_cannot_be_looked_at_does_not_hold_up_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "a.csv")
    (tmp_path / "gone.csv").symlink_to(tmp_path / "nowhere")
    put(tmp_path, "2016-03-14T12/b.csv")
    put(tmp_path, "_closed/c.csv")
    scandir = os.scandir

    def refuse(folder: str | Path) -> Any:
        if Path(folder).name in ("2016-03-14T12", "_closed"):
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    files, unreadable = find_raw_files(tmp_path, "**/*.csv", hour_of_folder, CLOCK)
    assert names(files) == ["a.csv"]
    assert list(map(str, unreadable)) == [
        "2016-03-14T12: Permission denied",
        "gone.csv: No such file or directory",
    ]
    # A pattern of the folder itself has nothing to do with others.
    _, unreadable = find_raw_files(tmp_path, "*.csv", hour_of_folder, CLOCK)
    assert [file.source_file for file in unreadable] == ["gone.csv"]


def test_a_file_that_vanishes_before_it_is_read_is_told_and_the_others_are_taken(
    tmp_path: Path,
) -> None:
    put(tmp_path, "a.csv")
    gone = put(tmp_path, "b.csv")
    files = find(tmp_path)
    gone.unlink()
    arrivals, unreadable = not_yet_ingested(files, [])
    assert names([arrival.file for arrival in arrivals]) == ["a.csv"]
    assert unreadable == [Unreadable("b.csv", "No such file or directory")]


@given(st.integers(0, 4_000_000_000 * 1_000_000))
def test_times_of_change_are_kept_to_the_microsecond(modified_us: int) -> None:
    # The way back and forth between a float of seconds and a table's microseconds is exact.
    there = datetime.fromtimestamp(modified_us / 1e6, tz=UTC)
    assert (there - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) == modified_us
