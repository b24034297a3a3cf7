"""Hours and ranges of hours as values: all of Hourglass's time is half-open UTC hours."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pipeline.errors import UsageError
from pipeline.text.wording import counted

US_PER_S = 1_000_000
HOUR_S = 3600
US_PER_HOUR = HOUR_S * US_PER_S
DAY_H = 24
_HOUR = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}")
_DURATION = re.compile(r"(\d+)([hdw])")
_UNIT_HOURS = {"h": 1, "d": 24, "w": 168}


@dataclass(frozen=True, order=True)
class Hour:
    """The half-open UTC interval ``[start, start + 1 h)``; ``index`` counts hours from 1970."""

    index: int

    @classmethod
    def parse(cls, text: str) -> Hour:
        """Read ``2016-03-14T13``.

        A longer ISO 8601 instant is taken when it falls exactly on an hour, because Airflow
        hands out its data intervals so.

        Raises:
            UsageError: the text is not an hour, or its instant is inside one.
        """
        try:
            if _HOUR.fullmatch(text):
                return cls.of(datetime.fromisoformat(text + ":00+00:00"))
            instant = datetime.fromisoformat(text)
        except ValueError:
            instant = None
        if instant is None or "T" not in text:
            raise UsageError(f"{text!r} is not an hour: write it like 2016-03-14T13 (UTC)")
        if instant.tzinfo is None:
            instant = instant.replace(tzinfo=UTC)
        hour = cls.of(instant)
        if hour.start != instant:
            raise UsageError(f"{text!r} is inside an hour: write its start, {hour}")
        return hour

    @classmethod
    def of(cls, instant: datetime) -> Hour:
        """The hour that contains an aware instant.

        Raises:
            ValueError: the instant has no time zone.
        """
        if instant.tzinfo is None:
            raise ValueError(f"{instant!r} has no time zone")
        seconds = (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)
        return cls(seconds // HOUR_S)

    @property
    def start(self) -> datetime:
        """First instant of the hour."""
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(hours=self.index)

    @property
    def end(self) -> datetime:
        """First instant after the hour."""
        return (self + 1).start

    def __add__(self, hours: int) -> Hour:
        return Hour(self.index + hours)

    def __sub__(self, hours: int) -> Hour:
        return Hour(self.index - hours)

    def __str__(self) -> str:
        return self.start.isoformat()[:13]


@dataclass(frozen=True)
class HourRange:
    """The hours from ``first`` up to, not including, ``stop``.  May be empty, never negative."""

    first: Hour
    stop: Hour

    def __post_init__(self) -> None:
        if self.stop < self.first:
            raise UsageError(
                f"the range {self.first} to {self.stop} ends before it starts: swap --from and --to"
            )

    @classmethod
    def parse(cls, first: str, stop: str) -> HourRange:
        """Read the two ends, ``stop`` exclusive, refusing an empty range.

        Raises:
            UsageError: an end is not an hour, or there is no hour between them.
        """
        hours = cls(Hour.parse(first), Hour.parse(stop))
        if not hours:
            raise UsageError(f"the range {first} to {stop} is empty: --to is exclusive")
        return hours

    @classmethod
    def covering(cls, hours: Iterable[Hour]) -> HourRange:
        """The smallest range that holds every given hour (at least one)."""
        ordered = sorted(hours)
        return cls(ordered[0], ordered[-1] + 1)

    def __iter__(self) -> Iterator[Hour]:
        return (Hour(index) for index in range(self.first.index, self.stop.index))

    def __len__(self) -> int:
        return self.stop.index - self.first.index

    def __contains__(self, hour: Hour) -> bool:
        return self.first <= hour < self.stop

    def __str__(self) -> str:
        return f"{self.first} to {self.stop}"

    def intersect(self, other: HourRange) -> HourRange:
        """The hours of both; empty (at this range's start) where they do not meet."""
        first = max(self.first, other.first)
        stop = min(self.stop, other.stop)
        return HourRange(first, stop) if first < stop else HourRange(self.first, self.first)

    def steps(self, hours: int) -> Iterator[HourRange]:
        """Split into consecutive ranges of at most that many hours."""
        if hours < 1:
            raise UsageError(f"a step of {counted(hours, 'hour')} is too short: use 1 or more")
        for start in range(self.first.index, self.stop.index, hours):
            yield HourRange(Hour(start), Hour(min(start + hours, self.stop.index)))


def contiguous(hours: Iterable[Hour]) -> list[HourRange]:
    """Join hours, in any order and possibly repeated, into the fewest ranges."""
    ranges: list[HourRange] = []
    for hour in sorted(set(hours)):
        if ranges and ranges[-1].stop == hour:
            ranges[-1] = HourRange(ranges[-1].first, hour + 1)
        else:
            ranges.append(HourRange(hour, hour + 1))
    return ranges


def parse_duration_h(text: str) -> int:
    """Read ``10h``, ``14d`` or ``2w`` as a number of hours.

    Raises:
        UsageError: not such a text, or zero.
    """
    match = _DURATION.fullmatch(text.strip())
    hours = int(match[1]) * _UNIT_HOURS[match[2]] if match else 0
    if not hours:
        raise UsageError(f"{text!r} is not a duration: write it like 10h, 14d or 2w")
    return hours
