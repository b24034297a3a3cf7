"""Protocol E: what will the user rate the next film? (HRNN section 4.3, table 4).

The time is split: everything before T is learned from, each rating from T on is predicted from the
user's ratings before it.  n targets.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.figures import Figures, Runs
from benchmarks.quality.parts import Parts
from benchmarks.quality.progress import Say
from benchmarks.quality.ranking import Entry, fitted
from training.data.reader import Histories
from training.metrics.ranking import Targets
from training.protocols.ratings import AVERAGES, EarlierRatings, Rater, rating_targets, rmse


def compared(
    parts: Parts, entries: Sequence[Entry], seeds: Sequence[int], say: Say
) -> tuple[dict[str, Runs], dict[str, int]]:
    """RMSE of averages and of systems: of all targets, and of users who were learned from."""
    histories = parts.test.histories
    targets = rating_targets(histories)
    actual = histories.value[targets.position]
    learned_from = parts.train.histories.user_ids.astype(str)
    is_old = np.isin(histories.user_ids.astype(str), learned_from)[targets.requests.user]

    def figures(predicted: NDArray[np.floating]) -> Figures:
        return {
            "rmse": rmse(predicted, actual),
            "rmse of known users": rmse(predicted[is_old], actual[is_old]),
        }

    ratings = EarlierRatings(parts.train.histories, histories)
    averages = {name: average(ratings) for name, average in AVERAGES.items()}
    runs = {name: Runs([figures(each[targets.position])]) for name, each in averages.items()}
    for name, row in runs.items():
        say(name, row.rows[0])
    for entry in entries:
        rows = []
        for seed in seeds:
            system = fitted(entry, parts.train, seed)
            assert isinstance(system, Rater)
            rows.append(figures(predictions(system, histories, targets)))
            say(f"{entry.name}, seed {seed}", rows[-1])
        runs[entry.name] = Runs(rows)
    sizes = {
        "ratings": len(actual),
        "users": len(np.unique(targets.requests.user)),
        "ratings of known users": int(is_old.sum()),
    }
    return runs, sizes


def predictions(system: Rater, histories: Histories, targets: Targets) -> NDArray[np.float32]:
    """What a system expects of each target, (n,)."""
    return system.predict(histories, targets.requests, targets.item)
