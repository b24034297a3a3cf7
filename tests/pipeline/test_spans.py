"""Large files in spans, read by several processes: the same lake, or a clear refusal."""

from __future__ import annotations

import gzip
import io
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fuzzed_logs import H0, HEADER
from landing_place import CLOCK, Place
from staging import NO_SPARK
from test_columns import CSV, JSON, LOGS, NOW_S, RULES, check_spans
from test_columns import HEADER as COLUMNS
from test_deliveries import random_logs
from test_engines import ON_DISK, tables
from worker_jobs import Parser, workers_left

from pipeline.engine import on_disk
from pipeline.errors import HourglassError
from pipeline.ingest import read_raw
from pipeline.ingest.columns.batches import FilesParser
from pipeline.ingest.spans import plan
from pipeline.lake.tables import SOURCE_FILES
from pipeline.settings.source import ColumnSettings, SourceSettings
from pipeline.sources import Source, source_for
from pipeline.spark.compute import Compute

GOOD = [f"{H0.index * 3600},u{nth},i,,k{nth}," for nth in range(40)]
HEAD = ",".join(COLUMNS).encode()
ROW = b"%d,u,i,view,,k,,," % NOW_S
LOG = b'h - - [14/Mar/2016:13:00:00 +0000] "GET /a HTTP/1.1" 200 512'
RECORD = b'{"event_time":%d,"who":{"id":"u"},"item":"i"}' % NOW_S


@pytest.fixture
def many_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little is shared out as if it were much, on a machine of three cores."""
    monkeypatch.setattr(on_disk, "_BYTES_PER_WORKER", 1)
    monkeypatch.setattr(on_disk, "_BYTES_PER_JOB", 200)
    monkeypatch.setattr(on_disk, "usable_cores", lambda: 3)
    monkeypatch.setattr(plan, "SPAN_BYTES", 64)


@pytest.fixture
def place(tmp_path: Path, many_workers: None) -> Place:
    return Place(tmp_path, ON_DISK)


def nothing_is_left(place: Place) -> bool:
    scratch = place.settings.path("scratch")
    return not list(scratch.glob("*")) and not workers_left()


CUT: dict[str, tuple[Source, bytes]] = {
    "records": (CSV, b"\n".join([HEAD, *[ROW] * 9])),
    "a mark": (CSV, b"\xef\xbb\xbf" + b"\n".join([HEAD, *[ROW] * 9]) + b"\n"),
    "CRLF": (CSV, b"\r\n".join([HEAD, *[ROW] * 9, b""])),
    "blank lines before its header": (CSV, b"\n" * 200 + b"\n".join([HEAD, *[ROW] * 9])),
    "blank lines between": (CSV, b"\n".join([HEAD, *[ROW, b" ", b"", b"\r"] * 9])),
    "a record longer than spans": (CSV, b"\n".join([HEAD, ROW, ROW + b"x" * 500, ROW, ROW])),
    "a last record longer than spans": (CSV, b"\n".join([HEAD, *[ROW] * 5, ROW + b"x" * 999])),
    "bytes that are no text": (CSV, b"\n".join([HEAD, *[ROW, b"\xff\n" + ROW] * 9])),
    "nothing but what is no record": (JSON["json"], b"\x00\n" * 99),
    "no record in its first spans": (JSON["json"], b"\n" * 150 + RECORD),
    "none that can be read but in one": (JSON["json"], b"\0\n" * 99 + RECORD + b"\n\0" * 99),
    "log lines": (LOGS["log"], b"\n".join([LOG] * 9)),
}  # fmt: skip


@pytest.mark.parametrize("name", CUT)
def test_spans_say_what_the_file_says(tmp_path: Path, name: str) -> None:
    source, content = CUT[name]
    path = tmp_path / "a"
    path.write_bytes(content)
    assert check_spans(path, source, "utf-8", RULES, 64) > 2


def test_spans_end_behind_the_line_that_makes_them_large_enough(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"ab\n\nabcde\n\n\nabcd\n\nab")
    with (tmp_path / "a").open("rb") as raw:
        assert plan._spans(raw, 20, 4) == [(0, 4, 0), (4, 10, 2), (10, 17, 3), (17, 20, 6)]
        assert plan._spans(raw, 20, 17) == [(0, 17, 0), (17, 20, 6)]
        assert plan._spans(raw, 21, 4) == [], "it ends before"


WHOLE: dict[str, bytes] = {
    "packed": gzip.compress(b"\n".join([HEAD, *[ROW + os.urandom(9).hex().encode()] * 99])),
    "a header without a column": b"\n".join([b"event_time,user_id", *[ROW] * 9]),
    "a header that is no text": b"\n".join([b"\xff", *[ROW] * 9]),
    "a header that holds records": b"\r".join([HEAD, *[ROW] * 9]) + b"\n" + ROW,
    "another kind of file": b"PK\x03\x04" + b"\n" * 200,
    "no line end": HEAD + b"," * 200,
    "one line": HEAD + b"\n",
}


@pytest.mark.parametrize("name", WHOLE)
def test_what_only_the_whole_file_can_say_is_not_cut(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a"
    path.write_bytes(WHOLE[name])
    assert check_spans(path, CSV, "utf-8", RULES, 64) == 1


def test_a_log_whose_lines_need_those_before_is_not_cut(tmp_path: Path) -> None:
    path = tmp_path / "combined_data_1.txt"
    path.write_text("1:\n" + "1488844,3,2005-09-06\n" * 40)
    netflix = source_for(SourceSettings(name="netflix"))
    assert check_spans(path, netflix, "utf-8", RULES, 64) == 1


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.nightly)])
def test_the_tables_do_not_depend_on_who_reads(
    tmp_path: Path, many_workers: None, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    places = [
        Place(tmp_path / name, compute) for name, compute in (("one", NO_SPARK), ("many", ON_DISK))
    ]
    logs = random_logs(seed)
    for run in range(2):
        summaries = []
        for place in places:
            for log in logs:
                content = log.content
                path = log.put(place.landing)
                # First the beginning of each, then all of it.
                if run == 0:
                    path.write_bytes(content[: len(content) // 2])
                os.utime(path, (NOW_S + run, NOW_S + run))
            summaries.append(place.ingest())
        assert summaries[0] == summaries[1]
        assert tables(places[0]) == tables(places[1])
        assert summaries[0].accepted
    assert nothing_is_left(places[1])


def test_files_are_read_by_several_processes(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were they not, nothing above would show it."""
    jobs: list[Any] = []
    shared_out = on_disk.shared_out

    def counting(all_jobs: Any, *rest: Any) -> Any:
        jobs.extend(all_jobs)
        return shared_out(all_jobs, *rest)

    monkeypatch.setattr(on_disk, "shared_out", counting)
    place.put("a.csv", *GOOD)
    for nth in range(9):
        place.put(f"{nth}.csv", GOOD[0])
    assert place.ingest().accepted == 40
    assert len(jobs) > 5
    assert sum(len(job) for job in jobs) > len(jobs), "what is small is handed out together"


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("killed", "was ended by signal 9; nothing was committed"),
        ("full", "no space is left on the disk of .*; what was committed before stands"),
    ],
)
def test_a_process_that_fails_commits_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch, kind: str, message: str
) -> None:
    place.put("a.csv", *GOOD)
    place.put("b.csv", *GOOD)
    parser: Callable[..., Any] = read_raw.FilesParser
    with monkeypatch.context() as patch:
        patch.setattr(read_raw, "FilesParser", lambda *rules: Parser(parser(*rules), "b.csv", kind))
        with pytest.raises(HourglassError, match=message):
            place.ingest()
    assert not place.rows(SOURCE_FILES)
    assert not list(place.settings.resolved_warehouse.rglob("*.parquet"))
    assert nothing_is_left(place)
    assert place.ingest().accepted == 40


def cut_short(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def other_content(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"u1", b"v1"))


def other_file(path: Path) -> None:
    content, facts = path.read_bytes().replace(b"u1", b"v1"), path.stat()
    path.unlink()
    path.with_name("a.tmp").write_bytes(content)
    os.utime(path.with_name("a.tmp"), ns=(facts.st_atime_ns, facts.st_mtime_ns))
    path.with_name("a.tmp").rename(path)


def a_link_outside(path: Path) -> None:
    path.rename(path.parents[1] / "a.csv")
    path.symlink_to(path.parents[1] / "a.csv")


CHANGED = "a.csv: changed while it was read: run the command again when it is complete"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (cut_short, CHANGED),
        (other_content, CHANGED),
        (other_file, CHANGED),
        (Path.unlink, "a.csv: No such file or directory"),
        (a_link_outside, "a.csv: Too many levels of symbolic links"),
    ],
)
def test_a_file_that_changes_between_its_spans_is_not_taken_in(
    place: Place,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Path], None],
    reason: str,
) -> None:
    path = place.put("a.csv", *GOOD)
    place.put("b.csv", GOOD[0].replace("u0", "b"), GOOD[2])
    parser: Callable[..., Any] = read_raw.FilesParser

    def after_a_change(*rules: Any) -> FilesParser:
        change(path)
        parse: FilesParser = parser(*rules)
        return parse

    with monkeypatch.context() as patch:
        patch.setattr(read_raw, "FilesParser", after_a_change)
        assert place.ingest().unreadable == (reason,)
    assert set(place.accounts()) == {"b.csv"}
    assert len(place.events()) == 2


def test_a_file_that_grows_while_it_is_read_is_read_to_its_former_end(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = place.put("a.csv", *GOOD[:20])
    parser: Callable[..., Any] = read_raw.FilesParser

    def after_more(*rules: Any) -> FilesParser:
        with path.open("a") as more:
            more.write("\n".join([*GOOD[20:], ""]))
        parse: FilesParser = parser(*rules)
        return parse

    with monkeypatch.context() as patch:
        patch.setattr(read_raw, "FilesParser", after_more)
        assert place.ingest().accepted == 20
    assert place.ingest(CLOCK + timedelta(minutes=1)).records == 40
    assert len(place.events()) == 40


def test_a_file_that_grew_since_it_was_listed_is_not_cut(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = place.put("a.csv", *GOOD[:20])
    cut_files = read_raw.cut_files
    cut: list[Any] = []

    def after_more(*arguments: Any) -> Any:
        with path.open("a") as more:
            more.write("\n".join([*GOOD[20:], ""]))
        cut.append(cut_files(*arguments))
        return cut[0]

    monkeypatch.setattr(read_raw, "cut_files", after_more)
    assert place.ingest().accepted == 40
    assert cut == [{}]


TABLE = {
    "event_time": pa.array([H0.index * 3600] * 400, pa.int64()),
    "user_id": [f"u{nth}" if nth % 50 else "" for nth in range(400)],
    "item_id": ["i"] * 400,
    "price": [1.5] * 400,
    "id": [f"k{nth % 300}" for nth in range(400)],
    "device": ["pc"] * 400,
}
OF_TABLES = {"value": "price", "event_key": "id", "context": {"device": "device"}}


@pytest.mark.parametrize("is_damaged", [False, True])
@pytest.mark.parametrize("key", ["id", ("id", "device")])
def test_tables_do_not_depend_on_who_reads_tables(
    tmp_path: Path,
    many_workers: None,
    monkeypatch: pytest.MonkeyPatch,
    is_damaged: bool,
    key: str | tuple[str, ...],
) -> None:
    """By several columns of the key only the parser of single records makes events."""
    groups: list[int] = []
    made_from = on_disk.OnDiskEngine.made_from

    def counting(self: Any, inputs: Any, *rest: Any) -> Any:
        groups.append(inputs.num_rows)
        return made_from(self, inputs, *rest)

    monkeypatch.setattr(on_disk.OnDiskEngine, "made_from", counting)
    places = []
    for name, compute in (("one", NO_SPARK), ("many", ON_DISK)):
        place = Place(tmp_path / name, compute)
        columns = ColumnSettings(**{**OF_TABLES, "event_key": key})
        source = SourceSettings(name="parquet", path=place.landing, columns=columns, time_unit="s")
        place.settings = place.settings.model_copy(update={"source": source})
        for file, user in (("a.parquet", "u"), ("b.parquet", "v")):
            content = io.BytesIO()
            users = [each.replace("u", user) for each in TABLE["user_id"]]
            rows = pa.table({**TABLE, "user_id": users})
            pq.write_table(rows, content, row_group_size=50, write_page_checksum=True)
            raw = bytearray(content.getvalue())
            if is_damaged and user == "v":
                # Of a page in its fourth group.
                column = pq.ParquetFile(content).metadata.row_group(3).column(1)
                raw[column.data_page_offset + column.total_compressed_size // 2] ^= 0xFF
            (place.landing / file).write_bytes(raw)
            os.utime(place.landing / file, (NOW_S, NOW_S))
        summary = place.ingest()
        assert summary.records == (800 if not is_damaged else 400 + 151)
        assert summary.files == 2
        places.append(place)
    assert tables(places[0]) == tables(places[1])
    assert groups == ([16, 1] if is_damaged else [16])
    assert nothing_is_left(places[1])


@pytest.mark.nightly
def test_spark_reads_the_same_spans(
    tmp_path: Path, on_spark: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "SPAN_BYTES", 64)
    places = [
        Place(tmp_path / name, compute)
        for name, compute in (("one", NO_SPARK), ("spark", on_spark))
    ]
    cut: list[Any] = []
    cut_files = read_raw.cut_files

    def noting(*arguments: Any) -> Any:
        cut.append(cut_files(*arguments))
        return cut[-1]

    monkeypatch.setattr(read_raw, "cut_files", noting)
    for place in places:
        path = place.put("a.csv", *GOOD, "bad", "\0", header="\ufeff" + HEADER)
        os.utime(path, (NOW_S, NOW_S))
        assert place.ingest().accepted == 40
    assert tables(places[0]) == tables(places[1])
    (of_spark,) = cut
    assert len(of_spark["a.csv"].spans) > 10
