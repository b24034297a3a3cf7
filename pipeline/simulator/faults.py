"""What goes wrong between the click and the landing zone, and how often.

Shapes: ``N`` clicks, ``R`` records that are delivered.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import IntEnum

import numpy as np

from pipeline.array_types import Bools, Ints
from pipeline.hours import US_PER_HOUR
from pipeline.settings.simulator import SimulatorSettings
from pipeline.simulator.readers import Clicks
from pipeline.simulator.world import Stream, generator

_MOST_REPEAT_DELAY_US = 2 * US_PER_HOUR


class Fault(IntEnum):
    """What a delivered record is; each is exactly one of these.

    A robot's records are well formed and on time.  A late one arrives in a later hour than it
    happened in.  A duplicate is the same bytes once more, now or up to two hours later.  A
    malformed one is the wreck of a record that arrives whole besides.  One that a scenario changed,
    moved or made up is of that kind, unless it is a duplicate or malformed.
    """

    CLEAN = 0
    LATE = 1
    DUPLICATE = 2
    MALFORMED = 3
    ROBOT = 4
    SCENARIO = 5


class Damage(IntEnum):
    """How a malformed record is malformed."""

    CUT_SHORT = 0
    NO_USER = 1
    BAD_TIME = 2
    BINARY = 3
    ERROR_PAGE = 4


@dataclass(frozen=True)
class Deliveries:
    """Records as columns; ``click`` is the row of the click that each tells of."""

    arrival_us: Ints  # (R,)
    click: Ints  # (R,)
    fault: Ints  # (R,) Fault
    damage: Ints  # (R,) Damage of the malformed, else -1
    again: Bools  # (R,) whether in a file that is another one once more

    def take(self, rows: Ints | Bools) -> Deliveries:
        """Some of the records."""
        return Deliveries(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})


def deliver(
    settings: SimulatorSettings, clicks: Clicks, hours_before: int, first_click: int
) -> Deliveries:
    """The records by which one hour's clicks reach the landing zone.

    Args:
        settings: the rates of the faults.
        clicks: those of the sessions that start in the hour.
        hours_before: which hour of the world it is, from 0.
        first_click: the row that the first of the clicks has among all of the world.
    """
    rng = generator(settings.seed, Stream.FAULTS, hours_before)
    n = len(clicks)
    rows = np.arange(n)
    is_late = (rng.random(n) < settings.late_rate) & ~clicks.robot
    delay_h = rng.integers(1, settings.late_max_h + 1, size=n)
    late_us = (clicks.time_us // US_PER_HOUR + delay_h) * US_PER_HOUR + rng.integers(
        US_PER_HOUR, size=n
    )
    arrival_us = np.where(is_late, late_us, clicks.time_us)
    first = np.where(is_late, Fault.LATE, np.where(clicks.robot, Fault.ROBOT, Fault.CLEAN))

    repeated = rows[rng.random(n) < settings.duplicate_rate]
    repeat_us = arrival_us[repeated] + rng.integers(_MOST_REPEAT_DELAY_US, size=len(repeated))
    wrecked = rows[rng.random(n) < settings.malformed_rate]
    damage = rng.integers(len(Damage), size=len(wrecked))

    def constant(value: int, like: Ints) -> Ints:
        return np.full(len(like), value, dtype=np.int64)

    return Deliveries(
        arrival_us=np.concatenate([arrival_us, repeat_us, clicks.time_us[wrecked]]),
        click=np.concatenate([rows, repeated, wrecked]) + first_click,
        fault=np.concatenate(
            [first, constant(Fault.DUPLICATE, repeated), constant(Fault.MALFORMED, wrecked)]
        ),
        damage=np.concatenate([constant(-1, rows), constant(-1, repeated), damage]),
        again=np.zeros(n + len(repeated) + len(wrecked), dtype=np.bool_),
    )


def join_deliveries(parts: list[Deliveries]) -> Deliveries:
    """All records of several hours (at least one)."""
    return Deliveries(
        **{
            f.name: np.concatenate([getattr(deliveries, f.name) for deliveries in parts])
            for f in fields(Deliveries)
        }
    )


def damaged(line: bytes, damage: Damage) -> bytes:
    """A record's line, wrecked so that no reader can take it for a record."""
    if damage is Damage.CUT_SHORT:
        return line[: len(line) // 2]
    if damage is Damage.NO_USER:
        return line.replace(b'"user":', b'"usr":')
    if damage is Damage.BAD_TIME:
        return line.replace(b'"ts":"', b'"ts":"about ')
    if damage is Damage.BINARY:
        return b"\x00\xff\xfe" + line
    return b"<html><body><h1>502 Bad Gateway</h1></body></html>"
