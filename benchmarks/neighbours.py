"""Neighbours against one another on public logs, without Spark or MLflow.

python -m benchmarks.neighbours --raw FOLDER [--logs yoochoose,deskdrop]

Each is fitted on the training part of the log (`benchmarks.quality`) and ranks all items for each
event of the test part; nothing is tuned.  Differences are over the same targets, with the 95 %
interval of 1 000 draws of users.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.quality.protocols import NO_REPEATS, parts_of_log
from benchmarks.quality.ranking import Entry, K, fitted, rule
from pipeline.settings.learning import EvaluationSettings
from training.metrics.bootstrap import paired_difference
from training.metrics.metrics import Metric, target_values
from training.metrics.ranking import rank_targets
from training.metrics.ranks import Ranks

LOGS = ("yoochoose", "deskdrop", "wikipedia", "movielens-100k")
_METRICS: tuple[Metric, ...] = ("recall", "mrr")
_SAMPLES, _CONFIDENCE = 1000, 0.95


def entries(repeats: bool) -> list[Entry]:
    """The first is what the others are compared with."""
    also = {"repeats": repeats}
    return [
        Entry("vsknn", "vsknn", also),
        Entry("vsknn last_shared", "vsknn", {"last_shared": True, **also}),
        Entry("stan", "stan", also),
        Entry("stan, 100 neighbours", "stan", {"neighbours": 100, **also}),
        Entry("v-stan", "stan", {"idf_weight": 1.0, "last_shared": True, **also}),
        Entry("item_knn", "item_knn", {"reach": 1, **also}),
        Entry("recent_pop", "recent_pop", {"k_h": 24}),
    ]


def difference(one: Ranks, other: Ranks) -> str:
    """Of each metric, with its interval."""
    parts = []
    for metric in _METRICS:
        values = (target_values(metric, ranks.rank, K) for ranks in (one, other))
        d = paired_difference(*values, one.user, samples=_SAMPLES, confidence=_CONFIDENCE, seed=0)
        parts.append(f"{d.mean:+.4f} [{d.lower:+.4f}, {d.upper:+.4f}]")
    return "  ".join(parts)


def compared(raw: Path, log: str, chosen: EvaluationSettings, repeats: bool) -> Iterator[str]:
    """A line for each model."""
    parts = parts_of_log(raw, log)
    first: Ranks | None = None
    for entry in entries(repeats):
        system = fitted(entry, parts.train, 0)
        begun_s = time.perf_counter()
        ranks = rank_targets(
            system, parts.test, chosen, model_id=entry.name, item_ids=parts.test.item_ids
        )
        per_s = ranks.n_targets / (time.perf_counter() - begun_s)
        first = first or ranks
        figures = "  ".join(
            f"{target_values(metric, ranks.rank, K).mean():.4f}" for metric in _METRICS
        )
        against = "" if ranks is first else difference(ranks, first)
        yield f"{entry.name:<22}{figures}  {per_s:>8,.0f}/s  {against}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="benchmarks.neighbours", description=__doc__)
    parser.add_argument("--raw", type=Path, required=True, help="folder of the raw logs' folders")
    parser.add_argument("--logs", type=lambda text: text.split(","), default=LOGS)
    given = parser.parse_args(arguments)
    for log in given.logs:
        for repeats in (False,) if log in NO_REPEATS else (False, True):
            said = "kept" if repeats else "dropped"
            print(f"{log}, repeats {said}: Recall@{K}, MRR@{K}, requests/s; less vsknn")
            chosen = rule("keep" if repeats else "drop", log == "yoochoose")
            for line in compared(given.raw, log, chosen, repeats):
                print(f"  {line}", flush=True)


if __name__ == "__main__":
    main()
