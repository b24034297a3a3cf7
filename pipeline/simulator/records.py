"""The lines by which the simulated site's records tell of clicks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.array_types import Floats, Ints
from pipeline.settings.simulator import SimulatorSettings
from pipeline.simulator.faults import Damage, Deliveries, Fault, damaged
from pipeline.simulator.incidents import RecordFault
from pipeline.simulator.readers import Clicks
from pipeline.simulator.scenarios import robot_count
from pipeline.simulator.world import DEVICES, Stream, World, generator

_LOAD_SHAPE = 4.0
_MEAN_LOAD_S = 0.8


@dataclass(frozen=True)
class RecordedClicks:
    """All clicks of a world, and what their records say of each."""

    clicks: Clicks  # (N,)
    event_ids: list[str]  # (N,)
    time_us: Ints  # (N,) as told
    record_fault: Ints  # (N,) Telling
    load_s: Floats  # (N,)


def load_times(settings: SimulatorSettings, hours_before: int, clicks: int) -> Floats:
    """Seconds that the page of each click took to load: gamma of shape 4 and mean 0.8 s. (N,)

    They depend on nothing, and nothing depends on them.
    """
    rng = generator(settings.seed, Stream.LOADS, hours_before)
    return rng.gamma(_LOAD_SHAPE, _MEAN_LOAD_S / _LOAD_SHAPE, clicks)


def user_ids(world: World, settings: SimulatorSettings) -> list[str]:
    """People's ids, then robots'."""
    robots = range(settings.users, settings.users + robot_count(settings))
    return world.users.ids + [f"u{robot:06d}" for robot in robots]


def lines_of(
    world: World, settings: SimulatorSettings, recorded: RecordedClicks, deliveries: Deliveries
) -> list[bytes]:
    """The line of each record, without its end. (R,)"""
    clicks = recorded.clicks.take(deliveries.click)
    time_us = recorded.time_us[deliveries.click]
    robots = np.ones(robot_count(settings), dtype=np.int64)
    device = np.concatenate([world.users.device, robots])
    ids = user_ids(world, settings)
    lines = []
    for row, iso, epoch_us, telling, user, item, liked, rank, load_s, fault, damage in zip(
        deliveries.click.tolist(),
        np.datetime_as_string(time_us.astype("datetime64[us]"), timezone="UTC").tolist(),
        time_us.tolist(),
        recorded.record_fault[deliveries.click].tolist(),
        clicks.user.tolist(),
        clicks.item.tolist(),
        clicks.liked.tolist(),
        clicks.rank.tolist(),
        recorded.load_s[deliveries.click].tolist(),
        deliveries.fault.tolist(),
        deliveries.damage.tolist(),
        strict=True,
    ):
        time = f"{epoch_us // 1000}" if telling == RecordFault.TIME_MS else f'"{iso}"'
        who = "" if telling == RecordFault.NO_USER else f'"user":"{ids[user]}",'
        kind = "share" if telling == RecordFault.SHARE else "like" if liked else "view"
        on = "" if telling == RecordFault.NO_DEVICE else f'"device":"{DEVICES[device[user]]}",'
        load = f"{load_s * 1000:.0f}" if telling == RecordFault.LOAD_MS else f"{load_s:.3f}"
        placement = f'"front","rank":{rank}' if rank else '"story"'
        line = (
            f'{{"id":"{recorded.event_ids[row]}","ts":{time},{who}'
            f'"item":"{world.items.ids[item]}","type":"{kind}",'
            f'{on}"load_s":{load},"place":{placement}}}'
        ).encode()
        lines.append(damaged(line, Damage(damage)) if fault == Fault.MALFORMED else line)
    return lines
