"""A scenario at work: what it does to the clicks of its hours and to the records of them.

Shapes: ``N`` clicks of the sessions that start in an hour, ``R`` records that tell of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np

from pipeline.array_types import Bools, Ints
from pipeline.hours import US_PER_HOUR, US_PER_S, Hour, HourRange
from pipeline.settings.simulator import SimulatorSettings
from pipeline.simulator.faults import Deliveries, Fault, deliver, join_deliveries
from pipeline.simulator.readers import Clicks, join_clicks
from pipeline.simulator.scenarios import FLOOD_ROBOTS, scenario_hours
from pipeline.simulator.world import Stream, World, generator

# Later than any simulated hour: the arrival of a record that is lost for good.
NEVER_US = np.iinfo(np.int64).max

_CLOCK_US = 3 * US_PER_HOUR
_STUCK_FROM_US = US_PER_HOUR // 3
_RELEASE_US = 60 * US_PER_S
_LOST_FIELD_SHARE = 0.3
_NEW_TYPE_SHARE = 0.1
_LATE_SHARE = 0.15
_LATE_US = (US_PER_HOUR, 3 * US_PER_HOUR)
_FLOOD_FACTOR = 2
_FLOOD_ITEMS = 5
_REPEAT_FACTOR = 0.5
_SPIKE_TRAFFIC = 1.5
_SPIKE_SHARE = 0.35
_NIGHT_LOSS = 0.2


class RecordFault(IntEnum):
    """How a record tells of its click."""

    AS_IT_WAS = 0
    NO_USER = 1
    NO_DEVICE = 2
    LOAD_MS = 3
    TIME_MS = 4
    SHARE = 5


@dataclass(frozen=True)
class ObservedClicks:
    """The clicks of an hour and what is told of them; ``time_us`` is what the records say."""

    clicks: Clicks  # (N,)
    time_us: Ints  # (N,)
    record_fault: Ints  # (N,) Telling
    deliveries: Deliveries  # (R,)


@dataclass
class Incident:
    """The scenario of the settings, or none; its memory goes from hour to hour."""

    settings: SimulatorSettings
    world: World
    hours: HourRange | None
    _items: Ints | None = None
    _last: Clicks | None = None

    @classmethod
    def of(cls, settings: SimulatorSettings, world: World) -> Incident:
        """The incident of a world.

        Raises:
            UsageError: the scenario has no first hour, or one before the world.
        """
        return cls(settings, world, scenario_hours(settings))

    def delivers_again(self, hour: Hour) -> bool:
        """Whether the files of the hour before come once more in this one."""
        return self._is("doubled_batch") and self.hours is not None and hour - 1 in self.hours

    def emit(self, hour: Hour, clicks: Clicks, first_click: int) -> ObservedClicks:
        """What is clicked, told and delivered of the sessions that start in an hour.

        Args:
            hour: the hour.
            clicks: what would be clicked without the scenario.
            first_click: the row that the first of the clicks has among all of the world.
        """
        settings = self.settings
        hours_before = hour.index - self.world.start.index
        rng = generator(settings.seed, Stream.SCENARIO, hours_before)
        if self.hours is not None and hour in self.hours:
            clicks = self._clicked(hour, clicks, rng)
        deliveries = deliver(settings, clicks, hours_before, first_click)
        time_us, telling = clicks.time_us, np.zeros(len(clicks), dtype=np.int64)
        if self.hours is not None:
            time_us, telling = self._observed(clicks, rng)
            altered = (time_us != clicks.time_us) | (telling != RecordFault.AS_IT_WAS)
            if self._is("repeating_producer"):
                altered |= clicks.robot & (clicks.user < settings.users)
            row = deliveries.click - first_click
            deliveries = _marked(deliveries, altered[row])
            deliveries = self._delivered(deliveries, clicks.user[row], rng)
        return ObservedClicks(clicks, time_us, telling, deliveries)

    def _is(self, name: str) -> bool:
        return self.settings.scenario == name

    def _within(self, time_us: Ints) -> Bools:
        first_us, stop_us = self._ends_us
        return (time_us >= first_us) & (time_us < stop_us)

    @property
    def _ends_us(self) -> tuple[int, int]:
        hours = self.hours or HourRange(self.world.start, self.world.start)
        return hours.first.index * US_PER_HOUR, hours.stop.index * US_PER_HOUR

    def _clicked(self, hour: Hour, clicks: Clicks, rng: np.random.Generator) -> Clicks:
        people = clicks.take(~clicks.robot)
        if not len(people):
            return clicks
        if self._is("real_night"):
            _, session = np.unique([clicks.user, clicks.session], axis=1, return_inverse=True)
            gone = rng.random(len(clicks)) < _NIGHT_LOSS
            return clicks.take(clicks.robot | ~gone[session.ravel()])
        if self._is("bot_flood"):
            return join_clicks([clicks, self._flood(hour, people, rng)])
        if self._is("repeating_producer"):
            return join_clicks([clicks, self._repeats(hour, people)])
        if self._is("real_spike"):
            return join_clicks([clicks, self._news_readers(hour, people, rng)])
        return clicks

    def _flood(self, hour: Hour, people: Clicks, rng: np.random.Generator) -> Clicks:
        """Robots that open a handful of items, the same all through."""
        if self._items is None:
            read = np.unique(people.item)
            self._items = rng.choice(read, size=min(_FLOOD_ITEMS, len(read)), replace=False)
        n = _FLOOD_FACTOR * len(people)
        robot = self.settings.users + self.settings.robots + rng.integers(FLOOD_ROBOTS, size=n)
        time_us = hour.index * US_PER_HOUR + np.sort(rng.integers(US_PER_HOUR, size=n))
        return _by_machine(time_us, robot, rng.choice(self._items, size=n))

    def _repeats(self, hour: Hour, people: Clicks) -> Clicks:
        """The first click of the first hour once more and once more, evenly spaced."""
        start_us = hour.index * US_PER_HOUR
        if self._last is None:
            self._last = people.take(np.array([people.time_us.argmin()]))
            start_us = int(self._last.time_us[0])
        left_us = (hour.index + 1) * US_PER_HOUR - start_us
        n = round(_REPEAT_FACTOR * len(people))
        time_us = start_us + (np.arange(1, n + 1) * left_us) // (n + 1)
        return _by_machine(time_us, *(np.repeat(c, n) for c in (self._last.user, self._last.item)))

    def _news_readers(self, hour: Hour, people: Clicks, rng: np.random.Generator) -> Clicks:
        """People who would not have read now come for one item; some then read another."""
        if self._items is None:
            self._items = np.array([np.bincount(people.item).argmax()])
        star = int(self._items[0])
        total = round(_SPIKE_TRAFFIC * len(people))
        idle = rng.permutation(np.setdiff1d(np.arange(self.settings.users), people.user))
        wanted = round(_SPIKE_SHARE * total) - int((people.item == star).sum())
        user = idle[: max(wanted, 0)]
        stays = np.arange(len(user)) < total - len(people) - len(user)
        start_us = hour.index * US_PER_HOUR + rng.integers(US_PER_HOUR, size=len(user))
        shape, scale_s = self.settings.dwell_shape, self.settings.dwell_scale_s
        dwell_us = (rng.gamma(shape, scale_s, len(user)) * US_PER_S).astype(np.int64) + 1
        others = people.take(people.item != star)
        onward = rng.integers(max(len(others), 1), size=int(stays.sum()))
        users = np.concatenate([user, user[stays]])
        item = np.concatenate([np.full(len(user), star), others.item[onward]])
        taste, vector = self.world.users.taste[users], self.world.items.vector[item]
        return Clicks(
            time_us=np.concatenate([start_us, (start_us + dwell_us)[stays]]),
            user=users,
            item=item,
            liked=np.zeros(len(users), dtype=np.bool_),
            session=np.concatenate([start_us, start_us[stays]]),
            position=np.repeat([0, 1], [len(user), len(onward)]),
            dwell_s=np.concatenate(
                [np.where(stays, dwell_us / US_PER_S, np.nan), np.full(len(onward), np.nan)]
            ),
            rank=np.concatenate([np.ones(len(user), dtype=np.int64), others.rank[onward]]),
            affinity=np.einsum("nd,nd->n", taste, vector),
            robot=np.zeros(len(users), dtype=np.bool_),
        )

    def _observed(self, clicks: Clicks, rng: np.random.Generator) -> tuple[Ints, Ints]:
        """The time (N,) and the manner (N,) that the records tell."""
        within = self._within(clicks.time_us)
        share, telling = {
            "missing_field": (_LOST_FIELD_SHARE, RecordFault.NO_USER),
            "missing_context": (1.0, RecordFault.NO_DEVICE),
            "wrong_unit": (1.0, RecordFault.LOAD_MS),
            "wrong_time_unit": (1.0, RecordFault.TIME_MS),
            "new_event_type": (_NEW_TYPE_SHARE, RecordFault.SHARE),
        }.get(str(self.settings.scenario), (0.0, RecordFault.AS_IT_WAS))
        chosen = within & (rng.random(len(clicks)) < share)
        off_us = {"shifted_clock": -_CLOCK_US, "fast_clock": _CLOCK_US}.get(
            str(self.settings.scenario), 0
        )
        off = within & _of_one_producer(clicks.user)
        return np.where(off, clicks.time_us + off_us, clicks.time_us), np.where(chosen, telling, 0)

    def _delivered(
        self, deliveries: Deliveries, user: Ints, rng: np.random.Generator
    ) -> Deliveries:
        """The records as they arrive, of the users (R,)."""
        arrival_us = deliveries.arrival_us
        within = self._within(arrival_us)
        if self._is("doubled_batch"):
            copies = deliveries.take(within)
            fault = np.where(copies.fault == Fault.MALFORMED, copies.fault, Fault.DUPLICATE)
            copies = replace(
                copies,
                arrival_us=copies.arrival_us + US_PER_HOUR,
                fault=fault,
                again=np.ones(len(fault), dtype=np.bool_),
            )
            return join_deliveries([deliveries, copies])
        if self._is("silent_drop"):
            moved = within & _of_one_producer(user)
            then_us = np.full(len(moved), NEVER_US)
        elif self._is("late_delivery"):
            moved = within & (rng.random(len(within)) < _LATE_SHARE)
            then_us = arrival_us + rng.integers(*_LATE_US, size=len(moved))
        elif self._is("stuck_producer"):
            first_us, stop_us = self._ends_us
            stopped_us = first_us + _STUCK_FROM_US
            moved = within & (arrival_us >= stopped_us)
            # In the order in which they were held, all within a minute.
            elapsed = (arrival_us - stopped_us) / (stop_us - stopped_us)
            then_us = stop_us + (elapsed * _RELEASE_US).astype(np.int64)
        else:
            return deliveries
        moved_us = np.where(moved, then_us, arrival_us)
        return _marked(replace(deliveries, arrival_us=moved_us), moved)


def _of_one_producer(user: Ints) -> Bools:
    """Whether the first of two producers reports the user."""
    return np.equal(user % 2, 0)


def _marked(deliveries: Deliveries, altered: Bools) -> Deliveries:
    """Records that the scenario altered, duplicates and wrecks staying what they are."""
    first = (deliveries.fault != Fault.DUPLICATE) & (deliveries.fault != Fault.MALFORMED)
    return replace(deliveries, fault=np.where(altered & first, Fault.SCENARIO, deliveries.fault))


def _by_machine(time_us: Ints, user: Ints, item: Ints) -> Clicks:
    n = len(time_us)
    return Clicks(
        time_us=time_us,
        user=user,
        item=item,
        liked=np.zeros(n, dtype=np.bool_),
        session=np.full(n, time_us.min(initial=NEVER_US)),
        position=np.arange(n),
        dwell_s=np.full(n, np.nan),
        rank=np.ones(n, dtype=np.int64),
        affinity=np.full(n, np.nan),
        robot=np.ones(n, dtype=np.bool_),
    )
