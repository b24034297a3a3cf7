"""Where the pages lie: nobody waits for the command that says so, but who comes first."""

from __future__ import annotations

import importlib.util
import json
import os
import threading
from pathlib import Path
from types import ModuleType

import pytest
from fastapi import HTTPException

ROOT = Path(__file__).resolve().parents[2]

# Says what a file says, when another one is there, and writes down what it was told.
PROGRAM = """#!/usr/bin/env python3
import os, pathlib, sys, time
folder = pathlib.Path(__file__).parent
with open(folder / "calls", "a") as calls:
    print(*sys.argv[1:], repr(os.environ["HOURGLASS_FORK_SERVER_IDLE_S"]), file=calls)
while not (folder / "go").exists():
    time.sleep(0.01)
text = (folder / "answer").read_text()
print(text, file=sys.stderr if text.startswith("hourglass:") else sys.stdout)
sys.exit(text.startswith("hourglass:"))
"""


@pytest.fixture
def pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    program = tmp_path / "hourglass"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.syspath_prepend(ROOT / "dags")
    monkeypatch.setenv("HOURGLASS_FORK_SERVER_IDLE_S", "900")
    spec = importlib.util.spec_from_file_location(
        "hourglass_pages", ROOT / "dags" / "plugins" / "hourglass_pages.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def answer(folder: Path, reports: str) -> None:
    (folder / "answer").write_text(json.dumps({"reports": reports}))


def wait_for_threads() -> None:
    for thread in threading.enumerate():
        if thread.name == "page folders":
            thread.join()


def test_an_answer_is_given_while_it_is_asked_for_again(
    tmp_path: Path, pages: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "_FRESH_S", 0.0)
    answer(tmp_path, "/first")
    (tmp_path / "go").touch()
    folders = pages.Folders(tmp_path)
    wait_for_threads()
    assert folders() == {"reports": Path("/first")}
    wait_for_threads()
    answer(tmp_path, "/second")
    (tmp_path / "go").unlink()
    # The command hangs meanwhile.
    assert [folders(), folders()] == [{"reports": Path("/first")}] * 2
    (tmp_path / "go").touch()
    wait_for_threads()
    assert folders() == {"reports": Path("/second")}
    wait_for_threads()
    # Never by a process that stays: to start it takes longer.
    assert set((tmp_path / "calls").read_text().splitlines()) == {"where --json ''"}


def test_what_is_wrong_is_said_and_asked_again(tmp_path: Path, pages: ModuleType) -> None:
    (tmp_path / "answer").write_text("hourglass: worc: no such setting")
    (tmp_path / "go").touch()
    folders = pages.Folders(tmp_path)
    wait_for_threads()
    with pytest.raises(HTTPException) as error:
        folders()
    assert error.value.detail == "hourglass: worc: no such setting"
    answer(tmp_path, "/mended")
    assert folders() == {"reports": Path("/mended")}
