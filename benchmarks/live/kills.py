"""Kills at random while hours are computed, and what is started again."""

from __future__ import annotations

import random
import signal
import time
from dataclasses import dataclass

import psutil

from benchmarks.live.airflow import COMPONENTS, Airflow
from benchmarks.live.processes import Processes, Seen

# A part of Airflow, a process in which it runs a task, one of the task's command, or the server
# whose forks commands are.  An idle
# worker of LocalExecutor holds the lock of its queue: killed, no task begins until the scheduler is
# started anew.
_VICTIMS = (*COMPONENTS, "executor", "task process", "command", "fork server")
# As a service manager would wait before it starts a service again.
_RESTART_S = 5.0


@dataclass(frozen=True)
class Kill:
    """What was killed, and when, in seconds since the epoch."""

    at_s: float
    victim: str
    program: str
    started_again: bool


def times_of_kills(seed: int, number: int, span_s: float) -> list[float]:
    """Seconds after the beginning, in order: no two fall together but by chance."""
    draw = random.Random(seed)  # noqa: S311 - nobody is to be surprised
    return sorted(draw.uniform(0.02 * span_s, 0.95 * span_s) for _ in range(number))


def kill_one(draw: random.Random, processes: Processes, airflow: Airflow) -> Kill | None:
    """Kill one of those that run, each kind as likely as another; none may run of most kinds."""
    kinds: dict[str, list[Seen]] = {}
    for each in processes.alive(*_VICTIMS):
        kinds.setdefault(each.role, []).append(each)
    if not kinds:
        return None
    role = draw.choice(sorted(kinds))
    # Of a part of Airflow the process that started first is the part itself.
    candidates = sorted(
        kinds[role], key=lambda each: (each.process.create_time(), each.process.pid)
    )
    victim = candidates[0] if role in COMPONENTS else draw.choice(candidates)
    try:
        program = victim.process.name()
        victim.process.send_signal(signal.SIGKILL)
    except psutil.NoSuchProcess:
        return None
    at_s = time.time()
    if role in COMPONENTS:
        time.sleep(_RESTART_S)
        airflow.start(role)
    name = victim.task if role == "command" else role
    return Kill(at_s, f"{role}: {name}" if name != role else role, program, role in COMPONENTS)


def table_of_kills(kills: list[Kill]) -> str:
    """How many of each kind."""
    kinds: dict[str, int] = {}
    for kill in kills:
        kind = kill.victim.partition(":")[0]
        kinds[kind] = kinds.get(kind, 0) + 1
    rows = [f"| {kind} | {number} |" for kind, number in sorted(kinds.items())]
    return "\n".join(["| killed (SIGKILL) | times |", "|---|---|", *rows])
