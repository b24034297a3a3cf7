"""The encoder that CONTRIBUTING shows is one."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from encoding import SIZES, random_steps, states_of, steps_between
from synthetic import AS_OF_S, write_dataset

from training.data.reader import Requests, read_dataset
from training.models.parts.sequence import SequenceModel

PAGE = Path(__file__).parents[3] / "CONTRIBUTING.md"


def text_of_example() -> str:
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    (text,) = [block for block in blocks if "nn.Module" in block]
    return text


def example() -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": __name__}
    exec(text_of_example(), names)  # noqa: S102 - of this project's own page
    return names


def test_the_example_is_a_whole_file_that_passes_the_linter() -> None:
    command = [sys.executable, "-m", "ruff"]
    for check in (["check"], ["format", "--diff"]):
        ended = subprocess.run(
            [*command, *check, "--stdin-filename", "training/models/shallow/mean_of_last.py", "-"],
            input=text_of_example(),
            cwd=PAGE.parent,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr


def test_the_example_averages_the_latest_steps_and_sees_no_future() -> None:
    names = example()
    encoder = names["MeanOfLast"](SIZES, names["MeanOfLastParameters"](reach=3))
    steps = random_steps(begins_at=((1, 4),))
    whole = states_of(encoder, steps)
    with torch.no_grad():
        torch.testing.assert_close(whole[0, 6], encoder.out(steps.item[0, 4:7].mean(0)))
        torch.testing.assert_close(whole[1, 5], encoder.out(steps.item[1, 4:6].mean(0)))
    for stop in range(1, 10):
        torch.testing.assert_close(
            states_of(encoder, steps_between(steps, 0, stop)), whole[:, :stop]
        )


def test_the_example_is_fitted_and_asked(tmp_path: Path) -> None:
    names = example()
    users = {
        f"u{user}": [(f"i{(user + step) % 6}", AS_OF_S - 900.0 + step) for step in range(9)]
        for user in range(20)
    }
    data = read_dataset(write_dataset(tmp_path / "d", users))
    chosen = names["MeanOfLastParameters"](
        width=8, epochs=20, learning_rate=0.05, validation_share=0.0, device="cpu", reach=1
    )
    model = SequenceModel("mean_of_last", chosen, names["MeanOfLast"])
    model.fit(data, 0, lambda _: None)
    requests = Requests.before(data.histories, np.flatnonzero(data.histories.is_target))
    best = model.score(data.histories, requests).argmax(1) + 1
    follows = requests.length > 0
    assert (best == data.histories.item)[follows].mean() > 0.9
