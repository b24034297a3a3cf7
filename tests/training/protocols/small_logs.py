"""Small logs for the tests of protocols."""

from __future__ import annotations

import numpy as np

from pipeline.hours import HOUR_S, US_PER_S
from training.protocols.events import Coded, Log, log_of

START_S = 1_400_000_000


def log(*events: tuple[str, str, float], gap_s: int | None = HOUR_S) -> Log:
    """Events (user, item, seconds)."""
    users, items, seconds = zip(*events, strict=True)
    return log_of(
        Coded.of(np.array(users, object)),
        Coded.of(np.array(items, object)),
        np.array([round((START_S + s) * US_PER_S) for s in seconds], np.int64),
        gap_s=gap_s,
    )


def random_log(seed: int, n: int = 400, users: int = 15, items: int = 12) -> Log:
    """Events in bursts over two weeks, with repeats and events of the same time."""
    rng = np.random.default_rng(seed)
    seconds = rng.integers(14 * 24, size=n) * HOUR_S + rng.integers(4, size=n) * 600
    return log(
        *[
            (f"u{user}", f"i{item}", float(second))
            for user, item, second in zip(
                rng.integers(users, size=n), rng.integers(items, size=n), seconds, strict=True
            )
        ]
    )


def rows_of(events: Log) -> list[tuple[str, str, int]]:
    """User, item and time of each event, in order."""
    return [
        (str(events.user_ids[user]), str(events.item_ids[item]), int(time_us))
        for user, item, time_us in zip(events.user, events.item, events.time_us, strict=True)
    ]
