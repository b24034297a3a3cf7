"""Options whose values become part of a path name nothing outside the work folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipeline.errors import UsageError
from training.cli.main import run
from training.cli.options import decision_file

DECISION = "2016-03-14T13-hrnn-b-0123456789ab.json"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "hourglass.yaml"
    path.write_text(f"work: '{tmp_path / 'work'}'\n")
    return path


@pytest.mark.parametrize(
    "line",
    [
        "stale --dataset {}",
        "train --dataset {}",
        "evaluate --dataset {}",
        "monitor --dataset {}",
        "gate --dataset {}",
        "leaderboard --dataset {}",
        "dataset --as-of 2016-03-14T13 --extend {}",
        "refit --decision {}",
        "approve --by ann --decision {}",
        "promote --decision {}",
        "promote --decision 2016-03-14T13-hrnn-b-0123456789ab.json --refit {}",
    ],
    ids=lambda line: line.partition(" ")[0] + "-" + line.split()[-2].lstrip("-"),
)
@pytest.mark.parametrize("text", ["../x", "..", "/etc/passwd"], ids=["above", "points", "root"])
def test_an_option_that_names_a_path_elsewhere_is_refused(
    config: Path, capsys: pytest.CaptureFixture[str], line: str, text: str
) -> None:
    outside = config.parent / "x"
    outside.mkdir()
    (outside / "manifest.json").write_text('{"as_of": "2016-03-14T13"}')
    (config.parent / "work" / "shards").mkdir(parents=True)
    option = line.split()[-2]
    code = run(["--config", str(config), *line.format(text).split()])
    assert code == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert option in told


def test_a_decision_is_named_alone_or_by_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "work" / "decisions"
    folder.mkdir(parents=True)
    (folder / DECISION).write_text("{}")
    for given in (Path(DECISION), folder / DECISION):
        assert decision_file(folder, given) == folder / DECISION
    monkeypatch.chdir(tmp_path)
    assert decision_file(folder, Path("work/decisions") / DECISION) == folder / DECISION
    (tmp_path / "linked").symlink_to(folder)
    assert decision_file(folder, Path("linked") / DECISION) == folder / DECISION


def test_a_copy_of_a_decision_has_nobody_s_answers_beside_it(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "decisions", tmp_path / "elsewhere"
    for place in (folder, elsewhere):
        place.mkdir()
    (folder / DECISION).write_text("{}")
    copied = Path(shutil.copy(folder / DECISION, elsewhere))
    with pytest.raises(UsageError, match=r"--decision .*decisions lie in .*decisions"):
        decision_file(folder, copied)
