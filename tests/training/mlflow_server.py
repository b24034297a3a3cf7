"""A real MLflow server, started as docker/compose.yaml starts it, with its state in a folder."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "docker" / "compose.yaml"
_PATIENCE_S = 120


def composed() -> list[str]:
    """The command of the service ``mlflow``."""
    service = yaml.safe_load(COMPOSE.read_text("utf-8"))["services"]["mlflow"]
    command: list[str] = service["command"]
    return command


def command(port: int, artifacts: Path) -> list[str]:
    """The same at a port of 127.0.0.1, with the artefacts in a folder of the test's own."""
    changed = {
        "--host": "127.0.0.1",
        "--allowed-hosts": f"127.0.0.1:{port}",
        "--artifacts-destination": str(artifacts),
    }
    words = []
    for word in composed():
        option, separator, _ = word.partition("=")
        if option in changed:
            words.append(f"{option}{separator}{changed.pop(option)}")
        else:
            words.append(word)
    assert not changed, f"the service does not say {', '.join(changed)}"
    assert words[0] == "mlflow"
    return [sys.executable, "-m", *words, "--port", str(port), "--workers", "1"]


@contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """Serve until the end; yields the address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = folder / "server.log"
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("MLFLOW")
    }
    environment |= {
        "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{folder / 'mlflow.db'}",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        # Jobs of its own, for what is not used here, would be further processes.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    with log.open("w") as out:
        process = subprocess.Popen(
            command(port, folder / "artifacts"),
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        patience = time.monotonic() + _PATIENCE_S
        while not answers(port):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < patience, log.read_text()
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        # It has workers, which a signal to it alone would leave behind.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False
