"""A command that has nothing to do loads nothing that takes a good part of a second to load."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest
from shop import Shop

from training import __main__ as entry
from training.cli.main import run

ROOT = Path(__file__).resolve().parents[2]
# What only those need who fit, score, draw, judge data, or write to MLflow.
WORKING = ("torch", "mlflow", "great_expectations", "matplotlib", "scipy", "pyspark", "duckdb")
# What only those need who look into the tables of the lake.
READING = ("pandas", "pyiceberg", "sqlalchemy")
PROGRAM = (
    "import sys\n"
    "from training.cli.main import program\n"
    "code = program(sys.argv[2:])\n"
    "print(code, *sorted({name.partition('.')[0] for name in sys.modules} "
    "& set(sys.argv[1].split(','))))\n"
)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A baseline was trained, and nothing is live yet."""
    shop = Shop(tmp_path_factory.mktemp("idle"), ["pop"])
    shop.add_dataset("base")
    assert run(shop.arguments()) == 0
    return shop


@pytest.mark.parametrize(
    ("command", "code", "unwanted"),
    [
        ("where", 0, WORKING + READING),
        ("monitor", 0, WORKING + READING),
        ("refit", 1, WORKING + READING),
        ("promote", 1, WORKING + READING),
        ("stale", 0, WORKING),
        ("judge", 0, WORKING),
        ("gate", 1, WORKING),
        ("recommend", 1, WORKING),
        ("ingest", 2, WORKING),
    ],
)
def test_an_idle_command_loads_no_library_that_it_does_not_use(
    shop: Shop, command: str, code: int, unwanted: tuple[str, ...]
) -> None:
    # No file has landed, no hour is filled, nothing is live and nothing was decided.
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, ",".join(unwanted), "--config", str(shop.config), command],
        cwd=shop.root,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    last = done.stdout.strip().splitlines()[-1]
    assert last == str(code), f"{command} ended with, and loaded: {last}\n{done.stderr}"


def test_python_looks_for_garbage_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    before = gc.get_threshold()
    monkeypatch.setattr(entry, "guarded", lambda _: None)
    monkeypatch.delenv(entry.IDLE_VARIABLE, raising=False)
    try:
        entry.main()
        assert gc.get_threshold()[0] >= 10_000
    finally:
        gc.set_threshold(*before)
