"""How far back an item was first seen when it was asked for, and who lists it that early.

An item's very first event can be foretold by nobody who learns from events alone; its second can,
by whoever has counted since.  n targets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.array_types import Floats, Ints
from pipeline.hours import US_PER_HOUR

_HOURS = (1, 6, 24, 168)
#: Ages, the youngest first.
AGES = ("first event", "under 1 h", "1 to 6 h", "6 to 24 h", "1 to 7 days", "older")


def ages_of(item_age_us: Ints) -> Ints:
    """Which of `AGES` each target has, (n,), by the time since its item's first event (n,)."""
    bounds = [1, *(hours * US_PER_HOUR for hours in _HOURS)]
    ages: Ints = np.searchsorted(bounds, item_age_us, side="right")
    return ages


def by_age(item_age_us: Ints, values: Mapping[str, Floats]) -> list[dict[str, Any]]:
    """For each age with targets how many they are, and the mean value (n,) of each arm."""
    ages = ages_of(item_age_us)
    return [
        {
            "age": name,
            "n_targets": int((ages == number).sum()),
            "means": {
                arm: round(float(of_arm[ages == number].mean()), 5)
                for arm, of_arm in values.items()
            },
        }
        for number, name in enumerate(AGES)
        if (ages == number).any()
    ]


def age_lines(rows: Sequence[Mapping[str, Any]], arms: Sequence[str], k: int) -> list[str]:
    """A Markdown table, an arm a line."""
    heads = " | ".join(f"{row['age']} ({row['n_targets']:,})" for row in rows)
    return [
        f"## Recall@{k} by the age of the item, with targets",
        "",
        f"| arm | {heads} |",
        "|---|" + "---|" * len(rows),
        *(
            f"| {arm} | " + " | ".join(f"{row['means'][arm]:.4f}" for row in rows) + " |"
            for arm in arms
        ),
        "",
    ]
