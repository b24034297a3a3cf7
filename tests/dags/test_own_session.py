"""``dags/own_session.py``: Ctrl-C reaches a program once, its children never, and nothing stays."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from workplace import ROOT, workplace

# As `airflow standalone` does it: a component ends when it is told to, and then the program does.
# "deaf" ones do not; "brief" ends by itself and leaves its component.
PROGRAM = """
import subprocess, sys, signal, time
ways = sys.argv[2:]
if sys.argv[1] == "component":
    signal.signal(signal.SIGINT, lambda *_: print("the component had SIGINT", flush=True))
    if "deaf" in ways:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("ready", flush=True)
    while True:
        time.sleep(60)
signals = []
def ask(number, _):
    signals.append(number)
    if "deaf" not in ways:
        raise KeyboardInterrupt
if "background" not in ways:
    signal.signal(signal.SIGINT, ask)
component = subprocess.Popen([sys.executable, __file__, "component", *ways], stdout=subprocess.PIPE)
try:
    print(component.stdout.readline().decode(), end="", flush=True)
    while "brief" not in ways:
        time.sleep(60)
    sys.exit(7)
except KeyboardInterrupt:
    component.terminate()
    print(component.stdout.read().decode(), f"{len(signals)} signals", flush=True)
    sys.exit(3)
"""
# In a terminal of its own, as a person's shell starts process.
IN_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""
QUICKLY = """
import sys
sys.path.insert(0, "dags")
import own_session
own_session._AGAIN_S = 0
sys.exit(own_session.run(sys.argv[2:], grace_s=float(sys.argv[1]), last_s=0.2))
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return path


@pytest.fixture
def environment(tmp_path: Path, program: Path) -> dict[str, str]:
    """In which the program stands in for `airflow`."""
    airflow = tmp_path / "bin" / "airflow"
    airflow.parent.mkdir()
    airflow.write_text(f"#!/bin/sh\nexec '{sys.executable}' '{program}' \"$@\"\n")
    airflow.chmod(0o755)
    variables = workplace(tmp_path / "work").environment
    return {**variables, "PATH": f"{airflow.parent}:{variables['PATH']}"}


def quickly(grace_s: float) -> list[str]:
    return [sys.executable, "-c", QUICKLY, str(grace_s), sys.executable]


@contextmanager
def started(program: Path, grace_s: float) -> Iterator[subprocess.Popen[str]]:
    """The program, deaf to signals, when it is ready; whatever becomes of the test, it ends."""
    with subprocess.Popen(
        [*quickly(grace_s), str(program), "standalone", "deaf"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            read_until(process, "ready")
            yield process
        finally:
            process.kill()


def read_until(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if word in line:
            return
    pytest.fail("".join(lines))


def left_of(program: Path) -> list[str]:
    """What runs of the program still; so that a failing test leaves nothing, it is killed."""
    lines = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if str(program) in words and process.status() != psutil.STATUS_ZOMBIE:
            lines.append(" ".join(words))
            process.kill()
    return lines


def test_ctrl_c_in_a_terminal_reaches_airflow_once_and_its_components_never(
    environment: dict[str, str], program: Path
) -> None:
    master, slave = pty.openpty()
    words = [sys.executable, "-c", IN_TERMINAL, "bash", "dags/airflow.sh", "standalone"]
    process = subprocess.Popen(
        words,
        cwd=ROOT,
        env=environment,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    shown, pressed = b"", False
    while chunk := _read(master):
        shown += chunk
        if b"ready" in shown and not pressed:
            os.write(master, b"\x03")
            pressed = True
    os.close(master)
    text = shown.decode()
    assert process.wait(60) == 3, text
    assert "1 signals" in text
    assert "the component had SIGINT" not in text
    assert left_of(program) == []


def _read(master: int) -> bytes:
    try:
        return os.read(master, 65536)
    except OSError:  # Linux says so when the last program has left
        return b""


@pytest.mark.parametrize("ignored", ["", "trap '' INT HUP; "], ids=["service", "background-job"])
def test_without_a_terminal_sigterm_ends_airflow_as_ctrl_c_does(
    environment: dict[str, str], program: Path, ignored: str
) -> None:
    """What `standalone` does with SIGTERM is to die and to leave its components."""
    process = subprocess.Popen(
        ["bash", "-c", f"{ignored}exec bash dags/airflow.sh standalone background"],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        read_until(process, "ready")
        process.send_signal(signal.SIGTERM)
        code, left = process.wait(60), left_of(program)
        assert process.stdout is not None
        text = process.stdout.read()
    assert (code, left) == (3, []), text
    assert "the component had SIGINT" not in text


def test_what_ignores_its_end_is_killed_after_the_grace(program: Path) -> None:
    with started(program, 0.2) as process:
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 128 + signal.SIGTERM
    assert left_of(program) == []


def test_a_second_ctrl_c_cuts_the_grace_short(program: Path) -> None:
    with started(program, 3600) as process:
        process.send_signal(signal.SIGINT)
        read_until(process, "again ends it at once")
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 128 + signal.SIGTERM
    assert left_of(program) == []


def test_of_a_program_that_ended_by_itself_the_code_is_kept_and_nothing_stays(
    program: Path,
) -> None:
    words = [*quickly(3600), str(program), "standalone", "deaf", "brief"]
    assert subprocess.run(words, cwd=ROOT, stdin=subprocess.DEVNULL, check=False).returncode == 7
    assert left_of(program) == []
