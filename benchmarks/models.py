"""Sequence models against one another on public logs, the networks tuned within the same budget.

python -m benchmarks.models --raw FOLDER --work FOLDER [--logs yoochoose] [--models gru4rec,narm]
python -m benchmarks.models --work FOLDER --table

A network may try each of `TRIALS`, learning rate and dropout, all else is as its parameters'
defaults but for smaller batches; models without a rate are as they are.  Each trial is learned from
the training part less its latest tenth, which then says which trial and how many epochs are best.
With these it is fitted on the whole training part with each seed and ranks all items for each event
of the test part, repeats dropped.  Every pair of log and model has a file in ``--work``:
what is there is not run again.

Intervals: Recall@20 and MRR@20 are means over seeds with half of Student's 95 % interval;
differences are over the same targets, of the means over seeds, with the 95 % interval of 1,000
draws of users.  Beneath, whether what papers say of Recall or its like holds on these logs: where
the interval is above 0; reversed, where it is below; else open.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.quality.figures import Estimate
from benchmarks.quality.parts import Parts
from benchmarks.quality.protocols import parts_of_log
from benchmarks.quality.ranking import K, rule
from pipeline.array_types import Floats
from training.metrics.bootstrap import Interval, paired_difference
from training.metrics.metrics import Metric, target_values
from training.metrics.ranking import rank_targets
from training.models import ENCODERS, build
from training.models.parts.base import GradientTrained

LOGS = ("yoochoose", "deskdrop", "wikipedia", "movielens-100k")
# Learning rate and dropout, of inputs too: attention wants little of both, recurrence more.
TRIALS = ((0.003, 0.2), (0.006, 0.4))
EPOCHS = 10
BATCH_EVENTS = 256  # some 300 updates an epoch; with the defaults' 1,024 all were undertrained
# What makes a model what its paper says, where its defaults make it another one's equal.
STRUCTURE: dict[str, dict[str, Any]] = {
    "gru_layers": {"layers": 2, "layer_norm": True},
    "hm_lstm": {"layers": 2, "layer_norm": True},
    "bpr_mf": {"user_width": 100},
    "fm": {"user_width": 100},
}
SEEDS = (0, 1, 2)
FIRST = "gru4rec"  # what the others are compared with
BASELINES = ("pop", "recent_pop", "item_knn", "vsknn", "stan")
NETWORKS = ("gru4rec", "hrnn", *ENCODERS)
METRICS: tuple[Metric, ...] = ("recall", "mrr")
# Pairs of models, better before worse, and where that is published.
ORDERINGS = (
    ("hrnn", "gru4rec", "HRNN, Yoochoose"),
    ("gru4rec", "item_knn", "LSTR, Yoochoose"),
    ("gru4rec", "coevent_mf", "LSTR, Yoochoose"),
    ("coevent_mf", "item_knn", "LSTR, Yoochoose"),
    ("gru_layers", "gru4rec", "LSTR, Yoochoose"),
    ("hm_lstm", "gru4rec", "LSTR, Yoochoose"),
    ("asars", "gru4rec", "ASARS, Yoochoose"),
    ("gru4rec", "youtube_dnn", "ASARS, Yoochoose"),
    ("gru4rec", "wavenet", "ASARS, Yoochoose"),
    ("gru4rec", "bpr_mf", "MTAM, all six sets"),
    ("gru4rec", "sasrec", "MTAM, all six sets"),
    ("tisasrec", "sasrec", "MTAM, all six sets"),
    ("t_gru", "gru4rec", "MTAM, all six sets"),
    ("narm", "gru4rec", "MTAM, four of six sets"),
    ("narm", "stamp", "MTAM, five of six sets, not Yoochoose"),
    ("mtam", "narm", "MTAM, all six sets"),
    ("t_seqrec", "gru4rec", "MTAM, five of six sets, not Yoochoose"),
    ("m3", "gru4rec", "M3, ml-20m"),
    ("gru4rec", "fmc", "M3, ml-20m"),
    ("fmc", "caser", "M3, ml-20m"),
    ("caser", "deep_bow", "M3, ml-20m"),
    ("hgru", "hrnn", "HRNN, Reddit, 50 hidden units"),
)


def tuned(name: str, parts: Parts) -> dict[str, Any]:
    """The trial and the number of epochs that did best on the latest tenth of the training part."""
    results = []
    for rate, dropout in TRIALS:
        chosen = {
            **STRUCTURE.get(name, {}),
            "learning_rate": rate,
            "dropout": dropout,
            "input_dropout": dropout,
            "batch_events": BATCH_EVENTS,
            "device": "cpu",
        }
        trial = {**chosen, "epochs": EPOCHS, "refit": False}
        metrics = build(name, trial).fit(parts.train, 0, lambda _: None)
        results.append((metrics[f"validation_mrr_{K}"], round(metrics["best_epoch"]), chosen))
    _, epochs, best = max(results, key=lambda result: result[0])
    return {
        **best,
        # As in the trial, of which these epochs are the beginning.
        "final_rate": best["learning_rate"] * (1 - epochs / EPOCHS),
        "epochs": epochs,
        "validation_share": 0.0,
    }


def measured(raw: Path, log: str, name: str, seeds: Sequence[int]) -> dict[str, Any]:
    """What a model comes to on a log, values of each target (n,) and the user of each among it.

    In a process of its own, so that its memory can be told from that of others.
    """
    torch.set_num_threads(1)
    parts = parts_of_log(raw, log)
    is_network = isinstance(build(name, {}), GradientTrained)
    parameters = tuned(name, parts) if is_network else {}
    values: dict[str, list[Floats]] = {metric: [] for metric in METRICS}
    fit_s, ask_s = 0.0, 0.0
    users: list[int] = []
    for seed in seeds if is_network else seeds[:1]:
        model = build(name, parameters)
        begun_s = time.perf_counter()
        model.fit(parts.train, seed, lambda _: None)
        fitted_s = time.perf_counter()
        ranks = rank_targets(
            model,
            parts.test,
            rule("drop", log == "yoochoose"),
            model_id=name,
            item_ids=parts.test.item_ids,
        )
        fit_s += fitted_s - begun_s
        ask_s += time.perf_counter() - fitted_s
        for metric in METRICS:
            values[metric].append(target_values(metric, ranks.rank, K))
        users = ranks.user.tolist()
    n_fits = len(values["mrr"])
    steps = len(parts.train.histories.item) * int(parameters.get("epochs", 1)) * n_fits
    return {
        "log": log,
        "model": name,
        "parameters": parameters,
        "seeds": n_fits,
        "by_seed": {metric: [float(v.mean()) for v in values[metric]] for metric in METRICS},
        "values": {metric: np.mean(values[metric], axis=0).tolist() for metric in METRICS},
        "users": users,
        "train_events_per_s": steps / fit_s,
        "requests_per_s": len(users) * n_fits / ask_s,
        "peak_rss_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "machine": platform.machine(),
    }


def run_all(
    raw: Path,
    work: Path,
    pairs: Sequence[tuple[str, str]],
    seeds: Sequence[int],
    processes: int,
) -> None:
    """Measure each pair of log and model that has no file yet."""
    missing = {pair: work / "-".join(pair) for pair in pairs}
    with ProcessPoolExecutor(processes, get_context("spawn"), max_tasks_per_child=1) as pool:
        running = {
            pool.submit(measured, raw, *pair, seeds): path.with_name(f"{path.name}.json")
            for pair, path in missing.items()
            if not path.with_name(f"{path.name}.json").exists()
        }
        for done in as_completed(running):
            result = done.result()
            running[done].write_text(json.dumps(result))
            brief = {key: v for key, v in result.items() if key not in ("values", "users")}
            print(json.dumps(brief), flush=True)


def table(results: Sequence[dict[str, Any]]) -> list[str]:
    """Lines of a table in Markdown, best MRR first within a log."""
    by_log: dict[str, dict[str, dict[str, Any]]] = {}
    for result in results:
        by_log.setdefault(result["log"], {})[result["model"]] = result
    lines = []
    for log, of_log in by_log.items():
        lines += [
            "",
            f"| {log} | Recall@{K} | MRR@{K} | minus {FIRST}: Recall | MRR | events/s "
            "| GiB | tuned |",
            "|---|---|---|---|---|---|---|---|",
        ]
        ranked = sorted(of_log.values(), key=lambda result: -np.mean(result["by_seed"]["mrr"]))
        for result in ranked:
            figures = [str(Estimate.of(result["by_seed"][metric])) for metric in METRICS]
            against = ["", ""]
            if FIRST in of_log and result["model"] != FIRST:
                against = [_difference(result, of_log[FIRST], metric) for metric in METRICS]
            chosen = result["parameters"]
            settings = (
                f"{chosen['learning_rate']:g}, {chosen['dropout']:g}, {chosen['epochs']} epochs"
                if chosen
                else ""
            )
            speed = f"{result['train_events_per_s']:,.0f}" if chosen else ""
            memory = f"{result['peak_rss_gib']:.2f}"
            cells = [result["model"], *figures, *against, speed, memory, settings]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def orderings(results: Sequence[dict[str, Any]]) -> list[str]:
    """Lines of a table in Markdown: whether the published orderings hold, by log."""
    by_pair = {(result["log"], result["model"]): result for result in results}
    logs = list(dict.fromkeys(result["log"] for result in results))
    lines = [
        "",
        f"| better, worse | published | {' | '.join(logs)} |",
        f"|{'---|' * (len(logs) + 2)}",
    ]
    for better, worse, source in ORDERINGS:
        cells = []
        for log in logs:
            first, second = by_pair.get((log, better)), by_pair.get((log, worse))
            cells.append(_verdict(first, second) if first and second else "")
        if any(cells):
            lines.append(f"| {better}, {worse} | {source} | {' | '.join(cells)} |")
    return lines


def _verdict(better: dict[str, Any], worse: dict[str, Any]) -> str:
    """The difference of Recall, and what its interval says of the ordering."""
    d = _paired(better, worse, "recall")
    verdict = "holds" if d.lower > 0 else "**reversed**" if d.upper < 0 else "open"
    return f"{verdict} {d.mean:+.4f} [{d.lower:+.4f}, {d.upper:+.4f}]"


def _difference(result: dict[str, Any], first: dict[str, Any], metric: Metric) -> str:
    d = _paired(result, first, metric)
    return f"{d.mean:+.4f} [{d.lower:+.4f}, {d.upper:+.4f}]"


def _paired(result: dict[str, Any], other: dict[str, Any], metric: Metric) -> Interval:
    ours, theirs = (np.array(each["values"][metric]) for each in (result, other))
    user = np.array(other["users"], np.int32)
    return paired_difference(ours, theirs, user, samples=1000, confidence=0.95, seed=0)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing, and print the table of all that is there."""
    parser = argparse.ArgumentParser(prog="benchmarks.models", description=__doc__)
    parser.add_argument("--raw", type=Path, help="folder of the raw logs' folders")
    parser.add_argument("--work", type=Path, required=True, help="folder of the results")
    parser.add_argument("--logs", type=lambda text: text.split(","), default=LOGS)
    parser.add_argument(
        "--models", type=lambda text: text.split(","), default=(*BASELINES, *NETWORKS)
    )
    parser.add_argument("--seeds", type=int, default=len(SEEDS))
    parser.add_argument("--processes", type=int, default=2, help="of one thread each")
    parser.add_argument("--table", action="store_true", help="only print what is there")
    options = parser.parse_args(arguments)
    options.work.mkdir(parents=True, exist_ok=True)
    if not options.table:
        pairs = [(log, name) for name in options.models for log in options.logs]
        run_all(options.raw, options.work, pairs, range(options.seeds), options.processes)
    results = [json.loads(path.read_text()) for path in sorted(options.work.glob("*.json"))]
    print("\n".join([*table(results), *orderings(results)]))


if __name__ == "__main__":
    main()
