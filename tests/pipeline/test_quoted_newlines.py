"""Records whose quoted fields hold line ends: read both ways, and in spans."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_columns import (
    BOUNDS,
    COLUMNS,
    HEADER,
    HOUR,
    NOW_S,
    RULES,
    _left_to_lines,
    check,
    check_spans,
    csv_line,
    values,
)

from pipeline.errors import UsageError
from pipeline.ingest.parse import PARSED, file_rows
from pipeline.settings.settings import Settings
from pipeline.settings.source import SourceSettings
from pipeline.sources import Source, compression, lines, source_for
from pipeline.sources.delimited import OPEN_QUOTE

NOT_CLOSED = OPEN_QUOTE.reason


def delimited(**settings: Any) -> Source:
    shape = {"name": "delimited", "columns": COLUMNS, "quoted_newlines": True}
    return source_for(SourceSettings(**(shape | settings)))


CSV = delimited()
SOURCES = {
    "csv": CSV,
    "tsv": delimited(delimiter="\t"),
    "apostrophe": delimited(delimiter=";", quote="'"),
    "no header": delimited(header=False, field_names=tuple(HEADER)),
    "untrimmed": delimited(trim=False, bad_values="refuse"),
    "no key": source_for(SourceSettings(name="delimited", quoted_newlines=True)),
    "ignore": delimited(
        nothing=("null", "\n"),
        ignore=(
            {"column": "device", "matches": "^x.y$"},
            {"column": "test", "matches": "line$"},
            {"column": "visit", "equals": ("u1", "0"), "name": "zero"},
        ),
    ),
}
#: Lines of which each opens a quote, closes one or does neither, alone or not.
PIECES = [
    b'"', b'""', b'"""', b'x"', b'",', b',"', b'x","', b"", b" ", b"\r", b"a\rb", b'"a"\r', b"\0",
    b"\xff", b"x" * 301, b'"' + b"x" * 301, b"y" * 120, b'"x" ', b'5" disk,', b",,,,,,,,",
    b"%d,u,i,view,,,,," % NOW_S, b'%d,u,i,view,,,,,"' % NOW_S, b'%d,u,i,view,,,,,"open' % NOW_S,
    b'%d,u,i,view,,,,"both","' % NOW_S, b'closed"', "é".encode() * 140, b"\xef\xbb\xbf",
]  # fmt: skip
SEVERAL_LINES = ["x\ny", "\n", "a\n\nb", "\nlast", "first\n", "a\n1,2\n", 'say\n"x"', "u1\n"]


@st.composite
def records(draw: st.DrawFn) -> list[str]:
    fields = draw(values())
    for at in draw(st.lists(st.integers(0, len(fields) - 1), max_size=2)):
        fields[at] = draw(st.sampled_from([fields[at] + "\n", "\n" + fields[at], *SEVERAL_LINES]))
    return fields


LOGS = st.lists(
    st.one_of(
        st.tuples(records(), st.integers(0, 5)),
        st.tuples(records(), st.just(2)),
        st.sampled_from(PIECES),
    ),
    max_size=10,
)


@pytest.fixture(scope="module", params=[48, 1 << 16])
def bytes_at_once(request: pytest.FixtureRequest) -> Iterator[int]:
    """Files are read by little, so that records lie on both sides of what is read at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compression, "CHUNK_BYTES", request.param)
        patch.setattr(lines, "CHUNK_BYTES", request.param)
        yield request.param


def content_of(source: Any, log: list[Any], end: bytes, closed: bool, marked: bool) -> bytes:
    raw = []
    if source.has_header:
        raw.append(source.delimiter.join(HEADER).encode())
    for line in log:
        if isinstance(line, bytes):
            marks = bytes.maketrans(b',"', (source.delimiter + source.quote).encode())
            raw.append(line.translate(marks))
        else:
            style = 1 if line[1] in (0, 2) and "\n" in "".join(line[0]) else line[1]
            text = csv_line(line[0], source.delimiter, source.quote, style).encode()
            raw.append(text.replace(b"\n", end))
    return (b"\xef\xbb\xbf" if marked else b"") + end.join(raw) + (end if closed else b"")


@pytest.mark.parametrize("name", SOURCES)
@given(log=LOGS, end=st.sampled_from([b"\n", b"\r\n"]), closed=st.booleans(), marked=st.booleans())
def test_columns_of_records_are_what_the_records_say(
    tmp_path_factory: pytest.TempPathFactory,
    bytes_at_once: int,
    name: str,
    log: list[Any],
    end: bytes,
    closed: bool,
    marked: bool,
) -> None:
    content = content_of(SOURCES[name], log, end, closed, marked)
    check(tmp_path_factory.getbasetemp() / "records.csv", content, SOURCES[name])


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "shift_jis", "utf-7"])
@given(texts=st.lists(st.sampled_from([*PIECES, 'ポ"\né'.encode(), b"\xe9\x83|"])))
def test_records_of_other_encodings(
    tmp_path_factory: pytest.TempPathFactory, encoding: str, texts: list[bytes]
) -> None:
    log = [b'%d,"caf\xe9",i,view,,,,,"%b"' % (NOW_S, text) for text in texts]
    content = b"\n".join([",".join(HEADER).encode(), *log])
    check(tmp_path_factory.getbasetemp() / "encoded.csv", content, CSV, encoding)


def rows_of(path: Path, content: bytes, source: Source = CSV) -> list[dict[str, Any]]:
    """Both ways and in spans the same; as the line parser has them, but for the last row."""

    check(path, content, source)
    rows = file_rows(path, "in/a.csv", HOUR, BOUNDS, source, "utf-8", RULES)
    return [dict(zip(PARSED.names, row, strict=True)) for row in rows]


HEAD = (",".join(HEADER) + "\n").encode()


def record(device: str, user: str = "u") -> bytes:
    return f'{NOW_S},{user},i,view,,,,"{device}",\n'.encode()


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_record_has_the_line_on_which_it_begins(tmp_path: Path, end: bytes) -> None:
    content = HEAD + record("a\nb\n\nc") + b"\n" + record("d") + b'bad,"\n"\n' + record("e")
    rows = rows_of(tmp_path / "a", content.replace(b"\n", end))
    assert [row["line"] for row in rows] == [2, 7, 8, 10, None]
    # Whatever ends its lines, of its text they end as on any machine.
    assert rows[0]["context"] == [("device", "a\nb\n\nc")]
    assert (rows[2]["reason"], rows[2]["raw"]) == ("2 fields where 9 were expected", 'bad,"\n"')
    assert rows[-1]["records"] == 4


def test_a_quote_that_is_never_closed_costs_one_line(tmp_path: Path) -> None:
    good = record("d").replace(b'"', b"")
    for far in (b"", b"x" * 290 + b"\n", b"\n" * 400, b'x"y"z\n' * 200):
        content = HEAD + record("open")[:-3] + b"\n" + good * 3 + far + good
        *rows, last, _ = rows_of(tmp_path / "a", content)
        assert [row["reason"] for row in rows[:4]] == [NOT_CLOSED, None, None, None]
        assert last["kind"] == "event"
    # It is found where another quote is out of place, however near that is.
    rows = rows_of(tmp_path / "a", HEAD + record("open")[:-3] + b"\n" + record("a\nb") + good)
    assert [row["reason"] for row in rows] == [NOT_CLOSED, None, None, None]
    assert [row["line"] for row in rows] == [2, 3, 5, None]


def test_a_record_may_be_as_long_as_any_and_no_longer(tmp_path: Path) -> None:
    short = len(record("\n")) - 1
    most = RULES.max_record_chars - short
    for letter in "xé":
        rows = rows_of(tmp_path / "a", HEAD + record(letter * most + "\n"))
        assert [row["kind"] for row in rows] == ["event", "file"]
        rows = rows_of(tmp_path / "a", HEAD + record(letter * most + "x\n"))
        assert rows[0]["reason"] == NOT_CLOSED
        assert (rows[1]["line"], rows[-1]["records"]) == (3, 2)


def test_a_header_may_have_several_lines(tmp_path: Path) -> None:
    columns = COLUMNS.model_copy(update={"context": {"device": "the\ndevice"}})
    source = delimited(columns=columns)
    head = HEAD.replace(b"device", b'"the\ndevice"')
    rows = rows_of(tmp_path / "a", b"\n\n" + head + record("x\ny") + record("z") * 9, source)
    assert [row["line"] for row in rows[:3]] == [5, 7, 8]
    rows = rows_of(tmp_path / "a", b'"' + HEAD + record("x"))
    assert [row["line"] for row in rows] == [2, None]
    assert rows[-1]["reason"] == f"its first line cannot be read as a header: {NOT_CLOSED}"


def test_clean_records_do_become_columns(tmp_path: Path) -> None:
    text = (HEAD + record("a\n\nb") + record("\n") * 3 + record("é\n")).decode()
    assert _left_to_lines(tmp_path / "a", text, CSV) == 0
    text += (record('a""\n') + b'5" disk,\n' + record("\n") + record("a\n")).decode()
    assert _left_to_lines(tmp_path / "a", text, CSV) == 2


def test_spans_are_not_cut_within_quotes(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(HEAD + b"".join(record("x" * 9 + "\n" * 9) for _ in range(40)))
    assert check_spans(path, CSV, "utf-8", RULES, 1) == 41
    assert check_spans(path, CSV, "utf-8", RULES, 64) == 21
    path.write_bytes(HEAD + b"".join(record('x"\n' * 9) for _ in range(40)))
    assert check_spans(path, CSV, "utf-8", RULES, 1) > 300


def test_a_packed_file_that_ends_within_quotes_is_damaged(tmp_path: Path) -> None:
    text = b"".join(record(f"{os.urandom(60).hex()}\n{NOW_S},u,i,view,,,,,\n") for _ in range(2000))
    packed = gzip.compress(HEAD + text, mtime=0)
    for size in range(len(packed) // 2, len(packed) // 2 + 200, 40):
        rows = rows_of(tmp_path / "a", packed[:size])
        *events, torn, end = rows
        assert {row["kind"] for row in events} == {"event"}
        assert torn["reason"] == f"gzip stream is cut off after line {torn['line'] - 1}"
        assert torn["line"] == 3 * len(events) + 2
        assert end["records"] == len(events) + 1


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"quote": None}, r"quoted_newlines .* source.quote is null: remove one of them"),
        ({"quote": '""'}, "is not one character"),
        ({"quote": ","}, "source.delimiter and source.quote are both ','"),
        ({"name": "json_lines"}, "quoted_newlines is set, but source 'json_lines' fixes it"),
        ({"name": "parquet"}, "quoted_newlines is set, but source 'parquet' fixes it"),
        ({"name": "access_log"}, "quoted_newlines is set, but source 'access_log' fixes it"),
        ({"name": "movielens"}, "fixes it: remove the setting, or name the source 'delimited'"),
    ],
    ids=str,
)
def test_where_it_makes_no_sense_it_is_refused(settings: dict[str, Any], sentence: str) -> None:
    shape = {"name": "delimited", "quoted_newlines": True} | settings
    with pytest.raises(UsageError, match=sentence):
        source_for(SourceSettings(**shape))


def test_settings_without_it_are_those_of_before() -> None:
    def digest(**source: Any) -> str:
        return Settings(source=SourceSettings(name="delimited", **source)).digest("source")

    assert digest() == digest(quoted_newlines=False) != digest(quoted_newlines=True)
    rules = source_for(SourceSettings(name="delimited")).rules()
    assert "quoted_newlines" not in rules
