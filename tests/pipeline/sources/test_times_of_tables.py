"""Timestamps of tables that have no zone: clocks of `source.timezone`."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.hours import US_PER_S
from pipeline.settings.source import SourceSettings
from pipeline.sources import source_for
from pipeline.sources.tables.source import TableSource
from pipeline.sources.tables.texts import microseconds
from pipeline.sources.times import utc_of_local_us

EPOCH = datetime(1970, 1, 1)


def us(text: str) -> int:
    since = datetime.fromisoformat(text).replace(tzinfo=UTC) - EPOCH.replace(tzinfo=UTC)
    return int(since.total_seconds()) * US_PER_S


@pytest.mark.parametrize(
    ("local", "utc"),
    [
        ("2026-11-18T12:00:00", "2026-11-18T11:00:00"),
        ("2026-07-18T12:00:00", "2026-07-18T10:00:00"),
        ("2026-10-25T02:30:00", "2026-10-25T00:30:00"),  # twice: the first of the two
        ("2026-03-29T02:30:00", "2026-03-29T01:30:00"),  # left out: 03:30 there
    ],
)
def test_a_time_without_a_zone_is_of_the_settings_zone(local: str, utc: str) -> None:
    naive = pa.array([us(local), None], pa.int64()).cast(pa.timestamp("us"))
    assert microseconds(naive, "Europe/Berlin").to_pylist() == [us(utc), None]
    assert microseconds(naive).to_pylist() == [us(local), None]
    of_zone = pa.array([us(local)], pa.int64()).cast(pa.timestamp("us", tz="America/New_York"))
    assert microseconds(of_zone, "Europe/Berlin").to_pylist() == [us(local)]


def test_a_date_is_its_midnight_there() -> None:
    days = pa.array([date(2026, 11, 18)])
    assert microseconds(days, "Europe/Berlin").to_pylist() == [us("2026-11-17T23:00:00")]
    assert microseconds(days).to_pylist() == [us("2026-11-18T00:00:00")]


@given(st.lists(st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)), max_size=20))
def test_any_time_is_what_python_makes_of_it(times: list[datetime]) -> None:
    zone = ZoneInfo("Europe/Berlin")
    start = EPOCH.replace(tzinfo=UTC)
    local = np.array([_whole_us(t - EPOCH) for t in times], np.int64)
    expected = [_whole_us(t.replace(tzinfo=zone) - start) for t in times]
    assert utc_of_local_us(local, "Europe/Berlin").tolist() == expected


def _whole_us(span: object) -> int:
    return span.days * 86_400_000_000 + span.seconds * 1_000_000 + span.microseconds  # type: ignore[attr-defined]


def test_what_no_calendar_has_stays() -> None:
    beyond = np.array([us("0001-01-01T00:00:00"), 2**62, -(2**62)])
    shifted = utc_of_local_us(beyond, "Europe/Berlin")
    assert shifted[1:].tolist() == beyond[1:].tolist()


@pytest.mark.parametrize("unit", ["s", "iso8601"])
def test_a_file_is_read_so_whatever_the_unit_says(tmp_path: Path, unit: str) -> None:
    times = pa.array([us("2026-11-18T12:00:00"), us("2026-11-18T13:00:00")]).cast(
        pa.timestamp("us")
    )
    # The second has no item: quarantine keeps it as it stands in the file.
    rows = pa.table({"event_time": times, "user_id": ["a", "b"], "item_id": ["x", None]})
    path = tmp_path / "a.parquet"
    pq.write_table(rows, path)
    settings = SourceSettings(name="parquet", timezone="Europe/Berlin", time_unit=unit)
    source = source_for(settings)
    assert isinstance(source, TableSource)
    with source.opened(path, "a.parquet", None, 1000) as table:
        parse = table.line_parser()
        first, second = table.lines()
        event = parse(first)
        assert event.event_time_us == us("2026-11-18T11:00:00")  # type: ignore[union-attr]
        again = source.parser(None, "a.parquet")(second.text.replace("null", '"y"'))
    assert again.event_time_us == us("2026-11-18T12:00:00")  # type: ignore[union-attr]
