"""The same tests are collected in the same order whatever the moment, the process or its locale."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ALL_ARE_MORE = 1000
# Names of tests instead of their number, and nothing written into the checkout.
PLAIN = ("-o", "addopts=--strict-markers", "-p", "no:cacheprovider")


def collected(environment: dict[str, str], *options: str) -> list[str]:
    """Names of all tests in the order in which a process of its own collects them."""
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", *PLAIN, *options],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-2000:]
    return [line for line in run.stdout.splitlines() if "::" in line]


@pytest.mark.nightly
def test_two_processes_seconds_apart_collect_the_same_tests(
    request: pytest.FixtureRequest,
) -> None:
    """Processes that share the tests refuse to begin else, which by day is what shows it."""
    chosen = request.config.option
    selection = ["-m", chosen.markexpr, "-k", chosen.keyword, *request.config.args]
    first = [item.nodeid for item in request.session.items]
    if len(first) < ALL_ARE_MORE:
        # This process was asked for a few of the tests: another collects them all.
        selection = []
        first = collected({"PYTHONHASHSEED": "1", "TZ": "UTC", "LC_ALL": "C.UTF-8"})
        # What is made from the time of day is made from whole seconds at the least.
        time.sleep(1.1)
    other = {"PYTHONHASHSEED": "2", "TZ": "Asia/Kathmandu", "LC_ALL": "POSIX"}
    assert len(first) > ALL_ARE_MORE
    assert collected(other, *selection) == first
