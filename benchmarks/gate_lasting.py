"""Weeks in which luck lasts from hour to hour, or comes back every day: is the gate fooled?

Nothing real is in these looks: each has as many users as asked, one target each, whose differences
have the square that two decent models have on real logs.  What moves them all is one of:

- ``ar 0.8``, ``ar 0.9``: hours of a standard deviation of 5 % of the figure, each that share of the
  one before;
- ``cycle 0.06`` ...: up by that share by day and down by night, from the first look of a rise on;
- ``none``: a steady gain alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import median
from typing import Any

import numpy as np

from benchmarks.gate_weeks import WEEK_H, clopper_pearson
from pipeline.settings.learning import GateSettings
from training.gate.sequential_test import Sums, log_evidence, scale_of, squares, variance_of_days

FIGURE = 0.3
SQUARE = 0.05  # of a target's difference
SD = 0.05  # of an hour's luck, a share of the figure
LUCKS = ("ar 0.8", "ar 0.9", "cycle 0.06", "cycle 0.08", "cycle 0.10")


def moves(luck: str, rng: np.random.Generator) -> Iterator[float]:
    """What each hour of a week moves all users by, a share of the figure."""
    kind, _, size = luck.partition(" ")
    now = rng.normal()
    for hour in range(WEEK_H):
        if kind == "ar":
            yield SD * now
            now = float(size) * now + math.sqrt(1.0 - float(size) ** 2) * rng.normal()
        else:
            yield float(size) * math.sin(math.tau * hour / 24) if kind == "cycle" else 0.0


def first_proof(
    luck: str, users: int, gain: float, gate: GateSettings, rng: np.random.Generator
) -> int | None:
    """The look of a week at which the candidate is proven better, if any; days begin anywhere."""
    begin = int(rng.integers(24))
    by_day = np.zeros((3, WEEK_H // 24 + 1))  # d, c and n of each day
    gain_sum = apart = together = scale = 0.0
    c = FIGURE * users
    for hour, move in enumerate(moves(luck, rng)):
        d = c * (move + gain) + rng.normal() * math.sqrt(SQUARE * users)
        one = Sums(users=users, n=users, d=d, c=c, dd=SQUARE * users + d * d / users)
        scale = scale or scale_of(one, gate.min_targets, gate.day_swing)
        more = squares(one, gate.hour_swing)
        gain_sum, apart, together = gain_sum + d, apart + more[0], together + more[1]
        day = (begin + hour) // 24
        by_day[:, day] += d, c, users
        d_day, c_day, n_day = by_day[:, : day + 1]
        # Without a day's luck, the gate as it would be if hours were independent.
        days = variance_of_days(d_day, c_day, n_day, gate.day_swing) if gate.day_swing else 0.0
        variance = max(apart, together, days)
        if log_evidence(gain_sum, variance, scale) >= -math.log(1.0 - gate.confidence):
            return hour + 1
    return None


def lasting(
    luck: str, users: int, gain: float, gate: GateSettings, weeks: int, seed: int
) -> dict[str, Any]:
    """Share of the weeks with a proof, its exact interval, and the median look of it."""
    rng = np.random.default_rng(seed)
    looks = [first_proof(luck, users, gain, gate, rng) for _ in range(weeks)]
    proven = [look for look in looks if look is not None]
    lower, upper = clopper_pearson(len(proven), weeks)
    return {
        "luck": luck,
        "users": users,
        "gain": gain,
        "weeks": weeks,
        "share": len(proven) / weeks,
        "lower": lower,
        "upper": upper,
        "median_looks": median(proven) if proven else None,
        "day_swing": gate.day_swing,
    }
