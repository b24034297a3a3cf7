"""Starts commands of `hourglass` on a landing place, and kills them when they are at work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import yaml
from landing_place import Place

ROOT = Path(__file__).resolve().parents[2]
# Where a terminal is claimed there are moving signs in place of lines.
_CLAIMS = ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE")


def settings_file(place: Place, folder: Path, from_mib: int = 64) -> Path:
    """The place's settings, for a small Spark, which computes from so many MiB on."""
    settings = place.settings.model_dump(mode="json", include={"work", "source", "ingest"})
    settings["source"]["columns"] = place.settings.source.columns.model_dump()
    small = {"master": "local[2]", "driver_memory": "1g", "shuffle_partitions": 2}
    settings["spark"] = {**small, "from_mib": from_mib}
    config = folder / "hourglass.yaml"
    config.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return config


def run_and_kill(
    config: Path, command: str, begins: str, wait_s: float, staged: Path | None = None
) -> float | None:
    """Kill a command, its JVM and workers so long after a line that begins with ``begins``.

    Where ``staged`` is given, the time counts from when something new lies there.  Returns the
    seconds that it needed, or None if it was killed.
    """
    before = set(staged.iterdir()) if staged else set()
    with subprocess.Popen(
        [sys.executable, "-m", "training.cli", "--config", str(config), command],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name not in _CLAIMS},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if line.startswith(begins):
                break
        else:
            raise AssertionError(f"it never began: {''.join(said)}")
        begun = time.monotonic()
        while staged and process.poll() is None and set(staged.iterdir()) == before:
            time.sleep(0.02)
        try:
            process.wait(wait_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return None
        assert process.returncode == 0, "".join(said) + process.stderr.read()
        return time.monotonic() - begun
