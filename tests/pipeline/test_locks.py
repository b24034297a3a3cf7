from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline.errors import HourglassError
from pipeline.process.locks import lake_lock

ROOT = Path(__file__).resolve().parents[2]
OWN = f"pid {os.getpid()} on {socket.gethostname()}"
HOLD = """
import sys
from pathlib import Path
from pipeline.process.locks import lake_lock
with lake_lock(Path(sys.argv[1]), 0):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock until its stdin closes."""
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_the_second_writer_is_told_who_holds_the_lake(tmp_path: Path) -> None:
    with holder(tmp_path) as other:
        started = time.monotonic()
        with (
            pytest.raises(HourglassError, match=r"is writing .*waited 0 s") as refusal,
            lake_lock(tmp_path, 0.3),
        ):
            pytest.fail("both are in")
        begun = datetime.fromtimestamp((tmp_path / "writer.lock").stat().st_mtime, UTC)
        since = begun.isoformat(timespec="seconds")
        holder_text = f"(pid {other.pid} on {socket.gethostname()}, since {since})"
        assert f"another process {holder_text} is writing to the lake" in str(refusal.value)
        assert 0.3 <= time.monotonic() - started < 5


def test_the_second_writer_comes_in_when_the_first_has_finished(tmp_path: Path) -> None:
    with holder(tmp_path) as other:
        assert other.stdin is not None
        other.stdin.close()
        with lake_lock(tmp_path, 20):
            assert (tmp_path / "writer.lock").read_text() == OWN
    assert (tmp_path / "writer.lock").read_text() == ""


def test_a_killed_writer_leaves_the_lake_free(tmp_path: Path) -> None:
    with holder(tmp_path) as other:
        other.send_signal(signal.SIGKILL)
        other.wait(20)
        with lake_lock(tmp_path, 0):
            assert (tmp_path / "writer.lock").read_text() == OWN


def test_an_error_inside_frees_the_lake(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), lake_lock(tmp_path / "new" / "lake", 0):
        _ = 1 / 0
    with lake_lock(tmp_path / "new" / "lake", 0):
        pass


def test_lakes_do_not_wait_for_one_another(tmp_path: Path) -> None:
    with holder(tmp_path / "one"), lake_lock(tmp_path / "other", 0):
        pass
