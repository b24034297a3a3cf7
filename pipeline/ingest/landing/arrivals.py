"""When a raw file arrived, as far as its path tells it."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

from pipeline.hours import US_PER_HOUR, Hour, HourRange
from pipeline.settings.source import SourceSettings
from pipeline.settings.time_text import path_pattern
from pipeline.sources import Source
from pipeline.sources.base import Refusal
from pipeline.sources.fields import instant_us

#: The hours in one of which a file of this path arrived; None where the path tells nothing.
TellArrival = Callable[[str], HourRange | None]
#: A landing zone has files of so many hours at once, in whatever order of names.
_HOURS_KEPT = 4096
_CENTURY = 100
# As strptime has it: 69 is 1969, 68 is 2068.
_FIRST_SHORT_YEAR = 69


def arrival_teller(settings: SourceSettings, source: Source) -> TellArrival:
    """What tells arrivals from paths below ``source.path``, by ``source.arrival`` or the format."""
    if settings.arrival is None:
        return lambda name: _single_hour(source.arrival_hour(name))
    texts = (settings.arrival,) if isinstance(settings.arrival, str) else settings.arrival
    zone = settings.arrival_timezone or settings.timezone
    return by_patterns([path_pattern(text) for text in texts], zone)


def by_patterns(patterns: list[re.Pattern[str]], zone: str | None) -> TellArrival:
    """What finds the first pattern that a path fits; of several places in it the last.

    Without an hour the file may have arrived in any of the day.  Times are of ``zone`` (None:
    UTC).  A day that no calendar has is none.
    """
    local = UTC if zone is None else ZoneInfo(zone)

    # Many files have the hour in common, and a calendar is slow.
    @lru_cache(_HOURS_KEPT)
    def hours_of(year: str, month: str, day: str, hour: str | None) -> HourRange | None:
        clock_hour = None if hour is None else int(hour)
        return _hours_of(_year(year), int(month), int(day), clock_hour, local)

    def tell(name: str) -> HourRange | None:
        # With a slash before it, so that a pattern may say where a name begins.
        path = f"/{name}"
        for pattern in patterns:
            hours = None
            for match in pattern.finditer(path):
                groups = match.groupdict()
                year = groups.get("year") or groups["short_year"]
                day = (year, groups["month"], groups["day"])
                hours = hours_of(*day, groups.get("hour")) or hours
            if hours is not None:
                return hours
        return None

    return tell


def _single_hour(hour: Hour | None) -> HourRange | None:
    return None if hour is None else HourRange(hour, hour + 1)


def _year(text: str) -> int:
    year = int(text)
    if len(text) > len(str(_CENTURY - 1)):
        return year
    return year + (1900 if year >= _FIRST_SHORT_YEAR else 2000)


def _hours_of(year: int, month: int, day: int, hour: int | None, local: tzinfo) -> HourRange | None:
    """The hours of UTC that an hour of a zone, or one of its days, has a share in."""
    try:
        first = datetime(year, month, day, hour or 0)
        stop = first + (timedelta(days=1) if hour is None else timedelta(hours=1))
    except (ValueError, OverflowError):
        return None
    first_us, stop_us = instant_us(first, local), instant_us(stop, local)
    if isinstance(first_us, Refusal) or isinstance(stop_us, Refusal):
        return None
    start = Hour(first_us // US_PER_HOUR)
    # An hour that clocks leave out has no end after its beginning.
    return HourRange(start, max(start + 1, Hour(-(-stop_us // US_PER_HOUR))))
