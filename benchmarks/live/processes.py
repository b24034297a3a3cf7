"""The processes of a run: what each is for, what they cost, and which are left over."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

_LOOK_S = 0.2
_MEMORY_EVERY = 25  # looks: to add up shared pages takes some milliseconds a process
_LASTING = ("command", "task process")
_TASK_PROCESS = re.compile(r"airflow worker -- ([0-9a-f]{8}-[0-9a-f-]{27})")
_COMPONENT = re.compile(r"airflow[\" ]+(scheduler|dag-processor|api[-_]server|triggerer)\b")


@dataclass
class Seen:
    """A process, alive or not."""

    process: psutil.Process
    role: str
    task: str = ""  # the task whose command it belongs to, dag.task
    run: str = ""
    cpu_s: float = 0.0


@dataclass
class Processes:
    """All that descends from a process, or has a variable of the run in its environment.

    Who was seen once stays known when its parent dies.  CPU seconds that a process uses after the
    last look at it, a fifth of a second at most, are missed.
    """

    marker: tuple[str, str]
    seen: dict[tuple[int, float], Seen] = field(default_factory=dict)
    peak_mib: float = 0.0
    looks: int = 0
    _tasks: dict[str, tuple[str, str]] = field(default_factory=dict)  # by their output
    _strangers: set[tuple[int, float]] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _done: threading.Event = field(default_factory=threading.Event)

    def watch(self) -> Callable[[], None]:
        """Look at them until the function that is returned is called."""
        thread = threading.Thread(target=self._watch, daemon=True)
        thread.start()

        def end() -> None:
            self._done.set()
            thread.join()

        return end

    def alive(self, *roles: str) -> list[Seen]:
        """Those that run, of some roles or of all."""
        with self._lock:
            known = list(self.seen.values())
        return [each for each in known if (not roles or each.role in roles) and _runs(each)]

    def cpu_by(self, key: Callable[[Seen], str]) -> dict[str, float]:
        """CPU seconds, added up."""
        sums: dict[str, float] = {}
        with self._lock:
            for each in self.seen.values():
                sums[key(each)] = sums.get(key(each), 0.0) + each.cpu_s
        return sums

    def look(self) -> None:
        """Find the new ones, and note what all have used."""
        with self._lock:
            self.looks += 1
            alive = {(each.pid, _started(each)): each for each in psutil.process_iter()}
            ours = {pid for pid, _ in alive.keys() & self.seen.keys()}
            for key in sorted(alive.keys() - self.seen.keys() - self._strangers):
                if self._meet(key, alive[key], ours):
                    ours.add(key[0])
            memory_b = 0
            for key in alive.keys() & self.seen.keys():
                each = self.seen[key]
                with contextlib.suppress(psutil.Error, OSError):
                    times = each.process.cpu_times()
                    each.cpu_s = times.user + times.system
                    # A fork has its parent's name until it takes its own.
                    if each.role not in _LASTING:
                        each.role, each.task, each.run = self._part(each.process)
                    if self.looks % _MEMORY_EVERY == 0:
                        memory_b += _own_memory_b(each.process.pid)
            self.peak_mib = max(self.peak_mib, memory_b / 2**20)

    def _watch(self) -> None:
        while not self._done.wait(_LOOK_S):
            self.look()

    def _meet(self, key: tuple[int, float], process: psutil.Process, ours: set[int]) -> bool:
        name, value = self.marker
        try:
            is_ours = process.ppid() in ours or process.environ().get(name) == value
            if is_ours:
                self.seen[key] = Seen(process, *self._part(process))
            else:
                self._strangers.add(key)
        except (psutil.Error, OSError):
            return False
        return is_ours

    def _part(self, process: psutil.Process) -> tuple[str, str, str]:
        """What a process is for, and of which task and run."""
        words = " ".join(process.cmdline())
        if match := _TASK_PROCESS.search(words):
            return "task process", match[1], ""
        if "airflow worker" in words:
            return ("idle executor" if "<idle>" in words else "executor"), "", ""
        variables = process.environ()
        if "training.fork_server" in words:
            return self._fork(process)
        if task := variables.get("AIRFLOW_CTX_TASK_ID"):
            dag, run = variables["AIRFLOW_CTX_DAG_ID"], variables["AIRFLOW_CTX_DAG_RUN_ID"]
            self._tasks[_output(process)] = (f"{dag}.{task}", run)
            return "command", f"{dag}.{task}", run
        if match := _COMPONENT.search(words):
            return match[1].replace("_", "-"), "", ""
        return "airflow", "", ""

    def _fork(self, process: psutil.Process) -> tuple[str, str, str]:
        """The server whose forks are commands, or a fork: it has the output of its command."""
        parent = process.parent()
        if parent is None or "training.fork_server" not in " ".join(parent.cmdline()):
            return "fork server", "", ""
        if found := self._tasks.get(_output(process)):
            return "command", *found
        return "starting", "", ""


def _output(process: psutil.Process) -> str:
    return str(Path(f"/proc/{process.pid}/fd/1").readlink())


def end_all(processes: Processes, patience_s: float) -> list[str]:
    """End what is left, politely first; which did not end by itself."""
    for each in processes.alive():
        with contextlib.suppress(psutil.Error):
            each.process.terminate()
    ends_s = time.monotonic() + patience_s
    while processes.alive() and time.monotonic() < ends_s:
        processes.look()
        time.sleep(_LOOK_S)
    left = processes.alive()
    names = [describe(each) for each in left]
    for each in left:
        with contextlib.suppress(psutil.Error):
            each.process.kill()
    return names


def describe(each: Seen) -> str:
    """For people."""
    try:
        words = " ".join(each.process.cmdline())
    except psutil.Error:
        words = ""
    return f"{each.role} {each.task} {Path(words.partition(' ')[0]).name} {words[-60:]}"


def commands_of(seen: Iterable[Seen]) -> list[Seen]:
    """Those that belong to a command of a task: bash, hourglass, Java, processes of PyTorch."""
    return [each for each in seen if each.role == "command"]


def _runs(each: Seen) -> bool:
    try:
        return each.process.is_running() and each.process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _started(process: psutil.Process) -> float:
    try:
        return float(process.create_time())
    except psutil.Error:
        return 0.0


def _own_memory_b(pid: int) -> int:
    """Memory of a process, shared pages by their part."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:  # noqa: PTH123
        for line in file:
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0
