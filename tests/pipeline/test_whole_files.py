"""Files that are no log of the kind that the settings tell are named, and nothing vanishes."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import pytest
from fuzzed_logs import H0
from fuzzed_logs import HEADER as COLUMNS
from landing_place import COUNTS, Place

from pipeline.ingest.ingest import IngestSummary
from pipeline.ingest.parse import TOO_LATE, Bounds, file_rows
from pipeline.ingest.refusals import Refusals
from pipeline.ingest.summary import refused_lines
from pipeline.lake.tables import QUARANTINE
from pipeline.settings.source import ColumnSettings, SourceSettings
from pipeline.settings.tables import IngestSettings
from pipeline.sources import source_for
from pipeline.spark.compute import Compute

NOW = H0.index * 3600
HEADER = "event_time,user_id,item_id\n"
RECORDS = f"{NOW},u,a\n{NOW},u,b\n"
RETURN = "holds a carriage return"
NO_COLUMN = "the file's header has no column 'event_time'"
NO_HEADER = "the file has no header line that can be read"
CSV: dict[str, Any] = {"name": "delimited"}
BARE: dict[str, Any] = {
    "name": "delimited",
    "header": False,
    "field_names": ("event_time", "user_id", "item_id"),
}
JSON: dict[str, Any] = {"name": "json_lines"}
CUT = ", source.delimiter (',') what stands between columns"


def no_column(columns: str, more: str = "") -> str:
    """What is wrong with a file that has these columns."""
    return (
        f"no column 'event_time' among its columns: {columns}; source.columns.event_time says "
        f"which column holds the event_time{more}"
    )


OBJECTS = "".join(f'{{"event_time":{NOW},"user_id":"u","item_id":"{i}"}}\n' for i in "ab")


# By what is wrong: the format, the file, how many events, the reasons of the lines that are
# none, and what is said of the file as a whole.
FILES: dict[str, tuple[dict[str, Any], bytes, int, list[str], str | None]] = {
    "good": (CSV, (HEADER + RECORDS).encode(), 2, [], None),
    "an hour without events": (CSV, HEADER.encode(), 0, [], None),
    "and without a newline": (CSV, HEADER.strip().encode(), 0, [], None),
    "dos": (CSV, (HEADER + RECORDS).replace("\n", "\r\n").encode(), 2, [], None),
    "empty": (CSV, b"", 0, [], None),
    "returns only": (
        CSV,
        (HEADER + RECORDS).replace("\n", "\r").encode(),
        0,
        [RETURN],
        f"its first line cannot be read as a header: {RETURN}",
    ),
    "returns, then newlines": (
        CSV,
        (HEADER + RECORDS).replace("\n", "\r").encode() + b"\n" + RECORDS.encode(),
        0,
        [RETURN, NO_HEADER, NO_HEADER],
        f"its first line cannot be read as a header: {RETURN}",
    ),
    "returns after the header": (
        CSV,
        HEADER.encode() + RECORDS.replace("\n", "\r").encode(),
        0,
        [RETURN],
        f"none of its lines can be read: {RETURN}",
    ),
    "line separators": (
        CSV,
        (HEADER + RECORDS).replace("\n", "\u2028").encode(),
        0,
        [RETURN],
        f"its first line cannot be read as a header: {RETURN}",
    ),
    "a return in a quoted name": (
        CSV,
        b'event_time,user_id,item_id,"two\rlines"\n' + RECORDS.replace("\n", ",\n").encode(),
        2,
        [],
        None,
    ),
    "a return in a quoted field": (CSV, f'{HEADER}{NOW},u,"a\rb"\n'.encode(), 1, [], None),
    "a record for a header": (
        CSV,
        f"{NOW},u,a\n".encode(),
        0,
        [NO_COLUMN],
        no_column(f"{NOW}, u, a"),
    ),
    "records below no header": (
        CSV,
        f"{NOW},u,a\n{NOW},u,b\n".encode(),
        0,
        [NO_COLUMN, NO_COLUMN],
        no_column(f"{NOW}, u, a"),
    ),
    "and cut by another delimiter": (
        CSV,
        f'{NOW};"u";a\n{NOW};u;b\n'.encode(),
        0,
        [NO_COLUMN, NO_COLUMN],
        no_column(f'{NOW};"u";a', CUT),
    ),
    "and the first of them torn": (
        CSV,
        f'{NOW},"u,a\n{NOW},u,b\n'.encode(),
        0,
        [NO_HEADER, NO_HEADER],
        "its first line cannot be read as a header: a quote is not closed or is out of place",
    ),
    "a page for a log": (
        CSV,
        b"<html>502 Bad Gateway</html>",
        0,
        [NO_COLUMN],
        no_column("<html>502 Bad Gateway</html>", CUT),
    ),
    "another header": (
        CSV,
        b"time,who,what\n1,u,a\n",
        0,
        [NO_COLUMN],
        no_column("time, who, what"),
    ),
    "another delimiter": (
        CSV,
        HEADER.replace(",", ";").encode() + b"1;u;a\n",
        0,
        [NO_COLUMN],
        no_column("event_time;user_id;item_id", CUT),
    ),
    "a column twice": (
        CSV,
        b"event_time,user_id,user_id,item_id\n1,u,v,a\n",
        0,
        ["the file's header has 2 columns called 'user_id'"],
        "2 columns called 'user_id' among its columns: event_time, user_id, user_id, item_id; "
        "source.columns.user_id says which column holds the user_id",
    ),
    "a quote in the header": (
        CSV,
        b'event_time,"user_id,item_id\n1,u,a\n',
        0,
        [NO_HEADER],
        "its first line cannot be read as a header: a quote is not closed or is out of place",
    ),
    "returns, no header": (
        BARE,
        RECORDS.replace("\n", "\r").encode(),
        0,
        [RETURN],
        f"none of its lines can be read: {RETURN}",
    ),
    "json with returns": (
        JSON,
        OBJECTS.replace("\n", "\r").encode(),
        0,
        [RETURN],
        f"none of its lines can be read: {RETURN}",
    ),
    "one object, a return at its end": (
        JSON,
        OBJECTS.splitlines()[0].encode() + b"\r",
        1,
        [],
        None,
    ),
    "json in utf-16": (
        JSON,
        OBJECTS.encode("utf-16-le"),
        0,
        ["holds a NUL byte"] * 3,
        "none of its lines can be read: holds a NUL byte",
    ),
    "bad json": (JSON, b"{}}\n[]\n", 0, ["not valid JSON", "not a JSON object"], None),
}


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize(
    ("source", "content", "events", "reasons", "fault"), FILES.values(), ids=list(FILES)
)
def test_every_file_is_accounted_for(
    tmp_path: Path,
    source: dict[str, Any],
    content: bytes,
    events: int,
    reasons: list[str],
    fault: str | None,
    packed: bool,
) -> None:
    path = tmp_path / "log"
    path.write_bytes(gzip.compress(content, mtime=0) if packed else content)
    columns = ColumnSettings()
    rows = list(
        file_rows(
            path,
            "log",
            H0,
            Bounds((NOW + 3600) * 1_000_000),
            source_for(SourceSettings(columns=columns, **source)),
            "utf-8",
            IngestSettings(),
        )
    )
    *parsed, last = rows
    assert [row[0] for row in parsed].count("event") == events
    assert [row[12] for row in parsed if row[0] == "refused"] == reasons
    assert (last[0], last[12], last[14]) == ("file", fault, events + len(reasons))


def test_a_gzip_file_of_newlines_costs_little_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "log.gz"
    content = (HEADER + RECORDS).encode() + b"\n" * (64 << 20) + RECORDS.encode()
    path.write_bytes(gzip.compress(content, mtime=0))
    source = source_for(SourceSettings(**CSV))
    bounds = Bounds((NOW + 3600) * 1_000_000)
    *parsed, last = file_rows(path, "log.gz", H0, bounds, source, "utf-8", IngestSettings())
    assert [row[0] for row in parsed] == ["event", "event", "refused"]
    assert "holds over 200 times its size (ingest.max_expansion)" in parsed[2][12]
    assert last[14] == 3


def test_what_cannot_be_taken_in_is_named_and_all_else_is(tmp_path: Path, compute: Compute) -> None:
    place = Place(tmp_path, compute)
    source = SourceSettings(name="delimited", path=place.landing)
    place.settings = place.settings.model_copy(update={"source": source})
    secret = tmp_path / "secret.csv"
    secret.write_text(f"{HEADER}{NOW},spy,a\nsecret\n")
    place.put(f"{H0}/good.csv", f"{NOW},u,a", "bad", "bad,,", header=HEADER.strip())
    place.put("idle.csv", header=HEADER.strip())
    place.put("none.csv", f"{NOW},,a", f"{NOW},u,", f"{NOW},v,", header=HEADER.strip())
    (place.landing / "returns.csv").write_bytes((HEADER + RECORDS).replace("\n", "\r").encode())
    (place.landing / "out.csv").symlink_to(secret)
    (place.landing / f"{H0 + 1}").symlink_to(tmp_path)
    odd = os.fsdecode(b"caf\xe9.csv")
    (place.landing / odd).write_text(HEADER + RECORDS)
    summary = place.ingest()
    assert [getattr(summary, name) for name in COUNTS] == [7, 1, 0, 6]
    leaves = "a link that leads out of source.path: put the file itself there"
    assert sorted(summary.unreadable) == sorted(
        [
            f"{H0 + 1}: {leaves}",
            f"out.csv: {leaves}",
            r"caf\xe9.csv: its name is not UTF-8: rename it",
        ]
    )
    assert summary.unfit == (f"returns.csv: its first line cannot be read as a header: {RETURN}",)
    assert refused_lines(summary).splitlines() == [
        "",
        f"6 quarantined: no item_id 2, no user_id 2, 1 fields where 3 were expected 1, {RETURN} 1",
        "no record of none.csv became an event: no item_id 2, no user_id 1: source.columns says "
        "which column holds it",
        f"no record of returns.csv became an event: {RETURN} 1",
    ]
    assert all("secret" not in str(row) for row in place.rows(QUARANTINE))


@pytest.mark.parametrize(
    ("reason", "setting"),
    [
        ("event_time is before ingest.earliest", "source.time_unit"),
        ("event_time is not a number", "source.columns.event_time"),
        ("event_type is not one of the known types", "source.event_types"),
        (TOO_LATE, None),
        ("not valid JSON", "a line is a record"),
        ("not a JSON object", "a line is a record"),
        ("a quote is not closed or is out of place", None),
    ],
)
def test_a_file_without_an_event_leads_to_the_setting(reason: str, setting: str | None) -> None:
    refusals = Refusals({reason: 7, "other": 1}, {"a.csv": {reason: 7, "other": 1}})
    (*_, line) = refused_lines(IngestSummary(1, 0, quarantined=8, refusals=refusals)).splitlines()
    assert line.startswith(f"no record of a.csv became an event: {reason} 7, other 1")
    assert (setting in line) if setting else line.endswith("other 1")


def test_unknown_event_types_are_named_with_the_most_frequent_first(
    tmp_path: Path, compute: Compute
) -> None:
    place = Place(tmp_path, compute)
    source = SourceSettings(
        name="delimited",
        path=place.landing,
        columns=ColumnSettings(event_type="type"),
        event_types=("view",),
    )
    place.settings = place.settings.model_copy(update={"source": source})
    types = ["view", "beat", "view ", "beat", "x" * 50, *(f"t{n}" for n in range(9))]
    lines = [f"{NOW + n},u,a,{name}" for n, name in enumerate(types)]
    place.put("a.csv", *lines, f"{NOW},,a,odd", header=f"{HEADER.strip()},type")
    summary = place.ingest()
    assert summary.refusals.reasons == {
        "event_type is not one of the known types": 12,
        "no user_id": 1,
    }
    (_, _, line) = refused_lines(summary).split("\n")
    assert line == "unknown event types: 'beat' 2, 't0' 1, 't1' 1, 't2' 1, 't3' 1 and others"
    long = Refusals({"r": 2}, types={"x" * 50: 1, "view ": 1})
    (*_, line) = refused_lines(IngestSummary(1, 0, quarantined=2, refusals=long)).split("\n")
    assert line == f"unknown event types: '{'x' * 40}...' 1, 'view ' 1"


def test_where_nothing_has_ever_become_an_event_the_command_fails(
    tmp_path: Path, compute: Compute
) -> None:
    from pipeline.cli import _refuse_left_out
    from pipeline.errors import HourglassError
    from pipeline.ingest.metadata.item_user_tables import LoadedMetadata

    place = Place(tmp_path, compute)
    source = SourceSettings(name="delimited", path=place.landing)
    place.settings = place.settings.model_copy(update={"source": source})
    place.put("a.csv", "soon,u,a", "later,u,a", header=HEADER.strip())
    summary = place.ingest()
    assert summary.no_event_yet
    with pytest.raises(HourglassError, match=r"^2 records were read and there is no event yet"):
        _refuse_left_out(summary, LoadedMetadata({}))
    place.put("b.csv", f"{NOW},u,a", header=HEADER.strip())
    place.ingest()
    # From then on a file of noise is a warning with its reasons, and stops nothing.
    place.put("c.csv", "soon,u,a", header=HEADER.strip())
    summary = place.ingest()
    assert (summary.quarantined, summary.no_event_yet) == (1, False)
    assert "no record of c.csv became an event" in refused_lines(summary)
    _refuse_left_out(summary, LoadedMetadata({}))


def test_what_is_left_out_ends_the_command_with_its_reasons() -> None:
    from pipeline.cli import _refuse_left_out
    from pipeline.errors import HourglassError
    from pipeline.ingest.ingest import IngestSummary
    from pipeline.ingest.metadata.item_user_tables import LoadedMetadata

    _refuse_left_out(IngestSummary(1, 0), LoadedMetadata({}, former_faults=("as before",)))
    done = IngestSummary(1, 0, unreadable=("a: x", "b: y"), unfit=("c: z",))
    metadata = LoadedMetadata({}, faults=tuple(f"line {n}" for n in range(7)))
    with pytest.raises(HourglassError) as caught:
        _refuse_left_out(done, metadata)
    assert str(caught.value) == (
        "2 files left out, all others were taken in; a: x; b: y; "
        "1 file in quarantine as a whole; c: z; "
        "items, users, people: left out: line 0; line 1; line 2; line 3; line 4; 2 more"
    )


def test_a_file_that_is_not_read_to_its_end_ends_with_an_error(
    tmp_path: Path, compute: Compute
) -> None:
    from pipeline.cli import _refuse_left_out
    from pipeline.errors import HourglassError
    from pipeline.ingest.metadata.item_user_tables import LoadedMetadata

    place = Place(tmp_path, compute)
    lines = "\n".join(f"{H0.index * 3600 + n},u{n},i,,k{n}," for n in range(3000))
    whole = gzip.compress(f"{COLUMNS}\n{lines}\n".encode())
    path = place.landing / "a.csv.gz"
    path.write_bytes(whole[: len(whole) // 2])
    summary = place.ingest()
    (reason,) = summary.refusals.damaged.values()
    assert summary.accepted > 0
    sentence = r"^1 file not read to the end.*a\.csv\.gz: gzip stream is cut off"
    with pytest.raises(HourglassError, match=sentence):
        _refuse_left_out(summary, LoadedMetadata({}))
    assert reason.startswith("gzip stream is cut off after line ")
    path.write_bytes(whole)
    again = place.ingest()
    _refuse_left_out(again, LoadedMetadata({}))
    assert len(place.events()) == 3000
