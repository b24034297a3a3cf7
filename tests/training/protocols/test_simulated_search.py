"""P15 on a shop in which words decide: what HRNN's figure 4 shows, and a search log's table."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import yaml
from search_logs import shop

from pipeline.errors import UsageError
from training.cli.main import run
from training.protocols.protocol import read_protocol
from training.protocols.run import chosen_models, run_protocol

LEARN = {
    "width": 24, "epochs": 12, "learning_rate": 0.02, "dropout": 0.1, "input_dropout": 0.1,
    "validation_share": 0.0, "negatives": 0, "batch_events": 128, "trend": False,
    "session_input": False, "delta_input": False, "dwell_input": False, "feedback_input": False,
}  # fmt: skip
VARIANTS: dict[str, dict[str, object]] = {
    "interactions": {"item_features": False},
    "metadata": {"item_vectors": False},
    "metadata T=1": {"item_vectors": False, "ips_temperature": 1.0},
    "both": {},
    "both l=1": {"warm_mix": 1.0},
}


def own(folder: Path, **changes: object) -> Path:
    models = {
        name: {"type": "hrnn_meta", "parameters": {**LEARN, **variant}}
        for name, variant in VARIANTS.items()
    }
    split = {"kind": "flagged_queries", "share": 0.3}
    content = {
        "id": "OWN", "paper": "none", "title": "a test", "preparation": {"gap_s": None},
        "data": {
            "as it is": {"format": "diginetica"},
            "cold": {"format": "diginetica", "split": {**split, "cold_share": 0.5}},
        },
        "split": split,
        "questions": {"targets": "query_list", "repeats": "keep", "metrics": ["ndcg_all"]},
        "models": {"pop": {"type": "pop"}, **models},
        **changes,
    }  # fmt: skip
    path = folder / "own.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.parametrize("seeds", [(0,), pytest.param((0, 1, 2), marks=pytest.mark.nightly)])
def test_words_find_cold_products_and_ips_helps_them(
    tmp_path: Path, seeds: tuple[int, ...]
) -> None:
    runs: dict[str, list[dict[str, float]]] = {}
    for seed in seeds:
        folder = shop(tmp_path / str(seed), seed, 300, 1200, 30)
        protocol = read_protocol(str(own(folder)))
        models = chosen_models(protocol, [])
        for result in run_protocol(
            protocol, folder, [seed], models, lambda _: nullcontext(), lambda _: None
        ):
            reached = {row.name: row.reached["NDCG"].mean for row in result.rows}
            runs.setdefault(result.data, []).append(reached)
    whole, cold = (
        {name: float(np.mean([reached[name] for reached in runs[log]])) for name in runs[log][0]}
        for log in ("as it is", "cold")
    )
    print({name: (round(whole[name], 3), round(cold[name], 3)) for name in whole})
    # Nothing was learned of cold products but by their words.
    assert cold["metadata"] > cold["interactions"] + 0.2
    assert cold["metadata T=1"] > cold["metadata"] + 0.02
    assert cold["both l=1"] > cold["both"] + 0.05
    # Where products are known, interactions are worth as much, and exposure is no error.
    assert whole["interactions"] > whole["pop"] + 0.3
    assert whole["metadata T=1"] < whole["metadata"] + 0.02


def test_the_shipped_protocol_reads_both_logs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HOURGLASS_CONFIG", raising=False)
    raw = str(shop(tmp_path / "raw", 0, 40, 200, 8))
    arguments = ["leaderboard", "--protocol", "P15", "--raw", raw, "--models", "random,pop"]
    assert run(arguments) == 0
    printed = capsys.readouterr().out
    assert "ranked: 40 products, described by 8 words" in printed
    assert "total variation: products, learned and asked 0." in printed
    assert "figure 4 (b) of the paper shows this without numbers: compare with the note" in printed
    assert "nothing was published" not in printed
    assert run([*arguments, "--json"]) == 0
    whole, cold = json.loads(capsys.readouterr().out)["tables"]
    assert whole["data"] == "cikm cup 2016"
    assert whole["sizes"]["tested_users"] == 60  # of 200 the latest 30 %
    assert cold["total_variation"]["products, learned and asked"] == 1
    assert 0 < cold["rows"][0]["reached"]["NDCG"]["mean"] < 1


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"split": {"kind": "leave_last_out"}}, "query_list and the split flagged_queries go"),
        ({"data": {"x": {"format": "movielens_csv"}}}, "is of search logs, of format diginetica"),
        (
            {"questions": {"targets": "query_list", "repeats": "keep", "k": [5],
                           "metrics": ["recall"]}},
            "a query_list has no recall: use ndcg_all",
        ),
        ({"preparation": {"gap_s": None, "min_item_events": 1000}}, "leaves no event: this log is"),
        ({"split": {"kind": "flagged_queries", "share": 0.001}}, "leaves no event to ask"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused(
    tmp_path: Path, changes: dict[str, object], sentence: str
) -> None:
    folder = shop(tmp_path, 0, 40, 200, 8)
    (folder / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,1,3,1000000000\n")
    with pytest.raises(UsageError, match=sentence):
        protocol = read_protocol(str(own(folder, **changes)))
        run_protocol(protocol, folder, [0], {}, lambda _: nullcontext(), lambda _: None)
