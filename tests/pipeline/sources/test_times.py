"""Units, formats and zones of times."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.hours import Hour
from pipeline.settings.settings import load_settings
from pipeline.settings.source import SourceSettings
from pipeline.sources import ParsedEvent, Refusal, source_for
from pipeline.sources.field_rules import FieldRules
from pipeline.sources.times import time_reader

SECONDS = {"d": 86400, "h": 3600, "min": 60, "s": 1, "ms": Fraction(1, 10**3)}
SECONDS |= {"us": Fraction(1, 10**6), "ns": Fraction(1, 10**9)}
BERLIN = FieldRules(timezone="Europe/Berlin", trim=True)


def us(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp()) * 1_000_000


@given(
    number=st.one_of(
        st.integers(-(10**6), 10**18).map(str),
        st.decimals(-1000, 10**8, places=11).map(lambda number: f"{number:f}"),
    ),
    unit=st.sampled_from(sorted(SECONDS)),
)
def test_every_unit_counts_exactly(number: str, unit: str) -> None:
    expected = math.floor(Fraction(number) * SECONDS[unit] * 10**6)
    read = time_reader(unit, Hour(0))(number)  # type: ignore[arg-type]
    epoch, us = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
    first = (datetime(1, 1, 1, tzinfo=UTC) - epoch) // us
    last = (datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC) - epoch) // us
    if first <= expected <= last:
        assert read == expected
    else:
        assert read == Refusal("event_time is outside the years 1 to 9999")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("14.03.2016 13:05:07", "2016-03-14T13:05:07Z", id="first format"),
        pytest.param(" 14.03.2016 13:05:07 ", "2016-03-14T13:05:07Z", id="white space"),
        pytest.param("14/Mar/2016:13:05:07 -0400", "2016-03-14T17:05:07Z", id="second, offset"),
    ],
)
def test_of_several_formats_the_first_that_fits(text: str, expected: str) -> None:
    rules = FieldRules(time_formats=("%d.%m.%Y %H:%M:%S", "%d/%b/%Y:%H:%M:%S %z"))
    assert time_reader("s", Hour(0), rules)(text) == us(expected)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("", "no event_time", id="absent"),
        pytest.param("31.02.2016", "event_time is not in source.time_format", id="no such day"),
        pytest.param("1.1.2016 x", "event_time is not in source.time_format", id="more text"),
        pytest.param("\u0661.1.2016", "event_time is not in source.time_format", id="other digits"),
    ],
)
def test_what_is_in_no_format(text: str, reason: str) -> None:
    assert time_reader("s", Hour(0), FieldRules(time_formats=("%d.%m.%Y",)))(text) == Refusal(
        reason
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("2025-10-26T01:59:59", "2025-10-25T23:59:59Z", id="before clocks go back"),
        pytest.param("2025-10-26T02:30:00", "2025-10-26T00:30:00Z", id="comes twice: the first"),
        pytest.param("2025-10-26T03:00:00", "2025-10-26T02:00:00Z", id="after clocks went back"),
        pytest.param("2025-03-30T02:30:00", "2025-03-30T01:30:00Z", id="left out: moved forward"),
        pytest.param("2025-03-30T03:30:00", "2025-03-30T01:30:00Z", id="what it is moved to"),
        pytest.param(" 2025-07-01T12:00:00 ", "2025-07-01T10:00:00Z", id="summer, white space"),
        pytest.param("2025-07-01T12:00:00Z", "2025-07-01T12:00:00Z", id="a zone of its own"),
        pytest.param("2025-07-01 12:00:00 UTC", "2025-07-01T12:00:00Z", id="UTC as BigQuery has"),
        pytest.param("2025-07-01T12:00:00+05:30", "2025-07-01T06:30:00Z", id="an offset"),
    ],
)
def test_local_times(text: str, expected: str) -> None:
    assert time_reader("iso8601", Hour(0), BERLIN)(text) == us(expected)


@given(
    at=st.datetimes(datetime(1970, 1, 2), datetime(2037, 12, 31)).map(
        lambda at: at.replace(microsecond=0)
    ),
    zone=st.sampled_from(
        ["Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"]
    ),
)
def test_the_first_instant_that_clocks_there_show_so(at: datetime, zone: str) -> None:
    read = time_reader("iso8601", Hour(0), FieldRules(timezone=zone))(at.isoformat())
    assert isinstance(read, int)
    # The slow way: every instant of a day around it, by what clocks there show then.
    utc = at.replace(tzinfo=UTC)
    steps = [utc + timedelta(minutes=15 * n) for n in range(-60, 61)]
    shown = [step for step in steps if step.astimezone(ZoneInfo(zone)).replace(tzinfo=None) == at]
    instant = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=read)
    if shown:
        assert instant == min(shown)
    else:
        later = instant.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
        assert timedelta(0) < later - at <= timedelta(hours=2)


def test_web_logs_without_an_offset_are_of_the_zone() -> None:
    source = source_for(SourceSettings(name="access_log", header=False, timezone="Europe/Berlin"))
    parse = source.parser(None, "f")
    line = 'h - - [01/Jul/2025:12:00:00{}] "GET /a HTTP/1.0" 200 1'
    local, offset = parse(line.format("")), parse(line.format(" +0000"))
    assert isinstance(local, ParsedEvent)
    assert isinstance(offset, ParsedEvent)
    assert local.event_time_us == us("2025-07-01T10:00:00Z")
    assert offset.event_time_us == us("2025-07-01T12:00:00Z")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param({"timezone": "Europe/Bonn"}, "no time zone", id="no zone"),
        pytest.param({"timezone": "../etc"}, "no time zone", id="a path"),
        pytest.param({"time_format": "%H:%M"}, "tells no year", id="no year"),
        pytest.param({"time_format": ["%Y", "%c"]}, "each machine", id="of a locale"),
        pytest.param({"time_format": "%Y %Z"}, "write %z", id="a zone's name"),
        pytest.param({"time_format": "%Y %Q"}, "no format", id="unknown directive"),
    ],
)
def test_wrong_settings_of_times_are_refused(settings: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_settings(None, {"source": {"name": "delimited", **settings}})


@pytest.mark.parametrize(
    "form", ["%Y-%m-%dT%H:%M:%S%z", "%d/%b/%Y:%I:%M %p", "%G-W%V-%u", "%y%j", "%Y年 %m", "%%%Y"]
)
def test_formats_that_tell_a_time(form: str) -> None:
    loaded = load_settings(None, {"source": {"name": "delimited", "time_format": form}})
    assert loaded.source.time_format == form


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param({"timezone": "UTC"}, "times written as text", id="zone of numbers"),
        pytest.param({"time_format": "%Y", "time_unit": "ms"}, "both set", id="format and unit"),
    ],
)
def test_settings_that_contradict_each_other(settings: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        source_for(SourceSettings(name="delimited", **settings))  # type: ignore[arg-type]
