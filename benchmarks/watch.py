"""How often the watch takes a model back in a week of hours, by how good the model is.

    python benchmarks/watch.py --weeks 200

Simulated traffic of `yoochoose`: 126 sessions an hour on average, by day more than by night, some
three targets each.  The live model finds ``1 + lift`` times what the floor finds, and shares much
of it; ``luck`` is the standard deviation of what the luck of an hour multiplies that by.
"""

from __future__ import annotations

import argparse
import math

import numpy as np

from pipeline.settings import Settings
from training.sequential import Sums, contrast, log_evidence, scale_of, uncertainty

HOURS, USERS, BASE, SHARED = 168, 126, 0.2, 0.4


def hour(rng: np.random.Generator, n: int, lift: float, luck: float) -> Sums:
    """Sums of floor minus live in the n-th hour of the week."""
    users = max(5, rng.poisson(USERS * (1 + 0.8 * math.sin(2 * math.pi * n / 24))))
    user = np.repeat(np.arange(users), 1 + rng.geometric(0.5, users)).astype(np.int32)
    ease = rng.beta(0.6, 0.6 * (1 - BASE) / BASE, users)[user]
    shared = rng.random(user.size)

    def values(scale: float) -> np.ndarray:
        draw = np.where(rng.random(user.size) < SHARED, shared, rng.random(user.size))
        found = draw < np.clip(ease * scale, 0, 1)
        return np.where(found, 1 / rng.integers(1, 21, user.size) ** 0.7, 0.0)

    live = values((1 + lift) * math.exp(rng.normal(0, luck)))
    return Sums.of(values(1.0), live, user)


def week(
    rng: np.random.Generator, lift: float, luck: float, settings: Settings
) -> tuple[int | None, bool]:
    """Hours until the model is taken back, and whether a plain interval each hour would have.

    The same two questions as `training.watch_numbers.judged`, whose sums are added up here as the
    hours go by instead of anew in each.
    """
    watch = settings.watch
    half = (1 - watch.confidence) / 2
    gain = variance = 0.0
    scale, taken, plain = None, None, False
    for n in range(HOURS):
        look = hour(rng, n, lift, luck)
        scale = scale or scale_of(look, settings.gate.min_targets)
        gain += look.d
        variance += uncertainty([look], settings.gate.hour_swing)
        if look.users < watch.min_users:
            continue
        plain = plain or contrast(look, 1 - half).lower > 0
        crash = contrast(look, 1 - half / HOURS).lower > 0
        lasting = look.d > 0 and log_evidence(gain, variance, scale) >= math.log(1 / half)
        if taken is None and (crash or lasting):
            taken = n + 1
    return taken, plain


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weeks", type=int, default=200)
    parser.add_argument("--seed", type=int, default=7)
    asked = parser.parse_args()
    print("| luck | lift | weeks | taken back | after, median | 99 % each hour alone |")
    print("|---|---|---|---|---|---|")
    for luck in (0.0, 0.05):
        for lift in (0.0, 0.05, -0.05, -0.1, -0.3, -0.5):
            rng = np.random.default_rng(asked.seed)
            weeks = asked.weeks if lift >= 0 else max(1, asked.weeks // 10)
            found = [week(rng, lift, luck, Settings()) for _ in range(weeks)]
            taken = [after for after, _ in found if after is not None]
            median = f"{np.median(taken):.0f} h" if taken else "-"
            plain = sum(one for _, one in found)
            print(f"| {luck} | {lift:+.2f} | {weeks} | {len(taken)} | {median} | {plain} |")


if __name__ == "__main__":
    main()
