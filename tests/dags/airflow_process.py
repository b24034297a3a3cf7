"""Airflow in one process for all runs of DAGs, since it starts slowly; see `asking`."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread, Timer
from typing import Any

from answering import Commands
from typer.core import TyperGroup
from typer.main import get_command
from workplace import ROOT, Workplace, workplace

from training.cli.main import GLOBAL_FLAGS, app

_PATIENCE_S = 600.0
_ANSWERED = "ANSWERED"
KEY = "0123456789abcdef0123456789abcdef"
# Whatever a file is called, no shell reads it.
DECISION = "/w/2016-03-14T13; touch pwned; $(touch pwned) '\" -0123456789ab.json"


@dataclass(frozen=True)
class Airflow:
    """What runs DAGs, and the `hourglass` that its tasks start."""

    place: Workplace
    commands: Commands
    process: subprocess.Popen[str]

    @property
    def folder(self) -> Path:
        """Where its commands' answers are, and the settings that they name."""
        return self.place.work.parent

    def run(
        self,
        what: str,
        wait_s: float = 600,
        failing: str = "",
        killed: str = "",
        due: bool = True,
        **gate: Any,
    ) -> tuple[Any, list[str]]:
        """States of the tasks, and the commands that the stand-in was given, in order.

        ``failing`` is a command that refuses, ``killed`` one that is killed once.
        """
        until = (datetime.now(UTC) + timedelta(seconds=wait_s)).isoformat()
        self._answer(failing, due, until, gate)
        (self.folder / "killed").write_text(killed + "\n")
        tasks = self._ended(what, "failed" if failing else "success")["tasks"]
        return tasks, self._commands()

    def start(self, way: str, dag: str, date: str = "") -> tuple[datetime, list[str]]:
        """When a run that was started so was due, and the commands of its tasks."""
        self._answer("", False, "", {"needs_approval": False})
        ended = self._ended(f"start {way} {dag} {date}", "success")
        return datetime.fromisoformat(ended["run_after"]), self._commands()

    def refused(self, way: str, dag: str, date: str = "") -> list[str]:
        """The commands of a run that was started so and failed."""
        self._answer("", False, "", {"needs_approval": False})
        self._ended(f"start {way} {dag} {date}", "failed")
        return self._commands()

    def _answer(self, failing: str, due: bool, until: str, gate: dict[str, Any]) -> None:
        """Lay out what the stand-in answers."""
        said = {
            "outcome": "promote",
            "sentence": "hrnn-b is better.",
            "candidate": "hrnn-b",
            "decision": DECISION,
            "needs_approval": True,
            "approval_until": until,
            "question": "| | |\n|---|---|\n| Live now | hrnn-a |",
            **gate,
        }
        (self.folder / "gate.json").write_text(json.dumps(said))
        (self.folder / "judge.json").write_text(json.dumps({"due": due}))
        (self.folder / "failing").write_text(failing + "\n")
        (self.folder / "killed").write_text("\n")
        (self.folder / "commands").write_text("")

    def _commands(self) -> list[str]:
        """What the stand-in was given since, in order; the command line must know it."""
        lines = (self.folder / "commands").read_text().splitlines()
        # That is no task: the API server asks where its pages lie.
        commands = [line for line in lines if line != "[where][--json]"]
        for command in commands:
            refuse_unknown_words(command[1:-1].split("]["))
        return commands

    def run_commands(self, what: str) -> Any:
        """States of the tasks, whose commands are the real ones, answered by this process."""
        tasks: list[Any] = []
        reading = Thread(target=lambda: tasks.append(self._ended(what, "success")["tasks"]))
        reading.start()
        self.commands.answer_until(lambda: not reading.is_alive(), self.process)
        reading.join()
        (states,) = tasks
        return states

    def _ended(self, what: str, expected: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        printed = []
        # Nothing waits for ever for a run that hangs.
        watchdog = Timer(_PATIENCE_S, self.process.kill)
        watchdog.start()
        try:
            for line in self.process.stdout:
                printed.append(line)
                if _ANSWERED in line:
                    break
        finally:
            watchdog.cancel()
        told = "".join(printed)[-5000:]
        assert _ANSWERED in told, told
        ended: dict[str, Any] = json.loads(printed[-1].partition(_ANSWERED)[2])
        assert ended["run"] == expected, told
        return ended


def refuse_unknown_words(command: list[str]) -> None:
    """The command line, which the stand-in is not, must have such a command and such options."""
    words = [word for word in command if word not in GLOBAL_FLAGS]
    own = get_command(app)
    assert isinstance(own, TyperGroup)
    with own.make_context("hourglass", [*words], resilient_parsing=True) as context:
        name, found, arguments = own.resolve_command(context, words)
        assert found is not None
        found.make_context(name, arguments, parent=context).close()


@contextmanager
def airflow_in(folder: Path) -> Iterator[Airflow]:
    """Airflow as `dags/airflow.sh` sets it up, with its state in a folder of the test's own."""
    with ExitStack() as closing:
        commands = closing.enter_context(Commands(folder))
        words = shlex.join([sys.executable, str(Path(__file__).with_name("asking.py"))])
        program = commands.folder / "airflow"
        program.write_text(f"#!/usr/bin/env bash\nexec {words}\n", encoding="utf-8")
        program.chmod(0o755)
        place = workplace(
            folder / "work",
            COMMANDS=str(folder / "commands"),
            GATE=str(folder / "gate.json"),
            JUDGE=str(folder / "judge.json"),
            FAILING=str(folder / "failing"),
            KILLED=str(folder / "killed"),
            HOURGLASS_CONFIG=str(folder / "hourglass.yaml"),
            HOURGLASS_RECORD_KEY=KEY,
        )
        path = f"{commands.folder}:{place.environment['PATH']}"
        place = Workplace(place.work, place.environment | {"PATH": path})
        process = closing.enter_context(
            subprocess.Popen(
                ["bash", "dags/airflow.sh"],
                cwd=ROOT,
                env=place.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
        closing.callback(process.kill)
        yield Airflow(place, commands, process)
