"""What taking exposure out of training costs, and what it brings into the lists (HRNN 3.2, 4.4).

python -m benchmarks.ips_sweep --raw FOLDER --log yoochoose [--temperatures 0,4,2,1] [--epochs 4]
python -m benchmarks.ips_sweep --raw FOLDER --cold [--seeds 0,1,2,3,4,5,6,7]

A model is fitted at each temperature with each seed: log of the training frequency, divided by the
temperature, is added to the scores of training and left out of those of the test part.  So the
lower the temperature, the less popularity is recommended; 0 adds nothing.  All items are ranked,
ties against the model, repeats dropped; means over seeds with half of Student's 95 % interval.

    coverage    share of the catalogue that any list of 20 shows
    popularity  training events of an item, mean over all places of all lists

``--cold``: HRNN-meta's lists of films of movielens-100k that nobody has met, half of all, others
held out with each seed (as ``python -m benchmarks.quality cold``), and lists that learn nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.quality import cold, logs
from benchmarks.quality.figures import Figures, Runs, Table
from benchmarks.quality.parts import Parts
from benchmarks.quality.protocols import parts_of_log
from benchmarks.quality.ranking import Entry, K, fitted, rule
from benchmarks.quality.tuned import shipped
from pipeline.array_types import Ints
from pipeline.settings.learning import EvaluationSettings
from training.metrics.answers import Questions, answers_of, coverage
from training.metrics.metrics import mean_metric
from training.metrics.ranking import find_targets
from training.models.parts.base import Model
from training.protocols.cold import cold_task, list_figures, over_histories

# Networks that tell no trend apart: two corrections at once are refused.
FILES = {
    "yoochoose": "gru4rec_yoochoose",
    "deskdrop": "hrnn_deskdrop",
    "wikipedia": "hrnn_wikipedia",
    "movielens-100k": "hrnn_movielens",
}
_COLD = "hrnn_meta_movielens"
TEMPERATURES = (0.0, 4.0, 2.0, 1.0, 0.5)
SEEDS = (0, 1, 2)


def mean_popularity(shown: Ints, events: Ints) -> float:
    """Events (V,) of an item, mean over the lists that show it (V,)."""
    return float((shown * events).sum() / shown.sum())


def figures(model: Model, parts: Parts, chosen: EvaluationSettings) -> Figures:
    """How well the test part is answered, and with which items."""
    targets = find_targets(parts.test.histories, chosen)
    none = np.zeros(0, np.int64)
    questions = Questions(
        targets.requests, targets.item, none, none.astype(np.int32), chosen.repeats == "drop"
    )
    n_items = len(parts.test.item_ids)
    answers = answers_of(model, parts.test.histories, questions, n_items, [K], has_chances=False)
    shown = answers.shown[K]
    return {
        f"recall@{K}": mean_metric("recall", answers.rank, K),
        f"mrr@{K}": mean_metric("mrr", answers.rank, K),
        f"coverage@{K}": coverage(shown),
        "popularity": mean_popularity(shown, parts.train.item_events),
    }


def swept(
    parts: Parts,
    entry: Entry,
    temperatures: Sequence[float],
    seeds: Sequence[int],
    chosen: EvaluationSettings,
) -> dict[str, Runs]:
    """Figures at each temperature."""
    runs = {}
    for temperature in temperatures:
        at = _at(entry, temperature)
        runs[at.name] = Runs(
            [figures(fitted(at, parts.train, seed), parts, chosen) for seed in seeds]
        )
        print(f"{at.name}: {dict(runs[at.name].rows[0])}", flush=True)
    return runs


def swept_cold(
    films: logs.FilmLog, entry: Entry, temperatures: Sequence[float], seeds: Sequence[int]
) -> dict[str, Runs]:
    """Figures of lists of held-out items at each temperature, after those of the baselines."""
    rows: dict[str, list[Figures]] = {}
    for seed in seeds:
        task = cold_task(films.log, films.items, films.users, seed)
        lists = {
            name: scores_of(task, np.random.default_rng([seed, 1]))
            for name, scores_of in cold.BASELINES.items()
        }
        for temperature in temperatures:
            at = _at(entry, temperature)
            lists[at.name] = over_histories(fitted(at, task.train, seed), task)
        for name, scores in lists.items():
            rng = np.random.default_rng([seed, 2])
            of_lists = list_figures(scores, task.relevant, cold.CUTOFFS, rng)
            rows.setdefault(name, []).append(of_lists)
            print(f"{name}, seed {seed}: {of_lists}", flush=True)
    return {name: Runs(of_seeds) for name, of_seeds in rows.items()}


def _at(entry: Entry, temperature: float) -> Entry:
    parameters = {**entry.parameters, "ips_temperature": temperature}
    return Entry(
        f"temperature {temperature:g}" if temperature else "none", entry.system, parameters
    )


def _temperatures(text: str) -> list[float]:
    return [float(temperature) for temperature in text.split(",")]


def _seeds(text: str) -> list[int]:
    return [int(seed) for seed in text.split(",")]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table of a log, or of items that nobody has met."""
    parser = argparse.ArgumentParser(prog="benchmarks.ips_sweep", description=__doc__)
    parser.add_argument("--raw", type=Path, required=True, help="folder of the raw logs' folders")
    parser.add_argument("--log", choices=FILES, default="yoochoose")
    parser.add_argument("--temperatures", type=_temperatures, default=TEMPERATURES)
    parser.add_argument("--seeds", type=_seeds, default=SEEDS)
    parser.add_argument("--cold", action="store_true", help="films that nobody has met")
    parser.add_argument("--epochs", type=int, help="instead of those of the model's file")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    changes = {} if options.epochs is None else {"epochs": options.epochs}
    if options.cold:
        entry = shipped(_COLD, _COLD, **changes)
        runs = swept_cold(logs.film_log(options.raw), entry, options.temperatures, options.seeds)
        first = f"temperature {options.temperatures[0]:g}" if options.temperatures[0] else "none"
        pairs = [(name, first) for name in runs if name != first]
        print(Table("IPS, held-out items, movielens-100k", "", runs, pairs))
        return
    entry = shipped(FILES[options.log], FILES[options.log], **changes)
    parts = parts_of_log(options.raw, options.log)
    chosen = rule("drop", options.log == "yoochoose")
    runs = swept(parts, entry, options.temperatures, options.seeds, chosen)
    pairs = [(name, next(iter(runs))) for name in list(runs)[1:]]
    print(Table(f"IPS, {options.log}, {entry.name}", "repeats dropped", runs, pairs, parts.said))


if __name__ == "__main__":
    main()
