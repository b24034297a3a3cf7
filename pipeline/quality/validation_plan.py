"""Which hours are judged, and in what batches."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.hours import Hour, HourRange, contiguous
from pipeline.quality.verdicts import Kind, Steps, changed_hours, standing_verdicts

# Up to a day is judged hour by hour; a longer range in a few large batches, because a page for each
# of its hours would help nobody.
HOURLY_UP_TO_H = 24
MOST_LARGE_BATCHES = 8


def alone(hour: Hour) -> HourRange:
    """The hour as a range."""
    return HourRange(hour, hour + 1)


def hours_again(steps: Steps, kind: Kind, before: HourRange) -> list[Hour]:
    """Hours before the range whose verdict is no longer about what they and those before hold."""
    from pipeline.quality.comparison import SPAN_H

    changed = {hour for hour in changed_hours(steps, kind, before.stop) if hour in before}
    near = {hour + n for hour in changed for n in range(1, SPAN_H)}
    critical = {h for h, v in standing_verdicts(steps, kind, before).items() if v == "critical"}
    return sorted(changed | (near & critical))


def parts_of(steps: Steps, kind: Kind, hours: HourRange) -> Iterator[HourRange]:
    """The hours one by one, or in large batches where they are many and none was critical."""
    if len(hours) <= HOURLY_UP_TO_H:
        yield from hours.steps(1)
        return
    verdicts = standing_verdicts(steps, kind, hours)
    single = {h for h, verdict in verdicts.items() if verdict in ("critical", "accepted")}
    for part in hours.steps(-(-len(hours) // MOST_LARGE_BATCHES)):
        if single.isdisjoint(part):
            yield part
            continue
        yield from contiguous(hour for hour in part if hour not in single)
        yield from (alone(hour) for hour in part if hour in single)
