"""Times and numbers, from their texts."""

import math
from datetime import datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.hours import Hour
from pipeline.sources import Refusal
from pipeline.sources.fields import read_iso8601, read_number, time_reader


@given(time_us=st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999))
def test_seconds_with_six_digits_are_exact(time_us: int) -> None:
    text = f"{Decimal(time_us).scaleb(-6):f}"
    assert time_reader("s", Hour(0))(text) == time_us


@given(
    number=st.decimals(-(10**10), 10**10, places=9),
    unit=st.sampled_from(["s", "ms", "us"]),
    exponent=st.booleans(),
)
def test_numeric_times_are_floored_to_microseconds(
    number: Decimal, unit: str, exponent: bool
) -> None:
    text = f"{number:E}" if exponent else f"{number:f}"
    read = time_reader(unit, Hour(1))(text)
    assert read == math.floor(number * {"s": 10**6, "ms": 1000, "us": 1}[unit]) + 3_600_000_000


def test_digits_below_the_microsecond_are_cut_off() -> None:
    read = time_reader("s", Hour(0))
    assert read("1." + "9" * 40) == read("+1." + "9" * 40) == 1_999_999
    assert read("-0.0000001") == -1
    assert read("5e-9999") == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2016-03-14T13:00:00Z", "2016-03-14T13:00:00Z"),
        ("2016-03-14T13:00:00+02:00", "2016-03-14T11:00:00Z"),
        ("2016-03-14T13:00:00", "2016-03-14T13:00:00Z"),
        ("2016-03-14 13:00:00 UTC", "2016-03-14T13:00:00Z"),
        ("2016-03-14", "2016-03-14T00:00:00Z"),
    ],
)
def test_iso_times(text: str, expected: str) -> None:
    assert read_iso8601(text) == round(datetime.fromisoformat(expected).timestamp()) * 1_000_000


def test_iso_times_outside_the_years() -> None:
    assert isinstance(read_iso8601("0001-01-01T00:00:00+01:00"), Refusal)


@given(number=st.floats(allow_nan=False, allow_infinity=False))
def test_every_finite_float_is_read_back(number: float) -> None:
    assert read_number(repr(number)) == number


@pytest.mark.parametrize("text", ["", "nan", "inf", "-Infinity", "1e999", "0x1", "1_0", "1,5", "٣"])
def test_what_is_no_number(text: str) -> None:
    assert read_number(text) is None
