"""A signal at any instant: one sentence, its exit code, no traceback, no child left behind."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
SENTENCE = {
    signal.SIGINT: "hourglass: interrupted: nothing half-done is visible; run the command again",
    signal.SIGTERM: (
        "hourglass: stopped by SIGTERM: nothing half-done is visible; run the command again"
    ),
}
# One handler takes both: that the second does what the first does is shown once.
SIGNALS = pytest.mark.parametrize(
    "number",
    [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.nightly)],
    ids=["SIGINT", "SIGTERM"],
)

PROGRAM = """
import subprocess, sys, threading, time
from pipeline.process import interrupts
interrupts.GRACE_S = 0.5
def ready():
    print("ready", file=sys.stderr, flush=True)
def command():
{body}
interrupts.guarded(command)
"""


@contextmanager
def started(*arguments: str, until: Callable[[str], bool]) -> Iterator[subprocess.Popen[str]]:
    """A process that has written such a line on stderr; what follows can be read."""
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        try:
            assert process.stderr is not None
            lines = []
            for line in process.stderr:
                lines.append(line)
                if until(line):
                    break
            else:
                raise AssertionError(f"it never came so far: {''.join(lines)}")
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def ended(process: subprocess.Popen[str], number: int) -> str:
    """Send the signal; what the process then says on stderr."""
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + number, said
    assert not [child for child in children if child.is_running() and child.status() != "zombie"]
    return said


@SIGNALS
@pytest.mark.parametrize(
    "body",
    [
        pytest.param("    ready(); time.sleep(60)", id="asleep"),
        pytest.param("    ready()\n    while True: pass", id="busy"),
        pytest.param(
            "    ready()\n    while True:\n        try: time.sleep(60)\n"
            "        except BaseException: pass",
            id="swallowed",
        ),
        pytest.param(
            "    import hashlib\n    ready()\n"
            "    hashlib.pbkdf2_hmac('sha512', b'x', b'y', 10 ** 9)",
            id="in a long call into C",
        ),
        pytest.param(
            "    thread = threading.Thread(target=time.sleep, args=(60,))\n"
            "    thread.start(); ready(); thread.join()",
            id="a thread that goes on",
        ),
        pytest.param(
            "    with subprocess.Popen(['sleep', '60']): ready(); time.sleep(60)", id="a child"
        ),
        pytest.param(
            "    class Final:\n        def __del__(self): ready(); time.sleep(60)\n    Final()",
            id="in a finaliser",
        ),
        pytest.param(
            "    try: ready(); time.sleep(60)\n    finally: raise ValueError('while it ends')",
            id="an error while it ends",
        ),
        pytest.param(
            "    import socket, socketserver\n"
            "    class Answers(socketserver.BaseRequestHandler):\n"
            "        def handle(self): self.request.recv(1); raise EOFError\n"
            "    server = socketserver.ThreadingTCPServer(('127.0.0.1', 0), Answers)\n"
            "    threading.Thread(target=server.serve_forever, daemon=True).start()\n"
            "    asks = socket.create_connection(server.server_address)\n"
            "    try: ready(); time.sleep(60)\n"
            "    finally: asks.close(); time.sleep(0.2)",
            id="a server that loses its client, as PySpark's does",
        ),
    ],
)
def test_a_signal_ends_a_program_whatever_it_does(number: int, body: str) -> None:
    if "while it ends" in body:
        body = (
            "    from training.cli.main import program\n    from training.cli import main as cli\n"
            + (
                "    def app(*_, **__):\n"
                + "".join(f"    {line}\n" for line in body.splitlines())
                + "    cli.app = app\n    return program([])"
            )
        )
    assert_ends(body, number)


def test_sigterm_ends_a_program_as_ctrl_c_does() -> None:
    assert_ends("    ready(); time.sleep(60)", signal.SIGTERM)


def assert_ends(body: str, number: int) -> None:
    with started("-c", PROGRAM.format(body=body), until=lambda line: line == "ready\n") as process:
        assert ended(process, number).strip() == SENTENCE[signal.Signals(number)]


def test_without_a_signal_a_program_ends_as_it_says() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(body="    return 7")], cwd=ROOT, check=False
    )
    assert done.returncode == 7


def test_a_signal_while_the_program_is_still_imported() -> None:
    # `importtime` says on stderr what has been imported.
    arguments = ("-X", "importtime", "-m", "training", "where")
    with started(*arguments, until=lambda line: line.endswith(" typer\n")) as process:
        said = ended(process, signal.SIGINT)
    own = [line for line in said.splitlines() if not line.startswith("import time:")]
    assert [line for line in own if line] == [SENTENCE[signal.SIGINT]]


@pytest.mark.nightly
@pytest.mark.slow
@SIGNALS
def test_a_signal_while_spark_works_and_the_command_again(tmp_path: Path, number: int) -> None:
    """By day a signal meets the same handler, with children and servers like Spark's: see above."""
    landing, first_s = tmp_path / "landing", 1_700_000_000 // 3600 * 3600
    rows = (f"{first_s + 20 * n},u{n % 9},i{n % 7}" for n in range(150))
    folder = landing / "2023-11-14T22"
    folder.mkdir(parents=True)
    (folder / "clicks.csv").write_text("\n".join(["ts,user,item", *rows, ""]))
    columns = {"event_time": "ts", "user_id": "user", "item_id": "item"}
    # By Spark, however little there is to do.
    small = {"driver_memory": "1g", "shuffle_partitions": 2, "from_mib": 0}
    content = {
        "work": str(tmp_path / "work"),
        "source": {"name": "delimited", "path": str(landing), "columns": columns},
        "spark": {"master": "local[2]", **small},
    }
    config = tmp_path / "hourglass.yaml"
    config.write_text(yaml.safe_dump(content))
    backfill = ("-m", "training", "--config", str(config), "backfill")
    # Spark has taken the files in when this is said, and has its next question.
    with started(*backfill, until=lambda line: line.startswith("hours ")) as process:
        assert [child for child in psutil.Process(process.pid).children() if "java" in child.name()]
        said = ended(process, number)
    own = [line for line in said.splitlines() if line and not line.startswith("hours ")]
    assert own == [SENTENCE[signal.Signals(number)]]
    done = subprocess.run(
        [sys.executable, *backfill], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "filled 2023-11-14T22" in done.stdout


PARENT = """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", sys.argv[1]], start_new_session=True).wait()
"""


def said_after_its_parent(body: str) -> str:
    """What a command says to its end when the process that started it is killed."""
    by_entry = "import training.__main__ as entry\nentry._command = command\nentry.main()\n"
    program = PROGRAM.replace("interrupts.guarded(command)\n", by_entry).format(body=body)
    with started("-c", PARENT, program, until=lambda line: line == "ready\n") as parent:
        parent.kill()
        assert parent.stderr is not None
        return parent.stderr.read()  # its end is the command's, which has it too


def test_the_command_of_a_task_ends_with_the_process_that_started_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AIRFLOW_CTX_TASK_ID", "train")
    assert said_after_its_parent("    ready(); time.sleep(60)") == SENTENCE[signal.SIGTERM] + "\n"


def test_a_command_of_a_person_outlives_its_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW_CTX_TASK_ID", raising=False)
    body = (
        "    import os\n    parent = os.getppid(); ready()\n"
        "    while os.getppid() == parent: time.sleep(0.01)\n"
        "    print('went on', file=sys.stderr)\n    return 0"
    )
    assert said_after_its_parent(body) == "went on\n"
