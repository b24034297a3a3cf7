"""Starts one command several times over, as the processes of one training."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence

from pipeline.errors import HourglassError

# How torchrun begins its own lines; the processes' own are sentences.
_TORCHRUN = re.compile(r"[A-Z]\d{4} \d\d:\d\d|\*{5}|\[rank\d+\]|\[W\d+")
_SENTENCE = "hourglass: "
_ELSEWHERE = "another process failed"


def is_one_of_several() -> bool:
    """Whether `torchrun` started this process together with others."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def launch(processes: int, arguments: Sequence[str]) -> None:
    """Run ``hourglass <arguments>`` in so many processes, which find one another through torchrun.

    What they print goes where this process prints; torchrun's own words are left out.

    Raises:
        HourglassError: one of them failed, with its sentence.
    """
    cores = os.cpu_count() or 1
    environment = {"OMP_NUM_THREADS": str(max(1, cores // processes)), **os.environ}
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node",
        str(processes), "-m", "training.cli", *arguments,
    ]  # fmt: skip
    sentences: list[str] = []
    sys.stdout.flush()
    with subprocess.Popen(  # noqa: S603 - this interpreter and its own arguments
        command, env=environment, stderr=subprocess.PIPE, text=True, errors="replace"
    ) as running:
        try:
            _pass_on(running, sentences)
        except BaseException:
            running.terminate()
            raise
    if running.returncode:
        # The one that failed by itself says why.
        telling = [sentence for sentence in sentences if _ELSEWHERE not in sentence] or sentences
        reason = telling[0] if telling else "one of them was killed, perhaps for lack of memory"
        raise HourglassError(reason)


def _pass_on(running: subprocess.Popen[str], sentences: list[str]) -> None:
    """Print what the processes say, and keep the sentences they failed with."""
    assert running.stderr is not None  # noqa: S101 - a pipe was asked for
    in_report = False
    for line in running.stderr:
        if line.startswith(_SENTENCE):
            sentences.append(line.removeprefix(_SENTENCE).strip())
        elif line.startswith("Traceback (most recent call last)"):
            in_report = True
        elif not in_report and not _TORCHRUN.match(line) and line.strip():
            sys.stderr.write(line)
            sys.stderr.flush()
