"""``hourglass leaderboard --protocol``: from files to the table, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from pipeline.errors import UsageError
from training.cli.main import run
from training.models import MODEL_NAMES, build
from training.protocols.protocol import read_protocol, shipped
from training.protocols.raw_files import FORMATS
from training.protocols.search.raw_log import SEARCH_LOGS


@pytest.fixture
def clicks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three days of sessions in which the next item is the one after."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HOURGLASS_CONFIG", raising=False)
    rng = np.random.default_rng(0)
    lines = []
    for session in range(150):
        begins_s, item = 1_396_500_000 + session * 1500, int(rng.integers(20))
        lines += [
            f"{session}\t{(item + at) % 20}\t{begins_s + at}" for at in range(rng.integers(1, 6))
        ]
    text = "SessionId\tItemId\tTime\n" + "\n".join(lines) + "\n"
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "clicks_train_full.txt").write_text(text)
    return tmp_path / "raw"


def lines_of(out: str) -> dict[str, list[str]]:
    return {line.split()[0]: line.split() for line in out.splitlines() if line}


def test_one_command_leads_to_the_papers_table(
    clicks: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--raw", str(clicks), "--models", "pop,item_knn", "--seeds", "2"]
    assert run(["leaderboard", "--protocol", "p1", *arguments]) == 0
    printed = capsys.readouterr()
    rows = lines_of(printed.out)
    assert rows["P1"][:4] == ["P1", "on", "yoochoose,", "prepared:"]
    assert rows["model"] == ["model", "Recall@20", "(paper)", "MRR@20", "(paper)", "NDCG@20",
                             "(paper)", "PPL", "(paper)"]  # fmt: skip
    assert rows["pop"][-1] == "(17,683)"
    assert rows["pop"][-2] == "-"
    assert float(rows["item_knn"][2]) > 0.5
    assert rows["read:"][1].isdigit()
    assert "item_knn, seed 0: Recall@20" in printed.err
    assert "seed 1" not in printed.err  # chance has no part in either


def test_machines_get_every_figure(clicks: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--raw", str(clicks), "--models", "pop", "--json"]
    assert run(["leaderboard", "--protocol", "P1", *arguments]) == 0
    facts = json.loads(capsys.readouterr().out)
    (table,) = facts["tables"]
    assert (facts["protocol"], table["data"]) == ("P1", "yoochoose, prepared")
    (row,) = table["rows"]
    assert row["published"] == {"Recall@20": 0.006, "MRR@20": 0.001, "NDCG@20": 0.002, "PPL": 17683}
    assert row["reached"]["MRR@20"]["seeds"] == 1
    assert table["sizes"]["targets"] > 0
    assert table["files"] == [str(clicks / "clicks_train_full.txt")]


def own(clicks: Path, **changes: object) -> Path:
    """A protocol of one's own, of models that need no minute."""
    content = {
        "id": "OWN", "paper": "none", "title": "a test",
        "data": {"clicks": {"format": "yoochoose_prepared", "published": {
            "fmc": {"Recall@1": 0.5}, "elsewhere": {"Recall@1": 0.25}}}},
        "preparation": {"gap_s": None, "min_session_events": 2},
        "split": {"kind": "last_days", "days": 1},
        "questions": {
            "targets": "within_session", "repeats": "keep", "k": [1, 5], "next_n": [1, 2],
            "metrics": ["recall", "mrr_all", "set_recall", "perplexity", "coverage", "gini",
                        "items_per_s"],
        },
        "models": {
            "fmc": {"type": "fmc", "parameters": {
                "width": 16, "epochs": 3, "negatives": 0, "validation_share": 0.0}},
            "future": {"type": "not_yet"},
        },
        **changes,
    }  # fmt: skip
    path = clicks.parent / "own.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_seeds_have_an_interval_and_models_that_are_not_built_a_line(
    clicks: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--protocol", str(own(clicks)), "--raw", str(clicks), "--seeds", "2"]
    assert run(["leaderboard", *arguments]) == 0
    printed = capsys.readouterr().out
    rows = lines_of(printed)
    assert "±" in next(line for line in printed.splitlines() if line.startswith("fmc"))
    assert "not built: there is no model type not_yet" in printed
    assert rows["elsewhere"][-3:] == ["no", "model", "here"]
    assert "(0.2500)" in rows["elsewhere"]
    assert run(["leaderboard", "--json", *arguments]) == 0
    (table,) = json.loads(capsys.readouterr().out)["tables"]
    reached = {name: figure["mean"] for name, figure in table["rows"][0]["reached"].items()}
    assert reached["Recall@1"] == reached["Recall@1,N=1"] >= reached["Recall@1,N=2"]
    assert reached["MRR"] >= reached["Recall@1"]
    assert 1 < reached["PPL"] < 20
    assert 0 < reached["coverage@1"] <= reached["coverage@5"] <= 1
    assert reached["gini@1"] >= reached["gini@5"] >= 0
    assert reached["items/s"] > 0


def test_a_model_that_fails_is_told_with_the_others(
    clicks: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = {"pop": {"type": "pop"}, "meta": {"type": "hrnn_rating"}}
    path = own(clicks, models=models)
    assert run(["leaderboard", "--protocol", str(path), "--raw", str(clicks)]) == 1
    printed = capsys.readouterr()
    assert "failed: " in printed.out
    assert lines_of(printed.out)["pop"]
    assert "1 model failed: meta" in printed.err


REFUSED = {
    "unknown protocol": (["--protocol", "P99"], "no protocol 'P99'"),
    "no file": (["--protocol", "P6"], "no file of P6 is there: it reads *.inter*, */ratings.csv*"),
    "unknown model": (["--protocol", "P1", "--models", "popp"], "did you mean 'pop'?"),
    "split": (["--protocol", "P2"], "leaves no event to learn from"),
    "only with a protocol": (["--seeds", "2"], "--seeds is of a protocol"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_asked_wrongly_ends_in_one_sentence(
    clicks: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    arguments, sentence = REFUSED[name]
    raw = ["--raw", str(clicks)] if "--protocol" in arguments else []
    assert run(["leaderboard", *arguments, *raw]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("hourglass: ")
    assert sentence in said


def test_thresholds_that_leave_nothing_are_named(
    clicks: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = own(clicks, preparation={"min_item_events": 1000})
    assert run(["leaderboard", "--protocol", str(path), "--raw", str(clicks)]) == 2
    sentence = capsys.readouterr().err.strip().splitlines()[-1]
    assert "leaves no event: this log is too small" in sentence
    assert "min_item_events 1000" in sentence


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"nonsense": 1}, "nonsense: unknown key"),
        ({"split": {"kind": "half_given", "users": 3}}, "go together"),
        ({"split": {"kind": "random_users", "learned": 0.9, "tested": 0.2}}, "more than 1"),
        ({"preparation": {"window_events": 4, "window_step": 5}}, "events would be lost"),
        (
            {"data": {"x": {"format": "inter", "published": {"pop": {"HR@9": 0.1}}}}},
            "published with HR@9, which is not asked",
        ),
    ],
)
def test_a_file_that_is_wrong_is_refused(
    clicks: Path, changes: dict[str, object], sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence) as error:
        read_protocol(str(own(clicks, **changes)))
    assert "own.yaml: " in str(error.value)


@pytest.mark.parametrize("name", shipped())
def test_what_is_shipped_can_be_run(name: str) -> None:
    protocol = read_protocol(name)
    assert protocol.id == name
    for data in protocol.data.values():
        assert data.format in {*FORMATS, *SEARCH_LOGS}
    assert any(data.published or data.curve for data in protocol.data.values())
    assert not [name for name in protocol.models if "," in name]  # --models could not name it
    for entry in protocol.models.values():
        if entry.type in MODEL_NAMES:
            build(entry.type, entry.parameters)


@pytest.mark.real
def test_the_slice_of_yoochoose_is_split_as_its_files_are(
    datasets_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--raw", str(datasets_dir / "yoochoose"), "--models", "pop", "--json"]
    assert run(["leaderboard", "--protocol", "P1", *arguments]) == 0
    (table,) = json.loads(capsys.readouterr().out)["tables"]
    assert table["sizes"]["learned_events"] == 70_278
    assert table["sizes"]["targets"] == 10_152
    assert table["rows"][0]["reached"]["Recall@20"]["mean"] == pytest.approx(0.0894, abs=5e-5)
