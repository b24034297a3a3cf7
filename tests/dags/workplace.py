"""Airflow as `dags/airflow.sh` starts it, with its state in a folder of the test's own."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Workplace:
    """A work folder and the environment in which commands use it."""

    work: Path
    environment: dict[str, str]

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command from the project's folder; what it printed is in the result."""
        return subprocess.run(
            command,
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,
            check=False,
        )

    def airflow(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run("bash", "dags/airflow.sh", *arguments)


def workplace(work: Path, **variables: str) -> Workplace:
    """A workplace that takes nothing but PATH, HOME, Java and proxies from the caller."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AIRFLOW", "HOURGLASS", "PYTEST"))
    }
    # The airflow and hourglass of the Python that runs the tests, whatever else is installed.
    kept["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
    kept["PYTHONPATH"] = str(ROOT)
    # As in dags/airflow.env, but not for long after the last test.
    ours = {"HOURGLASS_WORK": str(work), "HOURGLASS_FORK_SERVER_IDLE_S": "30"}
    return Workplace(work, kept | ours | variables)
