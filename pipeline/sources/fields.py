"""From the texts of a record's fields to an event: times, numbers, identities."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from fractions import Fraction
from typing import Literal

from pipeline.hours import DAY_H, US_PER_HOUR, US_PER_S, Hour
from pipeline.sources.base import ParsedEvent, Refusal

TimeUnit = Literal["s", "ms", "us", "iso8601"]
ReadTime = Callable[[str], int | Refusal]

NO_TIME = Refusal("no event_time")
NOT_A_NUMBER = Refusal("event_time is not a number")
NOT_ISO = Refusal("event_time is not an ISO 8601 time")
OUT_OF_RANGE = Refusal("event_time is outside the years 1 to 9999")
NO_USER = Refusal("no user_id")
NO_ITEM = Refusal("no item_id")
BAD_VALUE = Refusal("value is not a finite number")
UNKNOWN_TYPE = Refusal("event_type is not one of the known types")

UNIX_EPOCH = Hour(0)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_US = DAY_H * US_PER_HOUR
_FIRST_US = (datetime(1, 1, 1, tzinfo=UTC) - _EPOCH).days * _DAY_US
_STOP_US = ((datetime(9999, 12, 31, tzinfo=UTC) - _EPOCH).days + 1) * _DAY_US
# Python's own int() and float() also take "1_000", "infinity" and the digits of other scripts.
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")
_MOST_DIGITS = 64


def time_reader(unit: TimeUnit, epoch: Hour) -> ReadTime:
    """A function from a time's text to microseconds since 1970, or the refusal.

    Numbers are counted in ``unit`` from ``epoch``, exactly: digits below the microsecond are cut
    off, none above it are lost.  ISO 8601 times may have ``Z``, an offset, or neither (UTC).
    """
    if unit == "iso8601":
        return read_iso8601
    places = {"s": 6, "ms": 3, "us": 0}[unit]
    unit_us = 10**places
    zeros = "0" * places
    epoch_us = epoch.index * US_PER_HOUR

    def read_numeric(text: str) -> int | Refusal:
        if len(text) > _MOST_DIGITS or not text.isascii():
            return NOT_A_NUMBER
        whole, _, fraction = text.partition(".")
        if whole.isdigit() and (not fraction or fraction.isdigit()):
            time_us = int(whole) * unit_us
            if fraction and places:
                time_us += int((fraction + zeros)[:places])
        else:
            stripped = text.strip()
            if not stripped:
                return NO_TIME
            if not _NUMBER.fullmatch(stripped):
                return NOT_A_NUMBER
            time_us = math.floor(Fraction(stripped) * unit_us)
        time_us += epoch_us
        return time_us if _FIRST_US <= time_us < _STOP_US else OUT_OF_RANGE

    return read_numeric


def read_iso8601(text: str) -> int | Refusal:
    """Microseconds since 1970 of ``2015-01-01T00:00:00Z`` and its kin; no zone means UTC."""
    # BigQuery and others export "2016-03-14 13:00:00 UTC".
    if text.endswith(" UTC"):
        text = text[:-4]
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        return NOT_ISO if text.strip() else NO_TIME
    return instant_us(instant)


def instant_us(instant: datetime) -> int | Refusal:
    """Microseconds since 1970 of an instant, a naive one being UTC."""
    if instant.tzinfo is None:
        instant = instant.replace(tzinfo=UTC)
    since = instant - _EPOCH
    time_us = since.days * _DAY_US + since.seconds * US_PER_S + since.microseconds
    return time_us if _FIRST_US <= time_us < _STOP_US else OUT_OF_RANGE


def read_number(text: str) -> float | None:
    """The finite number that a text writes in plain ASCII, or None."""
    text = text.strip()
    if not _NUMBER.fullmatch(text):
        return None
    number = float(text)
    return number if math.isfinite(number) else None


def is_storable(text: str) -> bool:
    """Whether UTF-8 can hold the text (no half of a surrogate pair) and it has no NUL."""
    if "\0" in text:
        return False
    if text.isascii():
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


BuildEvent = Callable[[Sequence[str], dict[str, str]], ParsedEvent | Refusal]

# The order in which an event's texts are handed to the function that builds it.
FIELD_ORDER = (
    "event_time",
    "user_id",
    "item_id",
    "event_type",
    "value",
    "event_key",
    "given_session",
)


def event_builder(
    read_time: ReadTime, default_event_type: str, event_types: tuple[str, ...]
) -> BuildEvent:
    """A function from the texts of one record, "" where absent, and its context to its event.

    The texts come in :data:`FIELD_ORDER`.  The event keeps the context it is given.
    """
    allowed = frozenset(event_types)

    def build(texts: Sequence[str], context: dict[str, str]) -> ParsedEvent | Refusal:
        event_time, user_id, item_id, event_type, value, event_key, given_session = texts
        if not user_id or user_id.isspace():
            return NO_USER
        if not item_id or item_id.isspace():
            return NO_ITEM
        time_us = read_time(event_time)
        if isinstance(time_us, Refusal):
            return time_us
        number = None
        if value:
            number = read_number(value)
            if number is None and not value.isspace():
                return BAD_VALUE
        kind = event_type or default_event_type
        if allowed and kind not in allowed:
            return UNKNOWN_TYPE._replace(event_type=kind)
        return ParsedEvent(
            time_us,
            user_id,
            item_id,
            kind,
            number,
            given_session or None,
            context,
            event_key or None,
        )

    return build
