"""Which hours are computed at once: those that are pending, and the silence that parts them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from pipeline.hours import HOUR_S, Hour, HourRange, contiguous
from pipeline.lake.lake import FilledHour
from pipeline.lake.steps import EMPTY_DIGEST


@dataclass(frozen=True)
class Step:
    """Runs of pending hours in order, and how far what they leave open may reach into silence.

    ``silences[i]`` are hours without events after ``runs[i]``, which are filled if a session is
    open at its end: with a gap of an hour, the events of 9:30 and of 20:10 the same day are the
    runs 9 to 10 and 20 to 21, and their silences 10 to 12 and 21 to 23.
    """

    runs: tuple[HourRange, ...]
    silences: tuple[HourRange, ...]

    @property
    def pending(self) -> int:
        """How many hours are to be filled in any case."""
        return sum(map(len, self.runs))

    @property
    def is_plain(self) -> bool:
        """Whether it is nothing but hours in a row that are to be filled in any case."""
        return len(self.runs) == 1 and not self.silences[0]

    @property
    def span(self) -> HourRange:
        """From its first hour to its last."""
        return HourRange(self.runs[0].first, self.silences[-1].stop)

    @property
    def reach(self) -> list[HourRange]:
        """All hours in which it may leave rows."""
        return contiguous(hour for hours in (*self.runs, *self.silences) for hour in hours)

    def filled(self, opened: Mapping[Hour, tuple[str, int]]) -> list[HourRange]:
        """The hours that it fills; ``opened`` are the digests of what was open at their ends."""
        hours: list[Hour] = []
        for run, silence in zip(self.runs, self.silences, strict=True):
            hours += run
            if opened.get(run.stop - 1, (EMPTY_DIGEST, 0))[0] != EMPTY_DIGEST:
                hours += silence
        return contiguous(hours)


def first_step(
    pending: Collection[Hour],
    recorded: Collection[Hour],
    arrived: Mapping[Hour, FilledHour],
    last: Hour,
    gap_s: int,
    most_hours: int,
    most_rows: int,
    plain: bool = False,
) -> Step:
    """The earliest pending hours, as many as one step should take.

    Args:
        pending: the hours that are to be filled.
        recorded: all other hours of which something is recorded; no step goes over them.
        arrived: the hours with events.
        last: the last hour that may be filled.
        gap_s: the silence that closes a session.
        most_hours: of the pending ones, no more than these.
        most_rows: of events, after which a step ends; an hour is never parted.
        plain: take the first hours in a row alone, without any silence.
    """
    walls = sorted(recorded)
    runs: list[HourRange] = []
    silences: list[HourRange] = []
    rows = hours = 0
    waiting = contiguous(pending)
    for run, following in zip(waiting, [*waiting[1:], None], strict=True):
        stop = run.first
        while stop < run.stop and (
            not (runs or hours) or (rows < most_rows and hours < most_hours)
        ):
            rows += arrived[stop].rows if stop in arrived else 0
            hours += 1
            stop += 1
        if stop == run.first:
            break
        # What is open at its end is closed by then, unless another run comes first.
        close = min(stop + -(-gap_s // HOUR_S) + 1, last + 1)
        if following is not None:
            close = min(close, following.first)
        is_alone = plain or stop < run.stop or _is_between(walls, stop, close)
        runs.append(HourRange(run.first, stop))
        silences.append(HourRange(stop, stop if is_alone else max(close, stop)))
        if is_alone or following is None or _is_between(walls, stop, following.first):
            break
    return Step(tuple(runs), tuple(silences))


def _is_between(hours: Sequence[Hour], first: Hour, stop: Hour) -> bool:
    """Whether any of the hours, which are in order, is in the half-open range."""
    at = bisect_left(hours, first)
    return at < len(hours) and hours[at] < stop
