from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.hours import Hour, HourRange, contiguous, parse_duration_h

# Year 1 to 9999, the years that a time stamp can be written in.
HOURS = st.integers(-17_259_888, 70_389_527).map(Hour)
NEAR = st.integers(0, 60).map(Hour)


@st.composite
def ranges(draw: st.DrawFn) -> HourRange:
    first = draw(NEAR)
    return HourRange(first, first + draw(st.integers(0, 40)))


def test_an_hour_is_half_open_and_counted_from_1970() -> None:
    hour = Hour.parse("2016-03-14T13")
    assert hour.start == datetime(2016, 3, 14, 13, tzinfo=UTC)
    assert hour.end == datetime(2016, 3, 14, 14, tzinfo=UTC)
    assert hour.index == (datetime(2016, 3, 14, 13) - datetime(1970, 1, 1)) // timedelta(hours=1)
    assert Hour.of(hour.end - timedelta(microseconds=1)) == hour
    assert Hour.of(hour.end) == hour + 1


@pytest.mark.parametrize(
    "text",
    [
        "2016-03-14T13:00",
        "2016-03-14T13:00:00Z",
        "2016-03-14T13:00:00+00:00",
        "2016-03-14T14:00:00+01:00",
        "2016-03-14T18:30:00+05:30",
    ],
)
def test_an_instant_on_the_hour_is_that_hour(text: str) -> None:
    assert Hour.parse(text) == Hour.parse("2016-03-14T13")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2016-03-14",
        "2016-03-14 13",
        "2016-03-14T25",
        "2016-02-30T00",
        "16-03-14T13",
        "2016-03-14T13\n",
        "yesterday",
        "2016-03-14T1",
    ],
)
def test_what_is_no_hour_is_named_with_the_way_to_write_one(text: str) -> None:
    with pytest.raises(UsageError, match=r"is not an hour: write it like 2016-03-14T13"):
        Hour.parse(text)


def test_an_instant_inside_an_hour_is_refused_with_the_hour_it_is_in() -> None:
    with pytest.raises(UsageError, match=r"13:30' is inside an hour: write its start, 2016-03-14T"):
        Hour.parse("2016-03-14T13:30")


def test_an_instant_without_a_zone_is_a_fault_of_the_program() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        Hour.of(datetime(2016, 3, 14))


@given(HOURS)
def test_text_and_hour_are_one_to_one(hour: Hour) -> None:
    assert Hour.parse(str(hour)) == hour
    assert Hour.of(hour.start) == hour


@given(HOURS, HOURS)
@example(Hour.parse("0999-12-31T23"), Hour.parse("1000-01-01T00"))
def test_hours_are_ordered_as_their_texts_are(one: Hour, other: Hour) -> None:
    assert (one < other) == (one.start < other.start) == (str(one) < str(other))


@given(
    st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1)),
    st.integers(-14 * 60, 14 * 60).map(lambda m: timezone(timedelta(minutes=m))),
)
def test_every_instant_is_in_its_hour_whatever_its_zone(naive: datetime, zone: timezone) -> None:
    instant = naive.replace(tzinfo=zone)
    assert Hour.of(instant).start <= instant < Hour.of(instant).end


def test_a_range_excludes_its_end() -> None:
    hours = HourRange.parse("2016-03-14T22", "2016-03-15T01")
    assert [str(hour) for hour in hours] == ["2016-03-14T22", "2016-03-14T23", "2016-03-15T00"]
    assert len(hours) == 3
    assert Hour.parse("2016-03-15T01") not in hours
    assert str(hours) == "2016-03-14T22 to 2016-03-15T01"


def test_a_range_backwards_or_empty_says_so() -> None:
    with pytest.raises(UsageError, match="ends before it starts: swap --from and --to"):
        HourRange.parse("2016-03-14T13", "2016-03-14T12")
    with pytest.raises(UsageError, match="is empty: --to is exclusive"):
        HourRange.parse("2016-03-14T13", "2016-03-14T13")


@given(ranges(), ranges())
def test_ranges_meet_as_sets_of_hours_do(one: HourRange, other: HourRange) -> None:
    both = one.intersect(other)
    assert set(both) == set(one) & set(other)
    assert both.first in (one.first, other.first)


@given(ranges(), st.integers(1, 12))
def test_steps_are_the_range_again_in_pieces_no_longer_than_asked(
    hours: HourRange, length: int
) -> None:
    steps = list(hours.steps(length))
    assert [hour for step in steps for hour in step] == list(hours)
    assert all(len(step) == length for step in steps[:-1])
    assert all(1 <= len(step) <= length for step in steps)


def test_a_step_of_no_hours_is_refused() -> None:
    with pytest.raises(UsageError, match="a step of 0 hours is too short: use 1 or more"):
        list(HourRange(Hour(0), Hour(3)).steps(0))


@given(st.lists(NEAR))
def test_contiguous_loses_no_hour_and_joins_all_neighbours(hours: list[Hour]) -> None:
    parts = contiguous(hours)
    assert [hour for part in parts for hour in part] == sorted(set(hours))
    assert all(left.stop < right.first for left, right in pairwise(parts))
    if hours:
        assert HourRange.covering(hours) == HourRange(parts[0].first, parts[-1].stop)


@pytest.mark.parametrize(
    ("text", "hours"), [("1h", 1), ("10h", 10), ("14d", 336), ("2w", 336), (" 3d ", 72)]
)
def test_durations_are_hours_days_or_weeks(text: str, hours: int) -> None:
    assert parse_duration_h(text) == hours


@pytest.mark.parametrize("text", ["", "10", "h", "1.5h", "-1h", "0h", "00d", "1m", "1h 2d", "1 h"])
def test_what_is_no_duration_is_named_with_the_way_to_write_one(text: str) -> None:
    with pytest.raises(UsageError, match=r"is not a duration: write it like 10h, 14d or 2w"):
        parse_duration_h(text)
