"""Files of every fault, files that cannot be read, and a disk without space."""

from __future__ import annotations

import errno
import gzip
import os
import zlib
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from fuzzed_logs import H0, HEADER, fuzzed
from landing_place import CLOCK, Place

from pipeline.engine.in_process import InProcessEngine
from pipeline.errors import HourglassError
from pipeline.ingest import ingest as ingest_module
from pipeline.ingest import read_raw
from pipeline.ingest.landing.zone import RawFile
from pipeline.lake.lake import Lake
from pipeline.lake.location import local_path
from pipeline.lake.tables import EVENTS, QUARANTINE, SOURCE_FILES
from pipeline.spark.compute import Compute

NOW = H0.index * 3600
GOOD = f"{NOW},u,i,,,"
HEAD = HEADER.encode() + b"\n"


def line(rest: str, time: object = NOW) -> bytes:
    return f"{time},{rest}\n".encode()


@pytest.fixture
def place(tmp_path: Path, compute: Compute) -> Place:
    return Place(tmp_path, compute)


#: By file: what it holds besides two good lines, the line at fault, and the reason it is given.
FAULTS: dict[str, tuple[bytes, int, str]] = {
    "broken.csv": (b"<html>502 Bad Gateway</html>\n", 2, "1 fields where 6 were expected"),
    "quote.csv": (line('"u,i,,,'), 2, "a quote is not closed or is out of place"),
    "latin.csv": ("now,café,i,,,\n".encode("latin-1"), 2, "not valid utf-8"),
    "utf16.csv": ("a,b".encode("utf-16-le") + b"\n", 2, "holds a NUL byte"),
    "nul.csv": (line("u\0,i,,,"), 2, "holds a NUL byte"),
    "field.csv": (line("u,i,,," + "x" * 100_000), 2, "longer than 2000 characters"),
    "id.csv": (line("u" * 41 + ",i,,,"), 2, "an id is longer than 40 characters"),
    "user.csv": (line(" ,i,,,"), 2, "no user_id"),
    "item.csv": (line("u,,,,"), 2, "no item_id"),
    "price.csv": (line("u,i,1e999,,"), 2, "value is not a finite number"),
    "word.csv": (line("u,i,,,", "soon"), 2, "event_time is not a number"),
    "zero.csv": (line("u,i,,,", 0), 2, "event_time is before ingest.earliest"),
    "huge.csv": (line("u,i,,,", "9" * 40), 2, "event_time is outside the years 1 to 9999"),
    "future.csv": (line("u,i,,,", NOW + 9 * 3600), 2, "event_time is after the file's arrival"),
}


def test_each_fault_is_told_with_file_line_and_reason_and_the_good_lines_get_in(
    place: Place,
) -> None:
    for name, (fault, _, _) in FAULTS.items():
        good = line(f"{name},i,,,")
        (place.landing / name).write_bytes(HEAD + fault + good + good.replace(b",i,", b",j,"))
    # By default such a number costs itself alone.
    source = place.settings.source.model_copy(update={"bad_values": "refuse"})
    place.settings = place.settings.model_copy(update={"source": source})
    # Of a gzip stream that breaks off there is no telling what the last line would have been.
    packed = gzip.compress(HEAD + b"".join(line(f"u{n},i,,,") for n in range(2000)), mtime=0)
    (place.landing / "torn.csv").write_bytes(packed[: len(packed) // 2])
    (place.landing / "column.csv").write_bytes(
        HEAD.replace(b"user_id", b"visitor") + line("u,i,,,")
    )
    place.ingest()

    found = {
        (row["source_file"], row["line"]): (row["reason"], row["raw"])
        for row in place.rows(QUARANTINE)
    }
    owned = [row["source_file"] for row in place.rows(EVENTS)]
    torn = owned.count("torn.csv")
    assert 500 < torn < 1500
    wanted = {(name, number): reason for name, (_, number, reason) in FAULTS.items()}
    wanted["torn.csv", torn + 2] = f"gzip stream is cut off after line {torn + 1}"
    wanted["column.csv", 2] = "the file's header has no column 'user_id'"
    assert {at: reason for at, (reason, _) in found.items()} == wanted
    assert found["broken.csv", 2][1] == "<html>502 Bad Gateway</html>"
    assert found["latin.csv", 2][1] == "now,caf\\xe9,i,,,"
    for name in FAULTS:
        assert owned.count(name) == 2
        assert place.accounts()[name] == (3, 2, 0, 1)


def test_one_file_without_the_column_is_not_the_settings_fault_once_others_were_read(
    place: Place,
) -> None:
    place.put("a.csv", GOOD)
    place.ingest()
    place.put("b.csv", GOOD, header=HEADER.replace("user_id", "visitor"))
    assert place.ingest().quarantined == 1
    assert place.accounts() == {"a.csv": (1, 1, 0, 0), "b.csv": (1, 0, 0, 1)}


def test_a_file_that_cannot_be_opened_is_named_and_the_others_are_taken(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.csv", "b.csv", "c.csv"):
        place.put(name, GOOD.replace("u", name))
    (place.landing / "gone.csv").symlink_to(place.landing / "nowhere")
    (place.landing / "folder.csv").mkdir()
    digest = RawFile.sha256

    def refuse(file: RawFile, *sizes: Any) -> Any:
        if file.source_file == "b.csv":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return digest(file, *sizes)

    with monkeypatch.context() as patch:
        patch.setattr(RawFile, "sha256", refuse)
        summary = place.ingest()
    assert summary.files == 2
    assert summary.unreadable == (
        "gone.csv: No such file or directory",
        "b.csv: Permission denied",
    )
    assert set(place.accounts()) == {"a.csv", "c.csv"}
    (place.landing / "gone.csv").unlink()
    summary = place.ingest()
    assert (summary.files, summary.known_files, summary.unreadable) == (1, 2, ())


def test_a_file_of_another_kind_is_named_and_none_of_its_bytes_is_taken_for_text(
    place: Place,
) -> None:
    place.put("a.csv", GOOD)
    archive = zlib.compress(b"")
    (place.landing / "b.csv").write_bytes(b"PK\x03\x04" + archive)
    pq.write_table(pa.table({"user_id": ["u"]}), place.landing / "c.csv")
    (place.landing / "d.csv").write_bytes((HEADER + GOOD).encode("utf-16"))
    for files, known_files in ((1, 0), (0, 1)):
        summary = place.ingest()
        assert (summary.files, summary.known_files) == (files, known_files)
        assert summary.unreadable == (
            "b.csv: is a zip archive: unpack it",
            "c.csv: is Parquet: set source.name to parquet",
            "d.csv: is UTF-16 text: convert it to UTF-8",
        )
    assert place.accounts() == {"a.csv": (1, 1, 0, 0)}
    assert place.refused() == []


def test_a_file_that_fails_while_it_is_read_leaves_nothing_of_its_own(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder in a file's place opens for nobody, as a file of a failing disk."""
    place.put("a.csv", GOOD)
    bad = place.put("b.csv", GOOD.replace("u", "v"))
    parser = read_raw.FilesParser

    def too_late(*rules: Any) -> Any:
        bad.unlink()
        bad.mkdir()
        return parser(*rules)

    with monkeypatch.context() as patch:
        patch.setattr(read_raw, "FilesParser", too_late)
        summary = place.ingest()
    assert (summary.files, summary.records, summary.unreadable) == (
        1,
        1,
        ("b.csv: Is a directory",),
    )
    assert place.accounts() == {"a.csv": (1, 1, 0, 0)}
    assert [row[1] for row in place.events()] == ["u"]


def test_rows_of_a_file_that_fails_at_its_end_are_not_taken(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.csv", "b.csv"):
        place.put(name, GOOD.replace("u", name), "bad")
    parser = read_raw.FilesParser

    def failing_at_its_end(*rules: Any) -> Any:
        parse = parser(*rules)

        def rows(batches: Any) -> Any:
            for batch in parse(batches):
                of_b = pc.equal(batch["source_file"], "b.csv")
                end_of_b = pc.and_(pc.equal(batch["kind"], "file"), of_b)
                changed = {"kind": "unreadable", "reason": "Input/output error"}
                columns = {
                    name: pc.if_else(end_of_b, changed[name], batch[name])
                    if name in changed
                    else batch[name]
                    for name in batch.schema.names
                }
                yield pa.record_batch(columns, batch.schema)

        return rows

    with monkeypatch.context() as patch:
        patch.setattr(read_raw, "FilesParser", failing_at_its_end)
        assert place.ingest().unreadable == ("b.csv: Input/output error",)
    assert place.accounts() == {"a.csv": (2, 1, 0, 1)}
    assert place.refused() == [("a.csv", 3)]
    place.ingest()
    assert set(place.accounts()) == {"a.csv", "b.csv"}
    assert len(place.events()) == 2


def test_where_no_file_can_be_read_that_is_the_error(place: Place) -> None:
    (place.landing / "gone.csv").symlink_to(place.landing / "nowhere")
    with pytest.raises(HourglassError, match=r"^gone\.csv: No such file.*no file in .* can be"):
        place.ingest()
    assert set(place.lake.snapshots().values()) == {None}


def no_space(*_: Any, **__: Any) -> NoReturn:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


# Where files are read, where tables' are written, and at commits: the last, or each.
SPOTS: tuple[tuple[object, str], ...] = (
    (ingest_module, "read_raw_files"),
    (InProcessEngine, "stage"),
    (Lake, "record_filled"),
    (Lake, "replace"),
    (ingest_module, "commit_audits"),
)


@pytest.mark.parametrize(
    "spots",
    [
        pytest.param(SPOTS[:3], id="some"),
        pytest.param(SPOTS, id="all", marks=pytest.mark.nightly),
    ],
)
def test_a_full_disk_is_told_in_one_sentence_and_a_rerun_completes(
    place: Place,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    spots: tuple[tuple[object, str], ...],
) -> None:
    first, second = fuzzed(seed=21, files=8), fuzzed(seed=22, files=8)
    quiet = Place(tmp_path / "quiet", place.compute)
    for each in (place, quiet):
        for log in first:
            log.put(each.landing)
        each.ingest()
        for log in second:
            log.put(each.landing)
    quiet.ingest(CLOCK)
    before = place.lake.state()
    for where, name in spots:
        with monkeypatch.context() as patch:
            patch.setattr(where, name, no_space)
            with pytest.raises(
                HourglassError, match=r"no space is left on the disk of .*; "
            ) as told:
                place.ingest(CLOCK)
        assert "\n" not in str(told.value)
        assert place.lake.state() == before
    place.ingest(CLOCK)
    assert place.content() == quiet.content()
    assert place.accounts() == quiet.accounts()
    assert not list(place.settings.path("scratch").glob("parsed-*"))


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["compute", pytest.param("on_spark", marks=pytest.mark.nightly)])
def test_a_disk_that_really_is_full_is_told(
    request: pytest.FixtureRequest, tmp_path: Path, engine: str
) -> None:
    """This process, or Spark's workers, meet the end of a small disk, mounted for the purpose."""
    place = Place(tmp_path, request.getfixturevalue(engine))
    import subprocess

    # What is parsed on the way lies in Spark's scratch folder; without Spark only tables are files.
    place.lake.snapshots()
    small = Path(local_path(place.lake.table(EVENTS).location())) / "data"
    small.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no disk can be mounted here")
    try:
        lines = [f"{NOW - n % 3600},{os.urandom(15).hex()},{n},,," for n in range(60_000)]
        place.put("a.csv", *lines)
        with pytest.raises(HourglassError, match="no space is left on the disk of"):
            place.ingest()
        assert place.rows(SOURCE_FILES) == []
        more = ["mount", "-o", "remount,size=64m", str(small)]
        subprocess.run(more, check=True)
        assert place.ingest().accepted == 60_000
        assert len(place.rows(SOURCE_FILES)) == 1
    finally:
        # A worker whose task failed may hold its file for a moment still.
        subprocess.run(["umount", "-l", str(small)], check=True)


@pytest.mark.parametrize("inside", ["work", ""], ids=["beside the logs", "in one folder with them"])
def test_a_lake_among_the_logs_is_not_taken_in(
    tmp_path: Path, compute: Compute, inside: str
) -> None:
    place = Place(tmp_path, compute)
    root = place.landing
    source = place.settings.source.model_copy(update={"items_path": root / "items.csv"})
    place.settings = place.settings.model_copy(update={"work": root / inside, "source": source})
    place.lake = Lake(place.settings.resolved_catalog_uri, place.settings.resolved_warehouse)
    place.put("a.csv", GOOD)
    (root / "items.csv").write_text("item_id\ni\n")
    assert place.ingest().files == 1
    again = place.ingest()
    assert (again.files, again.unreadable) == (0, ())
