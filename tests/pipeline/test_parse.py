from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.hours import Hour
from pipeline.ingest.parse import PARSED, TOO_LATE, Bounds, batch_of, content_key, file_rows
from pipeline.settings.source import ColumnSettings, SourceSettings
from pipeline.settings.tables import IngestSettings
from pipeline.sources import ParsedEvent, source_for

HOUR = Hour.parse("2016-03-14T13")
HOUR_US = 3_600_000_000
NOW_S = HOUR.index * 3600
LATEST_US = (NOW_S + 3600 + 300) * 1_000_000
BELIEVED = Bounds(LATEST_US)

CSV = source_for(
    SourceSettings(
        name="delimited",
        columns=ColumnSettings(value="price", event_key="id", context={"device": "device"}),
    )
)
HEADER = "event_time,user_id,item_id,price,id,device\n"
JSON = source_for(SourceSettings(name="json_lines", time_unit="s"))


def rows_of(
    path: Path,
    content: str | bytes,
    source: Any = CSV,
    bounds: Bounds = BELIEVED,
    **rules: Any,
) -> list[dict[str, Any]]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    rows = file_rows(path, "in/a.csv", HOUR, bounds, source, "utf-8", IngestSettings(**rules))
    return [dict(zip(PARSED.names, row, strict=True)) for row in rows]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.csv"


def reasons(rows: list[dict[str, Any]]) -> list[str | None]:
    return [row["reason"] for row in rows if row["kind"] != "file"]


def test_a_line_becomes_an_event_in_the_hour_of_its_own_time(path: Path) -> None:
    event, footer = rows_of(path, HEADER + f"{NOW_S - 1}.5,u1,i1,9.95,k1,phone\n")
    assert event == {
        "kind": "event",
        "hour": (HOUR.index - 1) * HOUR_US,
        "event_time": (NOW_S - 1) * 1_000_000 + 500_000,
        "user_id": "u1",
        "item_id": "i1",
        "event_type": "view",
        "value": 9.95,
        "given_session": None,
        "context": [("device", "phone")],
        "event_key": "k1",
        "source_file": "in/a.csv",
        "line": 2,
        "reason": None,
        "raw": None,
        "records": None,
        "late": None,
        "tally": None,
    }
    assert (footer["kind"], footer["records"], footer["source_file"]) == ("file", 1, "in/a.csv")


def test_a_bad_line_is_kept_as_it_was_in_the_hour_of_arrival(path: Path) -> None:
    refused, _ = rows_of(path, HEADER + "\nsoon,u1,i1,,,\n")
    assert refused["kind"] == "refused"
    assert refused["hour"] == HOUR.index * HOUR_US
    assert (refused["line"], refused["raw"]) == (3, "soon,u1,i1,,,")
    assert refused["reason"] == "event_time is not a number"
    assert refused["event_time"] is refused["event_key"] is None


def test_the_footer_counts_records_and_neither_header_nor_blank_lines(path: Path) -> None:
    rows = rows_of(path, HEADER + f"\n{NOW_S},u,i,,,\r\n  \nbroken\n\n{NOW_S},u,i,,,")
    assert [row["kind"] for row in rows] == ["event", "refused", "event", "file"]
    assert [row["line"] for row in rows] == [3, 5, 7, None]
    assert rows[-1]["records"] == 3


@pytest.mark.parametrize("content", ["", "\n\n", HEADER, HEADER.strip()])
def test_a_file_without_records_has_a_footer_all_the_same(path: Path, content: str) -> None:
    (footer,) = rows_of(path, content)
    assert (footer["kind"], footer["records"]) == ("file", 0)


def test_times_are_believed_from_the_earliest_to_the_latest_inclusive(path: Path) -> None:
    early = Hour.parse("1990-01-01T00").index * 3600
    latest = LATEST_US // 1_000_000
    times = (early - 1, early, latest, f"{latest}.000001")
    rows = rows_of(path, HEADER + "".join(f"{time},u,i,,,\n" for time in times))
    assert reasons(rows) == [
        "event_time is before ingest.earliest",
        None,
        None,
        "event_time is after the file's arrival",
    ]


def test_records_from_before_what_is_timely_are_too_late_unless_let_in(path: Path) -> None:
    content = HEADER + "".join(f"{NOW_S + s},u,i,,,\n" for s in range(-4, 1)) + "2,u,i,,,\n"
    second_us = 1_000_000
    timely_us = NOW_S * second_us
    bounds = Bounds(LATEST_US, timely_us)
    rows = rows_of(path, content, bounds=bounds)
    assert reasons(rows) == [TOO_LATE] * 4 + [None, "event_time is before ingest.earliest"]
    assert (rows[-1]["records"], rows[-1]["late"]) == (6, 0)
    # Ranges are half-open, and let in nothing that is refused for another reason.
    second = [timely_us - 4 * second_us, timely_us - 3 * second_us]
    fourth = [timely_us - 2 * second_us, timely_us - second_us]
    rows = rows_of(
        path, content, bounds=bounds._replace(accepted_late=[second, fourth, [0, 10**7]])
    )
    assert reasons(rows)[:4] == [None, TOO_LATE, None, TOO_LATE]
    assert (rows[-1]["records"], rows[-1]["late"]) == (6, 2)


def test_a_record_with_another_fault_is_not_refused_for_its_lateness(path: Path) -> None:
    bounds = Bounds(LATEST_US, timely_us=LATEST_US)
    rows = rows_of(path, HEADER + f"{NOW_S},uuuuuu,i,,,\n", bounds=bounds, max_id_chars=5)
    assert reasons(rows) == ["an id is longer than 5 characters"]


def test_a_file_that_cannot_be_read_says_so_in_place_of_its_count(tmp_path: Path) -> None:
    def rows(path: Path) -> list[dict[str, Any]]:
        rules = IngestSettings()
        found = file_rows(path, "in/a.csv", HOUR, Bounds(LATEST_US), CSV, "utf-8", rules)
        return [dict(zip(PARSED.names, row, strict=True)) for row in found]

    for path, reason in ((tmp_path, "Is a directory"), (tmp_path / "x", "No such file")):
        (row,) = rows(path)
        assert (row["kind"], row["source_file"]) == ("unreadable", "in/a.csv")
        assert row["reason"].startswith(reason)
        assert batch_of([tuple(row.values())]).num_rows == 1


def test_the_earliest_time_is_a_setting(path: Path) -> None:
    rows = rows_of(path, HEADER + f"{NOW_S - 1},u,i,,,\n", earliest=str(HOUR))
    assert reasons(rows) == ["event_time is before ingest.earliest"]


@pytest.mark.parametrize("long", ["user", "item"])
def test_an_id_may_be_as_long_as_the_setting_and_no_longer(path: Path, long: str) -> None:
    def line(chars: int) -> str:
        ids = {"user": "u", "item": "i"} | {long: "x" * chars}
        return f"{NOW_S},{ids['user']},{ids['item']},,,\n"

    rows = rows_of(path, HEADER + line(5) + line(6), max_id_chars=5)
    assert reasons(rows) == [None, "an id is longer than 5 characters"]


def test_a_header_without_a_needed_column_refuses_every_line(path: Path) -> None:
    rows = rows_of(path, f"event_time,user,item_id\n{NOW_S},u,i\n{NOW_S},u,j\n")
    assert reasons(rows) == ["the file's header has no column 'user_id'"] * 2
    assert rows[-1]["records"] == 2


def test_a_header_that_cannot_be_read_is_a_refused_record_itself(path: Path) -> None:
    rows = rows_of(path, b"event_time,\xff\n" + f"{NOW_S},u,i\n".encode())
    assert reasons(rows) == ["not valid utf-8", "the file has no header line that can be read"]
    assert [row["line"] for row in rows] == [1, 2, None]
    assert rows[-1]["records"] == 2


def test_a_format_without_a_header_reads_from_its_first_line(path: Path) -> None:
    rows = rows_of(path, '{"event_time":' + str(NOW_S) + ',"user_id":"u","item_id":"i"}\n', JSON)
    assert (rows[0]["kind"], rows[0]["line"], rows[-1]["records"]) == ("event", 1, 1)


def test_a_wrong_earliest_is_the_users_fault(path: Path) -> None:
    with pytest.raises(UsageError, match="'1990' is not an hour"):
        rows_of(path, HEADER, earliest="1990")


def test_rows_become_a_batch_of_the_schema(path: Path) -> None:
    rows = rows_of(path, HEADER + f"{NOW_S},ü,i,,,phone\nbad\n")
    batch = batch_of([tuple(row.values()) for row in rows])
    assert batch.schema == PARSED
    assert batch.column("user_id").to_pylist() == ["ü", None, None]
    assert batch.column("hour").to_pylist() == [HOUR.start] * 3
    assert batch.column("context").to_pylist() == [[("device", "phone")], None, None]


EVENT = ParsedEvent(1, "u", "i", "view", None, None, {}, None)
TEXT = st.text(st.sampled_from("a,'\"()\\ N"), max_size=4)
EVENTS = st.builds(
    ParsedEvent,
    st.integers(0, 3),
    TEXT,
    TEXT,
    TEXT,
    st.none() | st.sampled_from([0.0, 1.0]),
    st.none() | TEXT,
    st.just({}),
    st.none(),
    st.just(()),
)


@given(EVENTS, EVENTS)
def test_two_records_share_a_key_only_if_they_say_the_same(
    one: ParsedEvent, other: ParsedEvent
) -> None:
    assert (content_key(one) == content_key(other)) == (one == other)


def test_context_is_no_part_of_what_happened() -> None:
    assert content_key(EVENT._replace(context={"server": "b"})) == content_key(EVENT)
    assert content_key(EVENT._replace(value=0.0)) != content_key(EVENT)


def test_a_key_is_the_same_in_every_version_and_on_every_machine() -> None:
    # Lakes hold keys: another function here would take every old event for a new one.
    assert content_key(EVENT) == "d43107dd7eaa064922607a7db4fce93a"
    # U+1FAE8 is unknown to the Unicode of Python 3.11, known to that of 3.12.
    shaking = EVENT._replace(user_id="ü\U0001fae8", value=0.5, given_session="s")
    assert content_key(shaking) == "b31405fe823a05aa53defe69b2ec616f"
