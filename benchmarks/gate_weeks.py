"""Weeks of hourly looks made of what two real models did: is the gate fooled, does it see a gain?

Two models are fitted on the first part of a log and ranked on the rest, hour by hour; what each
target adds to MRR@20 under either is kept.  A simulated week draws 168 of these hours, each of its
own hour of the day, and in each hour its users with replacement.  Two equal models come of swapping
the two models' labels at random: for each user, or for all users of an hour at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist, median
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality import logs
from benchmarks.quality.parts import US_PER_HOUR, split_by_time
from benchmarks.quality.ranking import freshened
from pipeline.settings.learning import EvaluationSettings, GateSettings
from training.gate.sequential_test import (
    Sums,
    contrast,
    log_evidence,
    scale_of,
    squares,
    variance_of_days,
)
from training.metrics.metrics import target_values
from training.metrics.ranking import rank_targets
from training.models import build

WEEK_H = 168
Swap = Literal["user", "hour"]
Floats = NDArray[np.float64]

_SMALL: dict[str, Any] = {
    "width": 64,
    "epochs": 5,
    "batch_events": 256,
    "bptt_steps": 4,
    "learning_rate": 0.004,
    "negatives": 0,
    "repeats": True,
    "validation_share": 0.0,
}
# Each pair: a system and its parameters and seed, twice.
PAIRS: dict[str, tuple[tuple[str, dict[str, Any], int], tuple[str, dict[str, Any], int]]] = {
    "seeds": (("hrnn", _SMALL, 0), ("hrnn", _SMALL, 1)),
    "systems": (("item_knn", {}, 0), ("vsknn", {}, 0)),
}


@dataclass(frozen=True)
class RealHour:
    """One hour of the log: n targets of U users, what two models made of them."""

    of_day: int
    user: NDArray[np.int64]  # (n,) 0 .. U - 1
    first: Floats  # (n,)
    second: Floats  # (n,)

    @property
    def n_users(self) -> int:
        """U."""
        return int(self.user.max()) + 1


def real_hours(raw: Path, log: str, pair: str, share: float) -> list[RealHour]:
    """Fit a pair of models on the first ``share`` of a log and rank the rest."""
    events = logs.joined(*logs.yoochoose(raw)) if log == "yoochoose" else logs.LOGS[log](raw)
    parts = split_by_time(events, share, 5)
    rule = EvaluationSettings(targets="within_session" if log == "yoochoose" else "all")
    values = []
    for system, parameters, seed in PAIRS[pair]:
        model = build(system, parameters)
        model.fit(parts.train, seed, lambda _: None)
        freshened(model, parts.test)
        ranks = rank_targets(model, parts.test, rule, model_id=system, item_ids=parts.test.item_ids)
        values.append(target_values("mrr", ranks.rank, rule.k))
    hour = ranks.time_us // US_PER_HOUR
    found = []
    for one in np.unique(hour):
        rows = np.flatnonzero(hour == one)
        _, user = np.unique(ranks.user[rows], return_inverse=True)
        found.append(RealHour(int(one % 24), user, values[0][rows], values[1][rows]))
    return found


@dataclass(frozen=True)
class Week:
    """When, if ever, each kind of gate would have promoted: the number of looks, or None."""

    sequential: int | None
    hour_alone: int | None  # an interval of each hour by itself
    peeking: int | None  # an interval of all hours so far, looked at every hour


def week(
    hours: Mapping[int, Sequence[RealHour]],
    rng: np.random.Generator,
    gate: GateSettings,
    swap: Swap,
    lift: float = 0.0,
) -> Week:
    """One simulated week of 168 looks; with ``lift``, the champion misses what makes that gain."""
    alpha, reach = 1.0 - gate.confidence, (1.0 + gate.confidence) / 2.0
    whole, apart, together, scale = Sums(), 0.0, 0.0, 0.0
    by_day = np.zeros((3, WEEK_H // 24))  # d, c and n of each day
    found: dict[str, int | None] = {"sequential": None, "hour_alone": None, "peeking": None}
    for number in range(WEEK_H):
        of_day = hours[number % 24]
        one = look(of_day[int(rng.integers(len(of_day)))], rng, swap, lift)
        whole = whole + one
        if not scale and one.dd > 0:
            scale = scale_of(one, gate.min_targets, gate.day_swing)
        more = squares(one, gate.hour_swing)
        apart, together = apart + more[0], together + more[1]
        by_day[:, number // 24] += one.d, one.c, one.n
        d, c, n = by_day[:, : number // 24 + 1]
        variance = max(apart, together, variance_of_days(d, c, n, gate.day_swing))
        enough = whole.users >= gate.min_users and whole.n >= gate.min_targets
        above = contrast(whole, reach).lower > 0
        proven = bool(scale) and log_evidence(whole.d, variance, scale) >= -math.log(alpha)
        saw = {
            "sequential": enough and above and proven,
            "hour_alone": one.users >= gate.min_users and contrast(one, reach).lower > 0,
            "peeking": enough and above,
        }
        for name, promotes in saw.items():
            if promotes and found[name] is None:
                found[name] = number + 1
        if found["sequential"] and lift:
            break
    return Week(**found)


def look(hour: RealHour, rng: np.random.Generator, swap: Swap, lift: float) -> Sums:
    """The sums of one hour: users drawn anew, labels swapped; d is candidate minus champion."""
    swapped = rng.random(hour.n_users if swap == "user" else 1) < 0.5
    swapped = np.broadcast_to(swapped, hour.n_users)[hour.user]  # (n,)
    candidate = np.where(swapped, hour.second, hour.first)
    champion = np.where(swapped, hour.first, hour.second)
    if lift:
        champion = champion * (rng.random(champion.size) < 1.0 / (1.0 + lift))
    drawn = np.bincount(rng.integers(0, hour.n_users, hour.n_users), minlength=hour.n_users)
    d = np.bincount(hour.user, candidate - champion)
    c = np.bincount(hour.user, champion)
    n = np.bincount(hour.user).astype(np.float64)
    return Sums(
        users=int(drawn.sum()),
        n=float(drawn @ n),
        d=float(drawn @ d),
        c=float(drawn @ c),
        dd=float(drawn @ (d * d)),
        dc=float(drawn @ (d * c)),
        dn=float(drawn @ (d * n)),
        cc=float(drawn @ (c * c)),
        cn=float(drawn @ (c * n)),
        nn=float(drawn @ (n * n)),
    )


def by_hour_of_day(hours: Sequence[RealHour]) -> dict[int, list[RealHour]]:
    """The hours of each hour of the day; where there is none, all."""
    found = {of_day: [one for one in hours if one.of_day == of_day] for of_day in range(24)}
    return {of_day: same or list(hours) for of_day, same in found.items()}


def summary(weeks: Sequence[Week]) -> dict[str, dict[str, Any]]:
    """Share of the weeks with a promotion, its exact interval, and the median look of it."""
    said = {}
    for name in ("sequential", "hour_alone", "peeking"):
        looks = [getattr(one, name) for one in weeks]
        promoted = [number for number in looks if number is not None]
        low, high = clopper_pearson(len(promoted), len(looks))
        said[name] = {
            "weeks": len(looks),
            "promoted": len(promoted),
            "share": len(promoted) / len(looks),
            "lower": low,
            "upper": high,
            "median_looks": median(promoted) if promoted else None,
        }
    return said


def clopper_pearson(hits: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Exact interval of a share (Clopper and Pearson 1934), by bisection on the binomial tails."""
    outside = (1.0 - confidence) / 2.0

    def at_most(share: float, most: int) -> float:
        if most < 0:
            return 0.0
        logs_ = [
            math.lgamma(trials + 1)
            - math.lgamma(k + 1)
            - math.lgamma(trials - k + 1)
            + k * math.log(share)
            + (trials - k) * math.log1p(-share)
            for k in range(most + 1)
        ]
        return math.fsum(map(math.exp, logs_))

    def crossing(most: int, wanted: float) -> float:
        low, high = 1e-12, 1 - 1e-12
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if at_most(middle, most) > wanted else (low, middle)
        return low

    lower = 0.0 if hits == 0 else crossing(hits - 1, 1.0 - outside)
    upper = 1.0 if hits == trials else crossing(hits, outside)
    return lower, upper


def traffic(hours: Sequence[RealHour]) -> str:
    """How much the real hours hold."""
    users, targets = [one.n_users for one in hours], [one.user.size for one in hours]
    z = NormalDist().inv_cdf(0.975)
    d = np.concatenate([one.first - one.second for one in hours])
    mean, half = float(d.mean()), z * float(d.std()) / math.sqrt(d.size)
    return (
        f"{len(hours)} real hours, median {median(users):.0f} users and {median(targets):.0f} "
        f"targets an hour; MRR@20 {np.concatenate([one.first for one in hours]).mean():.4f}, "
        f"first minus second {mean:+.4f} +- {half:.4f}"
    )
