"""Tables of the sequence models' benchmark, of results made up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.models import ORDERINGS, main
from training.models import MODEL_NAMES


def result(log: str, model: str, recall: float) -> dict[str, Any]:
    """Of 400 targets of 100 users, hit with a chance."""
    hits = (np.random.default_rng(0).random(400) < recall).astype(float)
    return {
        "log": log,
        "model": model,
        "parameters": {"learning_rate": 0.003, "dropout": 0.2, "epochs": 4},
        "seeds": 1,
        "by_seed": {"recall": [float(hits.mean())] * 3, "mrr": [float(hits.mean()) / 2] * 3},
        "values": {"recall": hits.tolist(), "mrr": (hits / 2).tolist()},
        "users": np.repeat(np.arange(100), 4).tolist(),
        "train_events_per_s": 1234.5,
        "peak_rss_gib": 0.5,
    }


def test_orderings_hold_are_reversed_or_stay_open(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made_up = [
        result("a", "gru4rec", 0.5), result("a", "hrnn", 0.8), result("a", "sasrec", 0.505),
        result("b", "gru4rec", 0.8), result("b", "hrnn", 0.5),
    ]  # fmt: skip
    for each in made_up:
        (tmp_path / f"{each['log']}-{each['model']}.json").write_text(json.dumps(each))
    main(["--work", str(tmp_path), "--table"])
    lines = capsys.readouterr().out.splitlines()
    of_pair = {line.split(" | ")[0]: line for line in lines if line.count(", ") and "," in line}
    assert "| better, worse | published | a | b |" in lines
    holds, turned = of_pair["| hrnn, gru4rec"].split(" | ")[2:]
    assert holds.startswith("holds +0.2950 [+0.")
    assert turned.startswith("**reversed** -0.2950 [-0.")
    assert of_pair["| gru4rec, sasrec"].split(" | ")[2].startswith("open ")
    ranked = [
        line.split(" | ")[0] for line in lines if line.startswith(("| hrnn |", "| gru4rec |"))
    ]
    assert ranked == ["| hrnn", "| gru4rec", "| gru4rec", "| hrnn"]


def test_every_ordering_names_models() -> None:
    assert {name for better, worse, _ in ORDERINGS for name in (better, worse)} <= set(MODEL_NAMES)
