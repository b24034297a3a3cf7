"""What training is made of: ends of epochs, attempts to go on with, what people are shown."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from rich.progress import Progress
from safetensors.numpy import save_file

from pipeline.errors import HourglassError
from pipeline.maintenance.unused_datasets import old_scratch, remove_folder
from pipeline.terminal import StepTable
from training.fit.launch import launch
from training.fit.model_configs import ModelConfig
from training.fit.progress_display import (
    Bar,
    EpochEnd,
    Epochs,
    Lines,
    display,
    progress_text,
)
from training.fit.resume import ResumePoint, locked_checkpoint_dir, remove_checkpoints
from training.model_types import FitProgress

MODEL = ModelConfig("mine", "hrnn", {})


def at(epoch: int, fraction: float, **more: Any) -> FitProgress:
    return FitProgress(epoch, 10.0 - epoch, 23_400.0, fraction, **more)


def ends(reports: list[FitProgress], phase: int = 0) -> list[tuple[int, int, float]]:
    """Fit, epoch and fraction of what counted as the end of an epoch."""
    epochs = Epochs(phase)
    found = [*(epochs.on_progress(progress) for progress in reports), epochs.stop()]
    return [(e.phase, e.progress.epoch, e.progress.fraction) for e in found if e is not None]


def test_the_last_that_is_heard_of_an_epoch_is_its_end() -> None:
    reports = [at(1, 0.2), at(1, 0.5), at(2, 0.6), at(2, 0.8), at(2, 1.0)]
    assert ends(reports) == [(0, 1, 0.5), (0, 2, 1.0)]
    assert ends([]) == []


def test_a_second_fit_begins_where_the_fraction_falls() -> None:
    reports = [at(1, 0.5), at(2, 1.0), at(1, 0.5), at(2, 1.0)]
    assert ends(reports) == [(0, 1, 0.5), (0, 2, 1.0), (1, 1, 0.5), (1, 2, 1.0)]
    # With fits of one epoch the number stays.
    assert ends([at(1, 1.0), at(1, 0.4), at(1, 1.0)]) == [(0, 1, 1.0), (1, 1, 1.0)]
    # An earlier attempt may have ended the first one.
    assert ends([at(3, 0.9)], phase=1) == [(1, 3, 0.9)]


def test_curves_tell_the_two_fits_apart() -> None:
    search = EpochEnd(0, at(2, 1.0, validation_loss=0.5)).curves
    assert search["epoch_loss"] == 8.0
    assert search["epoch_validation_loss"] == 0.5
    assert search["epoch_events_per_s"] == 23_400.0
    refit = EpochEnd(1, at(2, 1.0)).curves
    assert refit["refit_loss"] == 8.0
    assert "refit_validation_loss" not in refit


def test_a_progress_line() -> None:
    progress = at(3, 0.5, validation_loss=0.61234)
    assert progress_text(progress, 0) == "epoch 3, loss 7, validation loss 0.6123, 23,400 events/s"
    assert progress_text(at(3, 0.5), 1) == "refit, epoch 3, loss 7, 23,400 events/s"


def test_lines_come_every_ten_seconds_and_at_the_end_of_epochs() -> None:
    clock = [0.0]
    said: list[str] = []
    lines = Lines(said.append, lambda: clock[0])
    lines.begin(MODEL, "hrnn-1", "fit, epoch 2, batch 7")
    for second in range(25):
        clock[0] = float(second)
        lines.on_progress(at(1, second / 25, seconds_left=125.0), 0)
    lines.on_epoch(EpochEnd(0, at(1, 1.0)))
    lines.message("a sentence")
    assert said == [
        "going on with mine (hrnn-1) from fit, epoch 2, batch 7 ...",
        "mine: epoch 1, loss 9, 23,400 events/s, 2 min 5 s left",
        "mine: epoch 1, loss 9, 23,400 events/s, 2 min 5 s left",
        "mine: end of epoch 1, loss 9, 23,400 events/s",
        "a sentence",
    ]


def test_a_terminal_has_a_bar() -> None:
    page = io.StringIO()
    console = Console(file=page, force_terminal=True, width=120)
    with Progress("{task.description} {task.fields[left]}", console=console) as progress:
        bar = Bar(progress)
        bar.begin(MODEL, "hrnn-1", None)
        bar.on_progress(at(2, 0.25, seconds_left=7.0), 0)
        (task,) = progress.tasks
        assert task.completed == 0.25
        assert task.description == "mine: epoch 2, loss 8, 23,400 events/s"
        bar.message("a sentence")
    assert "7 s left" in page.getvalue()
    assert "a sentence" in page.getvalue()


def test_the_table_of_steps_shows_the_fit() -> None:
    page = io.StringIO()
    console = Console(file=page, width=120)
    table = StepTable(console, "train", clock=lambda: 0.0)
    with display(table) as listener:
        console.print(table.renderable())
        listener.begin(MODEL, "hrnn-1", "fit, epoch 2, batch 7")
        listener.on_progress(at(2, 0.25, seconds_left=7.0), 0)
        console.print(table.renderable())
        listener.message("a sentence")
    lines = [" ".join(line.split()) for line in page.getvalue().splitlines()]
    assert lines[0] == "train 0.0 s reading the data set"
    assert lines[1] == "going on with mine (hrnn-1) from fit, epoch 2, batch 7 ..."
    assert lines[2] == "train 0.0 s mine: epoch 2, loss 8, 23,400 events/s"
    assert lines[3].endswith(" 25%, 7 s left")
    assert lines[4] == "a sentence"


def checkpoint(folder: Path, **place: Any) -> None:
    folder.mkdir(parents=True)
    said = {"epoch": 1, "batch": 0, "finished": False, **place}
    save_file({"a": np.zeros(1)}, folder / "fit.safetensors", {"place": json.dumps(said)})


def test_an_attempt_finds_what_an_earlier_one_left(tmp_path: Path) -> None:
    fit = tmp_path / "hrnn-1"
    with locked_checkpoint_dir(fit, fresh=False) as found:
        assert found == ResumePoint(0, None)
    checkpoint(fit / "search", epoch=4, batch=30, finished=True)
    with locked_checkpoint_dir(fit, fresh=False) as found:
        assert found == ResumePoint(1, "search, done")
    checkpoint(fit / "fit", epoch=2, batch=6)
    os.utime(fit / "search" / "fit.safetensors", (0, 0))
    with locked_checkpoint_dir(fit, fresh=False) as found:
        assert found == ResumePoint(1, "fit, epoch 2, batch 7")
    with locked_checkpoint_dir(fit, fresh=True) as found:
        assert found == ResumePoint(0, None)
        assert list(fit.iterdir()) == []
    remove_checkpoints(fit)
    assert not fit.exists()


def test_two_processes_do_not_work_at_one_fit(tmp_path: Path) -> None:
    with (
        locked_checkpoint_dir(tmp_path / "hrnn-1", fresh=False),
        pytest.raises(HourglassError, match="another process trains hrnn-1 already"),
        locked_checkpoint_dir(tmp_path / "hrnn-1", fresh=False),
    ):
        pass


def test_upkeep_removes_checkpoints_that_nobody_went_on_with(tmp_path: Path) -> None:
    checkpoints = tmp_path / "checkpoints"
    for name, changed_s in (("old-1", 1_000), ("new-1", 9_000)):
        checkpoint(checkpoints / name / "fit")
        for path in (checkpoints / name).glob("**/*"):
            os.utime(path, (changed_s, changed_s))
        os.utime(checkpoints / name, (500, 500))
    (found,) = old_scratch(tmp_path, older_than_s=5_000)
    assert found.path == checkpoints / "old-1"
    remove_folder(found.path)
    assert [path.name for path in checkpoints.iterdir()] == ["new-1"]


class _Torchrun:
    """Stands in for `subprocess.Popen`: prints to standard error and ends with a code."""

    def __init__(self, code: int, said: str) -> None:
        self._program = f"import sys; sys.stderr.write({said!r}); sys.exit({code})"

    def __call__(self, command: list[str], **options: Any) -> subprocess.Popen[str]:
        self.command = command
        return _popen([sys.executable, "-c", self._program], **options)


_popen = subprocess.Popen


@pytest.fixture
def torchrun(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    def made(code: int, said: str) -> _Torchrun:
        stand_in = _Torchrun(code, said)
        monkeypatch.setattr("training.fit.launch.subprocess.Popen", stand_in)
        return stand_in

    return made


def test_processes_are_started_by_torchrun(
    torchrun: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    started = torchrun(0, "mine: end of epoch 1\nW1121 13:00:01.1 7 torch/distributed/run.py] *\n")
    launch(2, ["train", "--seed", "3"])
    assert started.command[1:] == [
        *("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
        *("-m", "training.cli", "train", "--seed", "3"),
    ]
    assert capfd.readouterr().err == "mine: end of epoch 1\n"


REPORT = "Traceback (most recent call last):\n  File x\nChildFailedError: training.cli FAILED\n"


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (
            "hourglass: hrnn: another process failed: its message says why\n"
            "hourglass: hrnn: the loss became nan\n" + REPORT,
            "hrnn: the loss became nan",
        ),
        (REPORT, "one of them was killed"),
    ],
)
def test_the_process_that_failed_by_itself_says_why(
    torchrun: Any, capfd: pytest.CaptureFixture[str], said: str, sentence: str
) -> None:
    torchrun(1, said)
    with pytest.raises(HourglassError, match=sentence):
        launch(2, ["train"])
    assert capfd.readouterr().err == ""
