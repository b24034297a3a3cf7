"""How often the monitor rolls a model back in a week of hours, by how good the model is.

    python benchmarks/monitor.py --weeks 200
    python benchmarks/monitor.py --weeks 100 --horizon 6
    python benchmarks/monitor.py --weeks 100 --people 1000 --taste 0.8

Simulated traffic of `yoochoose`: 126 sessions an hour on average, by day more than by night, some
three targets each.  The live model finds ``1 + lift`` times what the floor finds, and shares much
of it; ``luck`` is the standard deviation of what the luck of an hour multiplies that by.  With
``people`` those who come are always the same, some of them much more often; with ``taste`` one half
of them is better served by the live model for good, the other half by the floor, and who belongs to
which has nothing to do with how often he comes.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.settings.settings import Settings
from training.gate.sequential_test import Sums, contrast, log_evidence, scale_of, squares

HOURS, USERS, BASE, SHARED = 168, 126, 0.2, 0.4


@dataclass(frozen=True)
class World:
    """Who comes, and by how much the live model is better."""

    lift: float
    luck: float
    people: int  # 0: strangers each hour
    taste: float


def hour(
    rng: np.random.Generator, n: int, world: World, activity: NDArray[np.float64]
) -> NDArray[np.float64]:
    """By user (user, floor minus live, live, targets) in the n-th hour of the week."""
    users = max(5, rng.poisson(USERS * (1 + 0.8 * math.sin(2 * math.pi * n / 24))))
    who = np.arange(users) + n * 10_000
    if world.people:
        who = rng.choice(world.people, min(users, world.people), replace=False, p=activity)
        # Two who differ in taste alone are a pair.
        ease = ease_of(np.random.default_rng(5), world.people // 2 + 1)[who // 2]
    else:
        ease = ease_of(rng, who.size)
    likes = 1 + world.taste * np.where(who % 2, 1, -1)
    row = np.repeat(np.arange(who.size), 1 + rng.geometric(0.5, who.size))
    shared = rng.random(row.size)

    def values(scale: NDArray[np.float64]) -> NDArray[np.float64]:
        draw = np.where(rng.random(row.size) < SHARED, shared, rng.random(row.size))
        found = draw < np.clip((ease * scale)[row], 0, 1)
        gains = np.where(found, 1 / rng.integers(1, 21, row.size) ** 0.7, 0.0)
        return np.bincount(row, gains, minlength=who.size)

    live = values((1 + world.lift) * math.exp(rng.normal(0, world.luck)) * likes)
    floor = values(2 - likes)
    return np.stack([who, floor - live, live, np.bincount(row)], axis=1)


def ease_of(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    """How easily the floor finds what each of n users wants."""
    return rng.beta(0.6, 0.6 * (1 - BASE) / BASE, n)


def by_user(rows: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """The same columns, each user once."""
    whole = np.concatenate(rows)
    who, place = np.unique(whole[:, 0], return_inverse=True)
    columns = [np.bincount(place, whole[:, at]) for at in (1, 2, 3)]
    return np.stack([who, *columns], axis=1)


@dataclass
class Chain:
    """Looks that do not overlap, added up as they go by."""

    gain: float = 0.0
    parts: list[float] = field(default_factory=lambda: [0.0, 0.0])
    users: list[NDArray[np.float64]] = field(default_factory=list)
    scale: float | None = None

    def add(self, look: NDArray[np.float64], sums: Sums, settings: Settings) -> None:
        """One look more."""
        self.scale = self.scale or scale_of(sums, settings.gate.min_targets)
        self.gain += sums.d
        for at, part in enumerate(squares(sums, settings.gate.hour_swing)):
            self.parts[at] += part
        self.users = [by_user([*self.users, look])]

    def is_sure(self, alpha: float, world: World) -> bool:
        """Whether the looks say that the floor is better."""
        people = float((self.users[0][:, 1] ** 2).sum()) if world.people else 0.0
        variance = max(*self.parts, people)
        assert self.scale is not None
        return log_evidence(self.gain, variance, self.scale) >= math.log(1 / alpha)


def week(
    rng: np.random.Generator, world: World, horizon: int, settings: Settings
) -> tuple[int | None, bool]:
    """Hours until the model is taken back, and whether a plain interval each hour would have.

    The same two questions as `training.deployment.monitor_statistics.monitor_numbers`, whose sums
    are added up here as the hours go by instead of anew in each.
    """
    monitor = settings.monitor
    half = (1 - monitor.confidence) / 2
    chains = [Chain() for _ in range(horizon)]
    taken, plain = None, False
    activity = rng.lognormal(0, 1.0, world.people)
    activity /= activity.sum() or 1.0
    hours = [hour(rng, n, world, activity) for n in range(HOURS + horizon - 1)]
    for n in range(HOURS):
        look = by_user(hours[n : n + horizon])
        sums = Sums.of_users(look[:, 1], look[:, 2], look[:, 3])
        chain = chains[n % horizon]
        chain.add(look, sums, settings)
        if sums.users < monitor.min_users:
            continue
        plain = plain or contrast(sums, 1 - half).lower > 0
        crash = contrast(sums, 1 - half / HOURS).lower > 0
        lasting = sums.d > 0 and chain.is_sure(half / horizon, world)
        if taken is None and (crash or lasting):
            taken = n + 1
    return taken, plain


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weeks", type=int, default=200)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--horizon", type=int, default=1, help="hours of a look, taken every hour")
    parser.add_argument("--people", type=int, default=0, help="so many, again and again")
    parser.add_argument("--taste", type=float, default=0.0)
    lifts = [0, 0.05, -0.05, -0.1, -0.3, -0.5]
    parser.add_argument("--lifts", type=float, nargs="+", default=lifts)
    asked = parser.parse_args()
    print("| luck | lift | weeks | taken back | after, median | 99 % each hour alone |")
    print("|---|---|---|---|---|---|")
    for luck in (0.0, 0.05):
        for lift in asked.lifts:
            rng = np.random.default_rng(asked.seed)
            weeks = asked.weeks if lift >= 0 else max(1, asked.weeks // 10)
            world = World(lift, luck, asked.people, asked.taste)
            found = [week(rng, world, asked.horizon, Settings()) for _ in range(weeks)]
            taken = [after for after, _ in found if after is not None]
            median = f"{np.median(taken):.0f} h" if taken else "-"
            plain = sum(one for _, one in found)
            print(f"| {luck} | {lift:+.2f} | {weeks} | {len(taken)} | {median} | {plain} |")


if __name__ == "__main__":
    main()
