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

from pipeline.errors import UsageError
from pipeline.hours import Hour, HourRange
from pipeline.ingest.file_audit import FileAudit
from pipeline.ingest.landing.arrivals import arrival_teller
from pipeline.ingest.landing.own_files import not_logs
from pipeline.ingest.landing.zone import (
    Arrival,
    RawFile,
    Unreadable,
    arrived_in,
    find_raw_files,
    grown,
    lines_of,
    not_yet_ingested,
)
from pipeline.settings.folders import WORK_FOLDERS
from pipeline.settings.settings import Settings, load_settings
from pipeline.settings.source import SourceSettings
from pipeline.sources import source_for
from pipeline.sources.lines import UnreadableFileError

CLOCK = datetime(2016, 3, 14, 13, 20, tzinfo=UTC)
BY_FORMAT = SourceSettings(name="delimited")
by_folder = arrival_teller(BY_FORMAT, source_for(BY_FORMAT))
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
    files, unreadable = find_raw_files(root, pattern, by_folder, CLOCK)
    assert not unreadable
    return arrived_in(files, hours)


def test_what_the_settings_name_otherwise_is_no_log(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for name in ("a.csv", "items.csv", "items.csv.old", "work/lake/catalog.db", "works/b.csv"):
        put(root, name)
    closed = root / "work" / "lake" / "out"
    closed.symlink_to("/")
    passed_over = [root / "work", root / "items.csv"]
    files, unreadable = find_raw_files(root, "**/*", by_folder, CLOCK, passed_over)
    assert names(files) == ["a.csv", "items.csv.old", "works/b.csv"]
    assert not unreadable


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

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UsageError, match="cannot be read: Permission denied"):
        find(tmp_path)


def test_a_name_that_no_table_can_hold_is_told_and_the_others_are_taken(tmp_path: Path) -> None:
    put(tmp_path, "a.csv")
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.csv")).write_bytes(b"x\n")
    except OSError:
        pytest.skip("this file system takes no such names")
    files, unreadable = find_raw_files(tmp_path, "**/*", by_folder, CLOCK)
    assert names(files) == ["a.csv"]
    assert list(map(str, unreadable)) == [r"caf\xe9.csv: its name is not UTF-8: rename it"]


LEAVES = "a link that leads out of source.path: put the file itself there"


def test_links_are_followed_inside_and_refused_outside(tmp_path: Path) -> None:
    root = tmp_path / "landing"
    secret = put(tmp_path, "secret/secret.csv")
    real = put(root, ".runs/7/2016-03-14T12/a.csv")
    put(root, "b.csv")
    (root / "2016-03-14T12").symlink_to(".runs/7/2016-03-14T12")
    (root / "c.csv").symlink_to("../landing/b.csv")
    (root / "2016-03-14T13").symlink_to(secret.parent)
    (root / "d.csv").symlink_to(secret)
    # By way of a link that itself lies inside, and of a path that only begins inside.
    (root / ".chain").symlink_to(secret)
    (root / "e.csv").symlink_to(".chain")
    (root / "f.csv").symlink_to(".runs/../../secret/secret.csv")
    (root / "gone.csv").symlink_to(tmp_path / "nowhere")
    (root / "loop").symlink_to(".")
    (root / "round").symlink_to("round")
    entry = tmp_path / "entry"
    entry.symlink_to(root)
    for pattern in ("**/*", "**/*.csv"):
        for start in (root, entry):
            files, unreadable = find_raw_files(start, pattern, by_folder, CLOCK)
            assert names(files) == ["2016-03-14T12/a.csv", "b.csv", "c.csv"]
            assert files[0].path == real
            assert (files[0].arrival, files[0].arrival_is_named) == (H12, True)
            refused = {file.source_file: file.reason for file in unreadable}
            assert len(refused) == len(unreadable)
            assert refused.pop("loop") == "a link to a folder that it lies in: remove it"
            assert refused.pop("round", None) in (None, "its links lead round in a circle")
            outside = ("2016-03-14T13", "d.csv", "e.csv", "f.csv", "gone.csv")
            assert refused == dict.fromkeys(outside, LEAVES)


def test_links_to_folders_that_lead_to_each_other_end(tmp_path: Path) -> None:
    put(tmp_path, "a/x.csv")
    put(tmp_path, "b/y.csv")
    (tmp_path / "a/to_b").symlink_to("../b")
    (tmp_path / "b/to_a").symlink_to("../a")
    files, unreadable = find_raw_files(tmp_path, "**/*.csv", by_folder, CLOCK)
    assert names(files) == ["a/x.csv", "b/y.csv"]
    assert len(unreadable) == 2


def test_a_linked_folder_of_an_hour_is_no_second_log(tmp_path: Path) -> None:
    put(tmp_path, "2016-03-14T12/a.csv")
    (tmp_path / "latest").symlink_to("2016-03-14T12")
    (tmp_path / "also").symlink_to("2016-03-14T12")
    files, unreadable = find_raw_files(tmp_path, "**/*.csv", by_folder, CLOCK)
    assert (names(files), unreadable) == (["2016-03-14T12/a.csv"], [])


@pytest.mark.parametrize("pattern", ["*/*.csv", "2016*/*.csv"])
def test_a_pattern_leads_nowhere_outside_either(tmp_path: Path, pattern: str) -> None:
    root = tmp_path / "landing"
    put(root, "2016-03-14T12/a.csv")
    secret = put(tmp_path, "secret/secret.csv")
    (root / "2016-03-14T13").symlink_to(secret.parent)
    (root / "notes").symlink_to(secret.parent)
    files, unreadable = find_raw_files(root, pattern, by_folder, CLOCK)
    assert not any(file.path == secret for file in files)
    assert unreadable
    # What the pattern does not reach is nobody's business.
    if pattern.startswith("2016"):
        assert [file.source_file for file in unreadable] == ["2016-03-14T13"]


@pytest.mark.parametrize("swapped", ["file", "folder"])
def test_a_link_that_takes_a_files_place_after_the_look_is_not_followed(
    tmp_path: Path, swapped: str
) -> None:
    secret = put(tmp_path, "secret/a.csv", b"secret")
    path = put(tmp_path / "landing", "2016-03-14T12/a.csv")
    (file,) = find(tmp_path / "landing")
    if swapped == "file":
        path.unlink()
        path.symlink_to(secret)
    else:
        path.parent.rename(tmp_path / "moved")
        path.parent.symlink_to(secret.parent)
    with pytest.raises(OSError, match=r"symbolic links|Not a directory"):
        file.sha256()
    with pytest.raises(UnreadableFileError):
        list(lines_of(file, Settings(), source_for(SourceSettings())))


def test_a_pipe_in_a_files_place_holds_nobody_up(tmp_path: Path) -> None:
    path = put(tmp_path, "a.csv")
    (file,) = find(tmp_path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(OSError, match="it is no file"):
        file.sha256()


def known(file: RawFile) -> FileAudit:
    digest, _ = file.sha256()
    arrival = file.arrival.start
    return FileAudit(file.source_file, arrival, file.modified, file.bytes, digest, 0, 0, 0, 0)


def fresh(files: list[RawFile], known: list[FileAudit]) -> list[str]:
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


def test_nobody_asks_when_a_known_file_arrived(tmp_path: Path) -> None:
    put(tmp_path, "2016-03-14T12/a.csv")
    before = known(find(tmp_path)[0])
    put(tmp_path, "2016-03-14T13/b.csv")
    names_asked: list[str] = []

    def tell(name: str) -> HourRange | None:
        names_asked.append(name)
        return by_folder(name)

    files, _ = find_raw_files(tmp_path, "**/*", tell, CLOCK)
    assert fresh(files, [before]) == ["2016-03-14T13/b.csv"]
    assert names_asked == []
    assert [(file.arrival, file.arrival_is_named) for file in files] == [(H12, True), (H13, True)]
    assert sorted(set(names_asked)) == ["2016-03-14T12/a.csv", "2016-03-14T13/b.csv"]


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
    files, unreadable = find_raw_files(tmp_path, "**/*.csv", by_folder, CLOCK)
    assert names(files) == ["a.csv"]
    assert list(map(str, unreadable)) == [
        "2016-03-14T12: Permission denied",
        "gone.csv: No such file or directory",
    ]
    # A pattern of the folder itself has nothing to do with others.
    _, unreadable = find_raw_files(tmp_path, "*.csv", by_folder, CLOCK)
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


def logs_of(root: Path, work: str, source: str) -> list[str]:
    """Which of the files below a folder are logs to settings that lie in it."""
    put(root, "hourglass.yaml", f"work: {root / work}\nsource: {source}\n".encode())
    settings = load_settings(root / "hourglass.yaml")
    path = settings.source.path
    files, unreadable = find_raw_files(path, "**/*", by_folder, CLOCK, not_logs(settings))
    assert not unreadable
    return names(files)


def test_own_files_below_the_source_folder_are_no_logs(tmp_path: Path) -> None:
    root = tmp_path / "site"
    for name in ("a.csv", "work.csv", "work/lake/catalog.db", "work/models/x.json", "items.csv"):
        put(root, name)
    (root / "linked").symlink_to(root / "work")
    source = f"{{path: {root}, items_path: {root}/items.csv}}"
    assert logs_of(root, "work", source) == ["a.csv", "work.csv"]


@pytest.mark.parametrize("folder", ["work/landing", "work"])
def test_logs_may_lie_in_the_work_folder(tmp_path: Path, folder: str) -> None:
    for name in (*(f"{own}/x" for own in WORK_FOLDERS), "mlflow.db"):
        put(tmp_path, f"work/{name}")
    put(tmp_path, f"{folder}/2016-03-14T12/a.csv")
    logs = logs_of(tmp_path, "work", f"{{path: {tmp_path / folder}}}")
    assert logs == ["2016-03-14T12/a.csv"]
