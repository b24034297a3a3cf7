"""From a text to an instant: numbers in a unit, ISO 8601, and formats of strptime."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from fractions import Fraction
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np

from pipeline.array_types import Ints
from pipeline.hours import DAY_H, US_PER_HOUR, US_PER_S, Hour
from pipeline.settings.field_types import TimeUnit
from pipeline.sources.base import Refusal
from pipeline.sources.field_rules import NO_RULES, FieldRules

ReadTime = Callable[[str], int | Refusal]

NO_TIME = Refusal("no event_time")
NOT_A_NUMBER = Refusal("event_time is not a number")
NOT_ISO = Refusal("event_time is not an ISO 8601 time")
NOT_IN_FORMAT = Refusal("event_time is not in source.time_format")
OUT_OF_RANGE = Refusal("event_time is outside the years 1 to 9999")

UNIX_EPOCH = Hour(0)

#: Units of numeric times, in microseconds.
UNIT_US: Final[dict[TimeUnit, Fraction]] = {
    "d": Fraction(DAY_H * US_PER_HOUR),
    "h": Fraction(US_PER_HOUR),
    "min": Fraction(60 * US_PER_S),
    "s": Fraction(US_PER_S),
    "ms": Fraction(1000),
    "us": Fraction(1),
    "ns": Fraction(1, 1000),
}
#: How many digits below a unit a microsecond is, where it is so many exactly.
PLACES: dict[TimeUnit, int] = {"s": 6, "ms": 3, "us": 0}

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LOCAL_EPOCH = _EPOCH.replace(tzinfo=None)
_DAY_US = DAY_H * US_PER_HOUR
FIRST_US = (datetime(1, 1, 1, tzinfo=UTC) - _EPOCH).days * _DAY_US
STOP_US = ((datetime(9999, 12, 31, tzinfo=UTC) - _EPOCH).days + 1) * _DAY_US
# Python's own int() and float() also take "1_000", "infinity" and the digits of other scripts.
NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")
MOST_DIGITS = 64


def time_reader(unit: TimeUnit, epoch: Hour, rules: FieldRules = NO_RULES) -> ReadTime:
    """A function from a time's text to microseconds since 1970, or the refusal.

    Numbers are counted in ``unit`` from ``epoch``, exactly: digits below the microsecond are cut
    off, none above it are lost.  A fraction follows ``decimal``.  ISO 8601 times may have ``Z``, an
    offset, or neither.  With ``time_formats`` times are read by the first of them that fits
    instead.  A time without an offset is of ``timezone`` (None: UTC), as :func:`instant_us` says.
    White space around a number or a time in a format never counts, around one of ISO 8601 not with
    ``trim``.
    """
    local = local_zone(rules)
    if rules.time_formats:
        return _format_reader(rules.time_formats, local)
    if unit == "iso8601":
        if rules.trim:
            return lambda text: read_iso8601(text.strip(), local)
        return lambda text: read_iso8601(text, local)
    places = PLACES.get(unit)
    exact_us = UNIT_US[unit]
    unit_us, per_us = exact_us.as_integer_ratio()
    zeros = "0" * (places or 0)
    epoch_us = epoch.index * US_PER_HOUR

    def read_numeric(text: str) -> int | Refusal:
        if len(text) > MOST_DIGITS or not text.isascii():
            return NOT_A_NUMBER
        whole, _, fraction = text.partition(".")
        if whole.isdigit() and (not fraction or (places is not None and fraction.isdigit())):
            time_us = int(whole) * unit_us if per_us == 1 else int(whole) // per_us
            if fraction and places:
                time_us += int((fraction + zeros)[:places])
        else:
            stripped = text.strip()
            if not stripped:
                return NO_TIME
            if not NUMBER.fullmatch(stripped):
                return NOT_A_NUMBER
            time_us = math.floor(Fraction(stripped) * exact_us)
        time_us += epoch_us
        return time_us if FIRST_US <= time_us < STOP_US else OUT_OF_RANGE

    if rules.decimal == ".":
        return read_numeric
    return lambda text: NOT_A_NUMBER if "." in text else read_numeric(text.replace(",", "."))


def local_zone(rules: FieldRules) -> tzinfo:
    """Of which zone times without an offset are."""
    return UTC if rules.timezone is None else ZoneInfo(rules.timezone)


def _format_reader(formats: Sequence[str], local: tzinfo) -> ReadTime:
    def read_formatted(text: str) -> int | Refusal:
        text = text.strip()
        if not text:
            return NO_TIME
        # strptime takes the digits of any script.
        if not text.isascii() and any(sign.isdigit() and not sign.isascii() for sign in text):
            return NOT_IN_FORMAT
        for form in formats:
            try:
                instant = datetime.strptime(text, form)
            except ValueError:
                continue
            return instant_us(instant, local)
        return NOT_IN_FORMAT

    return read_formatted


def read_iso8601(text: str, local: tzinfo = UTC) -> int | Refusal:
    """Microseconds since 1970 of ``2015-01-01T00:00:00Z`` and its kin; no zone means ``local``."""
    # BigQuery and others export "2016-03-14 13:00:00 UTC".
    if text.endswith(" UTC"):
        text, local = text[:-4], UTC
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        return NOT_ISO if text.strip() else NO_TIME
    return instant_us(instant, local)


def instant_us(instant: datetime, local: tzinfo = UTC) -> int | Refusal:
    """Microseconds since 1970 of an instant, one without a zone being of ``local``.

    As PEP 495 has it for ``fold=0``: a time that comes twice, when clocks are set back, is the
    first; one that clocks leave out is told by the clock of before, so that it moves forward.
    Europe/Berlin: 02:30 on 26 October 2025 is 00:30 UTC, on 30 March 01:30 UTC, 03:30 there.
    """
    if instant.tzinfo is None:
        instant = instant.replace(tzinfo=local)
    try:
        since = instant - _EPOCH
    except OverflowError:
        return OUT_OF_RANGE
    return in_range(since // timedelta(microseconds=1))


def utc_of_local_us(local_us: Ints, zone: str | None) -> Ints:
    """Microseconds since 1970 (n,) of times that clocks of a zone showed, by :func:`instant_us`.

    ``local_us`` are the microseconds from the first of January 1970 on the same clocks.  What no
    calendar has stays as it is.
    """
    if zone is None or not len(local_us):
        return local_us
    local = ZoneInfo(zone)
    seconds, which = np.unique(local_us // US_PER_S, return_inverse=True)
    shifts_us = np.zeros(len(seconds), np.int64)
    for at in np.flatnonzero((seconds >= FIRST_US // US_PER_S) & (seconds < STOP_US // US_PER_S)):
        second = int(seconds[at])
        instant = instant_us(_LOCAL_EPOCH + timedelta(seconds=second), local)
        shifts_us[at] = 0 if isinstance(instant, Refusal) else instant - second * US_PER_S
    return local_us + shifts_us[which]


def in_range(time_us: int) -> int | Refusal:
    """The time itself, where a calendar has it."""
    return time_us if FIRST_US <= time_us < STOP_US else OUT_OF_RANGE
