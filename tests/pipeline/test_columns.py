"""Columns and lines make the same rows of every file: the line parser is the oracle."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.hours import Hour
from pipeline.ingest.columns.batches import file_batches
from pipeline.ingest.columns.content_keys import content_keys
from pipeline.ingest.landing.zone import Arrival, find_raw_files
from pipeline.ingest.parse import PARSED, Bounds, batch_of, content_key, file_rows
from pipeline.ingest.spans.close import closing_of
from pipeline.ingest.spans.plan import cut_files
from pipeline.settings.source import ColumnSettings, SourceSettings
from pipeline.settings.tables import IngestSettings
from pipeline.sources import ParsedEvent, Source, source_for
from pipeline.sources.columns.fields import event_maker
from pipeline.sources.columns.types import TextColumns
from pipeline.sources.field_rules import NO_RULES
from pipeline.sources.tables.source import TableSource

SEED = int(os.environ.get("HOURGLASS_TEST_SEED", "0"))
HOUR = Hour.parse("2016-03-14T13")
NOW_S = HOUR.index * 3600
RULES = IngestSettings(max_record_chars=300, max_id_chars=12)
BOUNDS = Bounds(
    (NOW_S + 7200) * 1_000_000,
    (NOW_S - 7200) * 1_000_000,
    [((NOW_S - 86_400) * 1_000_000, (NOW_S - 80_000) * 1_000_000)],
)
COLUMNS = ColumnSettings(
    event_type="kind",
    value="price",
    event_key="id",
    given_session="visit",
    context={"device": "device", "ab": "test"},
)
HEADER = ["event_time", "user_id", "item_id", "kind", "price", "id", "visit", "device", "test"]


def delimited(**settings: Any) -> Source:
    return source_for(SourceSettings(name="delimited", columns=COLUMNS, **settings))


CSV = delimited()
SOURCES = {
    "csv": CSV,
    "types": delimited(event_types=("view", "buy")),
    "ms": delimited(time_unit="ms"),
    "us": delimited(time_unit="us"),
    "iso8601": delimited(time_unit="iso8601"),
    "tsv": delimited(delimiter="\t", quote=None),
    "apostrophe": delimited(delimiter=";", quote="'"),
    "no header": delimited(header=False, field_names=tuple(HEADER)),
    "epoch": delimited(epoch="2016-03-01T00"),
    "no key": source_for(SourceSettings(name="delimited")),
    "untrimmed": delimited(trim=False, bad_values="refuse"),
    "nothing": delimited(nothing=("NULL", "null", "-", "0", "phone")),
    "nothing untrimmed": delimited(nothing=("NULL", "a'b"), trim=False),
    "zone": delimited(time_unit="iso8601", timezone="Europe/Berlin"),
    "ns": delimited(time_unit="ns"),
    "decimal": delimited(delimiter=";", decimal=",", nothing=("-", "0")),
    "decimal ms": delimited(delimiter="\t", quote=None, decimal=",", time_unit="ms", trim=False),
    "decimal iso8601": delimited(delimiter=";", decimal=",", time_unit="iso8601"),
    "decimal delimiter": delimited(decimal=",", bad_values="refuse"),
    "ignore": delimited(
        nothing=("null",),
        ignore=(
            {"event_types": ("buy",), "column": "test", "present": True},
            {"column": "device", "matches": "^say"},
            {"column": "visit", "equals": ("u1", "0"), "name": "zero"},
        ),
    ),
}
JSON_COLUMNS = ColumnSettings(
    user_id="who.id", item_id="item", event_type="kind", value="price", event_key="id",
    context={"device": "who.device", "deep": "a.b.c"},
)  # fmt: skip
JSON = {
    "json": source_for(SourceSettings(name="json_lines", columns=JSON_COLUMNS)),
    "iso8601": source_for(
        SourceSettings(name="json_lines", columns=JSON_COLUMNS, time_unit="iso8601")
    ),
    "ignore": source_for(
        SourceSettings(
            name="json_lines",
            columns=JSON_COLUMNS,
            time_unit="s",
            nothing=("null", "u1"),
            ignore=({"column": "a.b.c", "present": True}, {"event_types": ("1.50",)}),
        )
    ),
    "untrimmed": source_for(
        SourceSettings(name="json_lines", columns=JSON_COLUMNS, time_unit="s", trim=False)
    ),
    "through": source_for(
        SourceSettings(
            name="json_lines",
            columns=ColumnSettings(user_id="who", context={"device": "who.device"}),
        )
    ),
    "explode": source_for(
        SourceSettings(
            name="json_lines", explode="y", columns=ColumnSettings(user_id="who", item_id="item")
        )
    ),
    "pairs": source_for(
        SourceSettings(
            name="json_lines",
            columns=ColumnSettings(user_id="who[id]", item_id="item", given_session="y[a].b"),
        )
    ),
}
LOGS = {
    "log": source_for(SourceSettings(name="access_log", header=False)),
    "ignore": source_for(
        SourceSettings(
            name="access_log",
            header=False,
            ignore=(
                {"column": "user_agent", "robots": True},
                {"column": "response", "equals": ("404", "408")},
                {"column": "host", "matches": "^h$", "present": True},
            ),
        )
    ),
    "referer": source_for(
        SourceSettings(
            name="access_log",
            header=False,
            timezone="America/New_York",
            ignore=({"column": "referer", "present": True},),
        )
    ),
}


def slow_rows(path: Path, source: Source, encoding: str, rules: IngestSettings) -> list[str]:
    rows = list(file_rows(path, "in/a.csv", HOUR, BOUNDS, source, encoding, rules))
    return sorted(map(repr, batch_of(rows).to_pylist()))


def fast_rows(
    path: Path, source: Source, encoding: str, rules: IngestSettings, block_bytes: int
) -> list[str]:
    batches = file_batches(
        path, "in/a.csv", HOUR, BOUNDS, source, encoding, rules, block_bytes=block_bytes
    )
    rows = pa.Table.from_batches(batches, PARSED)
    rows.validate(full=True)
    return sorted(map(repr, rows.to_pylist()))


def check(path: Path, content: bytes, source: Source, encoding: str = "utf-8") -> list[str]:
    path.write_bytes(content)
    expected = slow_rows(path, source, encoding, RULES)
    for block_bytes in (1, 200, 1 << 20):
        assert fast_rows(path, source, encoding, RULES, block_bytes) == expected
    for span_bytes in (1, 64):
        check_spans(path, source, encoding, RULES, span_bytes)
    return expected


def check_spans(
    path: Path, source: Source, encoding: str, rules: IngestSettings, span_bytes: int
) -> int:
    """A file in spans says what it says whole, if it is cut; returns into how many."""
    (file,), _ = find_raw_files(path, "*", lambda _: None, HOUR.start)
    arrival = Arrival(replace(file, source_file="in/a.csv"), "")
    cut = cut_files([arrival], source, encoding, rules, span_bytes)
    if not cut:
        return 1
    spans = cut["in/a.csv"].spans
    content = path.read_bytes()
    if not isinstance(source, TableSource):
        assert b"".join(content[span.start : span.stop] for span in spans) == content
    rows = [
        SimpleNamespace(**row)
        # In any order: each is read on its own.
        for span in reversed(spans)
        for batch in file_batches(
            path, "in/a.csv", HOUR, BOUNDS, source, encoding, rules, block_bytes=100, span=span
        )
        for row in batch.to_pylist()
    ]
    whole = file_rows(path, "in/a.csv", HOUR, BOUNDS, source, encoding, rules)
    *expected, end = (SimpleNamespace(**row) for row in batch_of(list(whole)).to_pylist())
    ends = [row for row in rows if row.kind == "file"]
    assert len(ends) == len(spans)
    assert sorted(repr(row) for row in rows if row.kind != "file") == sorted(map(repr, expected))
    assert sum(row.records for row in ends) == end.records
    assert sum(row.late for row in ends) == end.late
    assert closing_of(ends) == closing_of([end])
    assert [fault.reason for fault in closing_of(ends).unfit] == (
        [end.reason] if end.reason else []
    )
    return len(spans)


TIMES = [
    *(f"{NOW_S + s}" for s in (0, 60, 3600, 10_000, -10_000, -82_000, -10**9)),
    *("", " ", "0", "-5", "1e9", "+12", "0x10", "12.", ".5", "12a", "9" * 12, "9" * 20),
    *(f"{NOW_S}.5", f"{NOW_S}.1234567", f" {NOW_S}", f"{NOW_S}.", f"{NOW_S}.{'3' * 70}", "٣"),
    *(f"{NOW_S},5", f"{NOW_S},1234567", f"{NOW_S}.5,5", f"{NOW_S},", f"{NOW_S}123,9", ",5", "0,0"),
    *(f"{NOW_S}000", f"{NOW_S}123.9", f"{NOW_S}000123", f"{NOW_S * 10**6}.7"),
    *("2016-03-14T13:00:00Z", "2016-03-14 13:00:00", "2016-03-14T13:00:00.123+02:00"),
    *("2016-03-14 13:00:00 UTC", "2016-02-30T00:00:00Z", "2016-03-14T24:00:00", "2016-03-14"),
    *("2016-03-14T13:00:00.1Z", "20160314T130000Z", "2016-03-14T13:00:60Z", "0000-01-01T00:00:00"),
    *("2016-03-14T13:00:00.123456-23:59", "2016-03-14T13:00Z", "2016-03-14T13:00:00+24:00"),
    *("9999-12-31T23:59:59-23:00", "0001-01-01T00:00:00+10:00", "2016-03-14T13:00:00 Z"),
]  # fmt: skip
IDS = [
    "u1",
    "NULL",
    "u1 ",
    "\x1du1",
    "",
    " ",
    "a'b",
    "a\\b",
    "ü",
    "\u2003",
    "\x1f",
    "x" * 13,
    "x" * 12,
    "é" * 12,
    " u",
    "0",
]
NUMBERS = ["", " ", "1", "-0", "-0.0", "0.0", "9.95", "1e5", "nan", "inf", "1_0", " 7", "5.", ".5",
           "1" * 16, "0.1", "123456789012345.123456789012345", "٣",
           "9,95", "1.234,5", "1,234,5", "1,5e3", ",5", "5,", "-0,0",
           "12345,678901234567", " 7,5", "-"]  # fmt: skip
KINDS = ["view", " view", "null", "buy", "", " ", "Ω"]
TEXTS = [
    "",
    "NULL",
    " NULL",
    "\x1cnull",
    "phone",
    "a,b",
    'say "x"',
    "\ttab",
    "\x85",
    "\u2028",
    "new\nline",
    "null",
    "\ufeff",
]


def values() -> st.SearchStrategy[list[str]]:
    columns = (TIMES, IDS, IDS, KINDS, NUMBERS, IDS, TEXTS, TEXTS, TEXTS)
    # Mostly clean, so that single faults meet rows that are columns.
    return st.tuples(
        *(st.one_of(st.just(c[0]), st.just(c[0]), st.sampled_from(c)) for c in columns)
    ).map(list)


def csv_line(fields: list[str], delimiter: str, quote: str, style: int) -> str:
    if style == 0:
        return delimiter.join(fields)
    quoted = [f"{quote}{field}{quote}" for field in fields]
    if style == 1:
        return delimiter.join(quoted)
    if style == 2:
        return delimiter.join(
            q.replace(quote, quote * 2)[1:-1] if quote in f else f
            for q, f in zip(quoted, fields, strict=True)
        )
    if style == 3:
        return delimiter.join([*fields, ""])
    if style == 4:
        return delimiter.join([quoted[0] + " ", *fields[1:]])
    return delimiter.join([quote + fields[0], *fields[1:]])


ODD_LINES = [
    b"", b" ", b"   \t", b"\r", b"a\rb", b"nul\0", b"\xff\xfe", b'"', b",,,,,,,,", b"x" * 301,
    "é".encode() * 299, b"\xef\xbb\xbf", b'""', b'"""",1', b",", b"{}", b"[1]",
]  # fmt: skip
LINES = st.lists(
    st.one_of(
        st.tuples(values(), st.integers(0, 5)),
        st.tuples(values(), st.just(0)),
        st.sampled_from(ODD_LINES),
    ),
    max_size=12,
)
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r\r\n"])


@pytest.mark.parametrize("name", SOURCES)
@given(lines=LINES, end=ENDS, closed=st.booleans(), marked=st.booleans())
@example(lines=[], end=b"\n", closed=False, marked=False)
@example(lines=[b"\xef\xbb\xbf1,2"], end=b"\n", closed=True, marked=True)
def test_columns_of_delimited_lines_are_what_the_lines_say(
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
    lines: list[Any],
    end: bytes,
    closed: bool,
    marked: bool,
) -> None:
    source: Any = SOURCES[name]
    quote = source.quote or '"'
    raw = [
        line
        if isinstance(line, bytes)
        else csv_line(line[0], source.delimiter, quote, line[1]).encode()
        for line in lines
    ]
    if source.has_header:
        raw.insert(0, source.delimiter.join(HEADER).encode())
    content = (b"\xef\xbb\xbf" if marked else b"") + end.join(raw) + (end if closed else b"")
    check(tmp_path_factory.getbasetemp() / "lines.csv", content, source)


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-8-sig", "shift_jis", "ascii"])
@given(texts=st.lists(st.binary(min_size=1, max_size=8), max_size=8))
def test_columns_of_other_encodings(
    tmp_path_factory: pytest.TempPathFactory, encoding: str, texts: list[bytes]
) -> None:
    lines = [b"%d,%b,i,view,,,,," % (NOW_S, text) for text in texts]
    content = b"\n".join([",".join(HEADER).encode(), *lines])
    check(tmp_path_factory.getbasetemp() / "encoded.csv", content, CSV, encoding)


RAW_VALUES = [
    '"u1"', "5", "-0", "-0.0", "1.50", "1e5", "true", "null", "[1]", "{}", '"a\\u0000"',
    '"\\ud800"',
    '"a\\"b"', '""', '" "', "01", "1.", "NaN", "-", '"ü"', '"tab\t"', '"\\/"', "9" * 70, "1" * 5000,
    '{"a":1}', '"' + "x" * 13 + '"', '"\\u00e9"', "1E5", "-1", "0",
]  # fmt: skip
JSON_TIMES = [f"{NOW_S}", f"{NOW_S}.25", f'"{NOW_S}"', '"2016-03-14T13:00:00Z"', *RAW_VALUES]


@st.composite
def json_lines(draw: st.DrawFn) -> str:
    def raw(usual: str, others: list[str]) -> str:
        return draw(st.one_of(st.just(usual), st.just(usual), st.sampled_from(others)))

    pairs = [("event_time", raw(f"{NOW_S}", JSON_TIMES)), ("item", raw('"i"', RAW_VALUES))]
    user, device = raw('"u"', RAW_VALUES), raw('"phone"', RAW_VALUES)
    pairs.append(("who", raw(f'{{"id":{user},"device":{device}}}', RAW_VALUES)))
    optional = [("price", "1.5"), ("id", '"k"'), ("kind", '"buy"'), ("who.id", '"dotted"')]
    optional += [("other", '"x"'), ("\\u0069tem", '"escaped"'), ("a", '{"b":{"c":"deep"}}')]
    optional += [("a", '{"b":1}'), ("user_id", '"u"'), ("item_id", '"i"'), ("item", '"twice"')]
    for key, usual in optional:
        if draw(st.booleans()):
            pairs.append((key, raw(usual, RAW_VALUES)))
    gap = draw(st.sampled_from(["", "", " ", "\t"]))
    body = ",".join(
        f'{gap}"{key}"{gap}:{gap}{value}' for key, value in draw(st.permutations(pairs))
    )
    ending = draw(st.sampled_from(["", "", "", ",", " x", "}"]))
    return f"{{{body}}}{ending}"


@pytest.mark.parametrize("name", JSON)
@given(
    lines=st.lists(st.one_of(json_lines().map(str.encode), st.sampled_from(ODD_LINES)), max_size=8),
    end=ENDS,
)
@example(lines=[b'{"a":' * 2000 + b"1" + b"}" * 2000], end=b"\n")
def test_columns_of_json_lines_are_what_the_lines_say(
    tmp_path_factory: pytest.TempPathFactory, name: str, lines: list[bytes], end: bytes
) -> None:
    check(tmp_path_factory.getbasetemp() / "lines.jsonl", end.join(lines), JSON[name])


LOG_TIMES = ["14/Mar/2016:13:00:00 +0000", "14/Mar/2016:13:00:00", "14/mar/2016:13:00:00 +0000",
             "30/Feb/2016:13:00:00 +0000", "14/Mar/2016:13:00:00 -2359",
             "14/Mar/2016:25:00:00 +0000",
             "14/Mar/2016:13:00:00 +2400", "14/Mar/0000:00:00:00 +0000", "", "now"]  # fmt: skip
LOG_HOSTS = [
    "198.51.100.1",
    "h",
    "shop.example:443 198.51.100.1",
    "198.51.100.1, 10.0.0.1",
    "[2001:db8::1]:55555",
    "[::1]",
    "[2001:db8::9]:443",
    "blog.example 198.51.100.1:80",
    "ü",
    "a b",
    "\x1f",
    "x" * 13,
    "-",
]
LOG_REQUESTS = ["GET /a HTTP/1.1", "POST /b?c=1", "-", "", "GET", "get /a  HTTP/1.0 ", 'GET /a\\"b',
                "GET /\x0b", "GET /a b HTTP/1.1", "\\x16\\x03"]  # fmt: skip
LOG_ENDS = [
    "200 512", "- -", "200 -", '404 0 "-" "agent"', "20 1", "200 1x", "200", "200 5 \u2028",
    '200 1 "-" "Googlebot/2.1"', '200 1 "r" "a" "x"', '200 1 "r"',
]  # fmt: skip


@pytest.mark.parametrize("name", LOGS)
@given(
    lines=st.lists(
        st.tuples(
            *(
                st.one_of(st.just(c[0]), st.just(c[0]), st.sampled_from(c))
                for c in (LOG_HOSTS, LOG_TIMES, LOG_REQUESTS, LOG_ENDS)
            )
        ).map(lambda p: f'{p[0]} - - [{p[1]}] "{p[2]}" {p[3]}'.encode())
        | st.sampled_from(ODD_LINES),
        max_size=8,
    ),
    end=ENDS,
)
def test_columns_of_log_lines_are_what_the_lines_say(
    tmp_path_factory: pytest.TempPathFactory, name: str, lines: list[bytes], end: bytes
) -> None:
    check(tmp_path_factory.getbasetemp() / "access.log", end.join(lines), LOGS[name])


def test_clean_lines_do_become_columns(tmp_path: Path) -> None:
    """Were all left to the line parser, nothing above would show it."""
    texts = {
        "csv": f'{NOW_S},u1,i1,view,9.95,,"v, 1",phone,\n{NOW_S}.5,ü,i2,,,k,,,b\n',
        "iso8601": (
            "2016-03-14T13:00:00Z,u1,i1,view,,,,,\n2016-03-14 13:00:00.123,u2,i1,view,,,,,\n"
        ),
    }
    for name in ("csv", "iso8601"):
        source = SOURCES[name]
        text = ",".join(HEADER) + "\n" + texts[name]
        assert _left_to_lines(tmp_path / "a", text, source) == 0
    lines = f'{{"event_time":{NOW_S}.5,"who":{{"id":7}},"item":"i","price":1.5,"x":[{{}}]}}\n'
    assert _left_to_lines(tmp_path / "b", lines, JSON["json"]) == 0
    log = 'h - - [14/Mar/2016:13:00:00 +0100] "GET /a HTTP/1.1" 200 512 "-" "agent"\n'
    assert _left_to_lines(tmp_path / "c", log, LOGS["log"]) == 0
    assert _left_to_lines(tmp_path / "d", log + "odd\n", LOGS["log"]) == 1


def _left_to_lines(path: Path, text: str, source: Source) -> int:
    """How many lines the line parser is asked for."""
    path.write_text(text, encoding="utf-8")
    asked_for: list[str] = []
    parser = type(source).parser

    def counting(self: Any, header: str | None, name: str) -> Callable[[str], Any]:
        parse = parser(self, header, name)

        def counted(line: str) -> Any:
            asked_for.append(line)
            return parse(line)

        return counted

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(source), "parser", counting)
        list(file_batches(path, "a", HOUR, BOUNDS, source, "utf-8", RULES))
    return len(asked_for)


@given(
    st.lists(
        st.tuples(
            st.integers(-(10**15), 10**16),
            st.text(min_size=1),
            st.sampled_from(["view", "b'uy", "k\\"]),
            st.none() | st.floats(allow_nan=False, allow_infinity=False),
            st.none() | st.text(min_size=1),
        ),
        min_size=1,
    )
)
def test_keys_of_columns_are_those_of_records(records: list[tuple[Any, ...]]) -> None:
    times, users, kinds, numbers, visits = zip(*records, strict=True)
    n = len(records)
    make = event_maker("us", Hour(0), "view", (), NO_RULES)
    assert make is not None
    events = make(
        TextColumns(
            np.arange(n),
            {
                "event_time": pa.array(["0"] * n),
                "user_id": pa.array(["u"] * n),
                "item_id": pa.array(["i"] * n),
            },
            {},
            {},
        )
    )
    events = events._replace(
        event_time_us=np.array(times),
        user_id=pa.array(users),
        event_type=pa.array(kinds),
        value=pa.array(numbers, pa.float64()),
        given_session=pa.array(visits, pa.string()),
    )
    keys = content_keys(events).to_pylist()
    for nth, (time_us, user, kind, number, visit) in enumerate(records):
        event = ParsedEvent(time_us, user, "i", kind, number, visit, {}, None)
        assert keys[nth] == content_key(event)


@pytest.mark.nightly
def test_a_million_random_records_are_the_same_both_ways(tmp_path: Path) -> None:
    rng = random.Random(SEED)
    records = int(os.environ.get("HOURGLASS_TEST_RECORDS", "1000000"))
    columns = (TIMES, IDS, IDS, KINDS, NUMBERS, IDS, TEXTS, TEXTS, TEXTS)
    per_file = 20_000
    for _ in range(records // per_file):
        name = rng.choice([name for name in SOURCES if name != "no key"])
        source: Any = SOURCES[name]
        lines = [source.delimiter.join(HEADER)] if source.has_header else []
        for _ in range(per_file):
            fields = [rng.choice(c) if rng.random() < 0.05 else c[0] for c in columns]
            style = rng.randrange(6) if rng.random() < 0.1 else 0
            lines.append(csv_line(fields, source.delimiter, source.quote or '"', style))
        path = tmp_path / "many.csv"
        path.write_text("\n".join(lines), encoding="utf-8", newline="")
        assert fast_rows(path, source, "utf-8", RULES, 1 << 18) == slow_rows(
            path, source, "utf-8", RULES
        )


@st.composite
def tables_of_records(draw: st.DrawFn) -> pa.Table:
    n = draw(st.integers(0, 6))
    texts = st.lists(st.sampled_from(IDS + KINDS + [None]), min_size=n, max_size=n)
    times = st.lists(st.sampled_from([NOW_S, 0, NOW_S + 10**6, None]), min_size=n, max_size=n)
    seconds = draw(times)
    if draw(st.booleans()):
        time = pa.array([s and s * 1000 for s in seconds], pa.timestamp("ms"))
    else:
        time = pa.array(seconds, pa.int64())
    price = draw(st.sampled_from([[1.5] * n, [None] * n, ["x"] * n, [[1]] * n, [float("nan")] * n]))
    return pa.table(
        {
            "event_time": time,
            "user_id": pa.array(draw(texts), pa.string()),
            "item_id": pa.array(draw(texts), pa.string()),
            "kind": pa.array(draw(texts), pa.string()),
            "price": price if n else pa.array([], pa.float64()),
            "id": pa.array(draw(texts), pa.string()),
            "visit": pa.array([7] * n, pa.int64()),
            "who": pa.array([{"device": "d", "test": t} for t in draw(texts)] if n else [],
                            pa.struct([("device", pa.string()), ("test", pa.string())])),
            "items": pa.array([[{"id": "a"}, {"id": "b\0"}, {"id": None}][: n % 4]] * n,
                              pa.list_(pa.struct([("id", pa.string())]))),
        }
    )  # fmt: skip


TABLE_COLUMNS = ColumnSettings(
    event_type="kind",
    value="price",
    event_key="id",
    given_session="visit",
    context={"device": "who.device", "ab": "who.test"},
)
TABLES = {
    "plain": SourceSettings(name="parquet", columns=TABLE_COLUMNS),
    "exploded": SourceSettings(
        name="parquet",
        columns=TABLE_COLUMNS.model_copy(update={"item_id": "items.id"}),
        explode="items",
    ),
    "rules": SourceSettings(
        name="parquet",
        columns=TABLE_COLUMNS,
        nothing=("NULL", "d"),
        ignore=(
            {"column": "who.test", "matches": "u1"},
            {"event_types": ("view",), "column": "user_id", "equals": ("u1",)},
        ),
    ),
    "keys": SourceSettings(
        name="parquet",
        columns=TABLE_COLUMNS.model_copy(
            update={"event_key": ("id", "who.test"), "user_fallback": "item_id"}
        ),
    ),
}


@pytest.mark.parametrize("name", TABLES)
@given(table=tables_of_records(), rows=st.integers(1, 3))
def test_columns_of_tables_are_what_their_records_say(
    tmp_path_factory: pytest.TempPathFactory, name: str, table: pa.Table, rows: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "records.parquet"
    pq.write_table(table, path, row_group_size=rows)
    source = source_for(TABLES[name])
    assert fast_rows(path, source, "utf-8", RULES, 1) == slow_rows(path, source, "utf-8", RULES)
    assert check_spans(path, source, "utf-8", RULES, 1) == max(-(-len(table) // rows), 1)


GOOD = b'"event_time":%d,"item":"i","who":{"id":"u"}' % NOW_S
ODD_FILES: dict[str, tuple[Source, bytes]] = {
    "two records on a line and a blank one": (JSON["json"], b"{%b}{%b}\n\t\n" % (GOOD, GOOD)),
    "a record over two lines": (JSON["json"], b'{%b,\n"y":1}\n{%b}{%b}\n' % (GOOD, GOOD, GOOD)),
    "a list that another line closes": (JSON["json"], b'{%b,"y":[{}\n{}]}\n{}{}\n' % GOOD),
    "more digits than Python reads": (JSON["json"], b'{%b,"x":%b}\n' % (GOOD, b"1" * 4301)),
    "a mark after a line that is none": (
        CSV,
        b",".join(map(str.encode, ["user_id", "item_id", "event_time", *HEADER[3:]]))
        + b"\nbad\n\xef\xbb\xbfu1,i,%d,,,,,,\n\xef\xbb\xbfu2,i,%d,,,,,," % (NOW_S, NOW_S),
    ),
    "a NUL before text that is cut": (CSV, b"event_time\n\0" + "€".encode() * 70_000),
    "and before bytes that are none": (CSV, b"event_time\n\0" + b"\xff" * 70_000),
    "bytes that are no text among text": (
        CSV,
        b",".join(map(str.encode, HEADER))
        + "".join(f"\n{NOW_S},ü,i,,,,,," for _ in range(3)).encode()
        + b"\n\xff,u\n\xc3"
        + f"\n{NOW_S},é,i,,1e-05,,,,\n{NOW_S},é,i,,0.12345678901234567,,,,".encode(),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD_FILES)
def test_odd_files_are_read_the_same_both_ways(tmp_path: Path, name: str) -> None:
    source, content = ODD_FILES[name]
    path = tmp_path / "odd"
    path.write_bytes(content)
    for max_record_chars in (300, 65_536):
        rules = IngestSettings(max_record_chars=max_record_chars)
        expected = slow_rows(path, source, "utf-8", rules)
        assert len(expected) > 1
        for block_bytes in (1, 100, 1 << 16, 1 << 20, 4 << 20):
            assert fast_rows(path, source, "utf-8", rules, block_bytes) == expected
        for span_bytes in (1, 100, 1 << 16):
            check_spans(path, source, "utf-8", rules, span_bytes)


@pytest.mark.parametrize("path", ['utm "source"', "back\\slash", "tab\t"])
def test_names_that_json_escapes_are_read(tmp_path: Path, path: str) -> None:
    columns = ColumnSettings(context={"x": path})
    source = source_for(SourceSettings(name="json_lines", columns=columns, time_unit="s"))
    record = {"event_time": NOW_S, "user_id": "u", "item_id": "i", path: "v"}
    check(tmp_path / "a", json.dumps(record).encode(), source)


@pytest.mark.parametrize("trim", [True, False])
def test_a_key_that_means_nothing_is_none_of_elements(tmp_path: Path, trim: bool) -> None:
    table = pa.table(
        {
            "event_time": pa.array([NOW_S, NOW_S]),
            "user_id": ["u", "u"],
            "items": [["a", "b"], ["a"]],
            "id": ["NULL", " NULL"],
        }
    )
    path = tmp_path / "a.parquet"
    pq.write_table(table, path)
    columns = ColumnSettings(item_id="items", event_key="id")
    source = source_for(
        SourceSettings(
            name="parquet", columns=columns, explode="items", nothing=("NULL",), trim=trim
        )
    )
    expected = slow_rows(path, source, "utf-8", RULES)
    assert "NULL#" not in "".join(expected)
    assert fast_rows(path, source, "utf-8", RULES, 1) == expected


def test_a_typed_time_that_means_nothing_is_none(tmp_path: Path) -> None:
    times = pa.array([0, 1], pa.timestamp("us"))
    table = pa.table({"event_time": times, "user_id": ["u"] * 2, "item_id": ["i"] * 2})
    path = tmp_path / "a.parquet"
    pq.write_table(table, path)
    source = source_for(SourceSettings(name="parquet", nothing=("0",)))
    rules = IngestSettings(earliest="1900-01-01T00")
    expected = slow_rows(path, source, "utf-8", rules)
    assert fast_rows(path, source, "utf-8", rules, 1) == expected


def test_lines_without_end_are_held_a_few_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "many"
    path.write_bytes(b"a\n" * 100_000)
    batches = file_batches(path, "a", HOUR, BOUNDS, CSV, "utf-8", RULES)
    assert max(len(batch) for batch in batches) <= 20_000
