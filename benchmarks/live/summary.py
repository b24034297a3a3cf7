"""The result of a run under a scheduler, for people."""

from __future__ import annotations

import platform
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from benchmarks.live.kills import Kill, table_of_kills
from benchmarks.live.processes import Processes, Seen
from benchmarks.live.site import HourRecord, Site
from benchmarks.live.tables import Compared


def summary(
    site: Site,
    processes: Processes,
    tasks: Sequence[dict[str, Any]],
    kills: list[Kill],
    orphans: list[str],
    compared: Compared | None,
    wall_s: float,
) -> str:
    """All tables."""
    records = sorted(site.records.values(), key=lambda record: record.hour.index)
    sections = [
        _of_hours(records),
        _latency(records),
        _of_tasks(processes, tasks),
        f"{wall_s:.0f} s in all; {_total_cpu_s(processes):.0f} CPU seconds; peak memory"
        f" {processes.peak_mib:.0f} MiB of all processes together (shared pages by their part)",
        _machine(),
    ]
    if kills:
        sections.insert(0, table_of_kills(kills))
    if compared is not None:
        sections.append(_of_tables(compared))
    left = "; ".join(orphans) if orphans else "none"
    sections.append(f"commands that ran on when all was done: {left}")
    return "\n\n".join(sections)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of all does not exceed.

    Raises:
        ValueError: there is none.
    """
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    rank = max(0, -int(-share * len(ordered) // 1) - 1)
    return ordered[rank]


def _of_hours(records: Sequence[HourRecord]) -> str:
    rows = [
        "| hour | ingested, sessions made | judged | own list, s after landing | in a list, s |",
        "|---|---|---|---|---|",
    ]
    rows += [
        f"| {record.hour} | {_yes(record.filled)} | {_yes(record.judged_s is not None)}"
        f" | {_after(record, record.published_s)} | {_after(record, record.served_s)} |"
        for record in records
    ]
    return "\n".join(rows)


def _latency(records: Sequence[HourRecord]) -> str:
    served = [record.served_s - record.landed_s for record in records if record.served_s]
    if not served:
        return "no list was published"
    own = sum(record.published_s is not None for record in records)
    return (
        f"{len(served)} of {len(records)} hours are in a list ({own} in one of their own), from"
        f" landing to there: median {median(served):.0f} s, p95 {percentile(served, 0.95):.0f} s"
    )


def _of_tasks(processes: Processes, tasks: Sequence[dict[str, Any]]) -> str:
    """By task: how often, wall-clock seconds, and CPU seconds of its command and of Airflow's own
    process for it; then the parts of Airflow."""
    names = {task["id"]: f"{task['dag_id']}.{task['task_id']}" for task in tasks}
    wall_s: dict[str, list[float]] = defaultdict(list)
    for task in tasks:
        if task["duration"] and task["state"] in ("success", "failed"):
            wall_s[names[task["id"]]].append(task["duration"])
    cpu_s: dict[tuple[str, str], float] = defaultdict(float)

    def key(each: Seen) -> str:
        name = names.get(each.task, each.task) if each.role == "task process" else each.task
        return f"{each.role}\n{name}"

    for name, used_s in processes.cpu_by(key).items():
        role, _, task_name = name.partition("\n")
        cpu_s[role, task_name] += used_s
    rows = [
        "| task | times | wall s, median | CPU s each: command | CPU s each: Airflow's process |",
        "|---|---|---|---|---|",
    ]
    for name, durations in sorted(wall_s.items()):
        number = len(durations)
        rows.append(
            f"| {name} | {number} | {median(durations):.1f}"
            f" | {cpu_s['command', name] / number:.1f}"
            f" | {cpu_s['task process', name] / number:.1f} |"
        )
    parts: dict[str, float] = defaultdict(float)
    for (role, _), used_s in cpu_s.items():
        if role not in ("command", "task process"):
            parts[role.removeprefix("idle ")] += used_s
    told = ", ".join(f"{role} {used_s:.0f}" for role, used_s in sorted(parts.items()))
    commands = sum(used_s for (role, _), used_s in cpu_s.items() if role == "command")
    own = sum(used_s for (role, _), used_s in cpu_s.items() if role == "task process")
    rows += ["", f"CPU seconds: commands {commands:.0f}, task processes {own:.0f}, {told}"]
    return "\n".join(rows)


def _of_tables(compared: Compared) -> str:
    what = f"{compared.rows} rows of {compared.hours} hours"
    if not compared.wrong:
        return f"tables: {what} equal those of a lake filled undisturbed, and none is there twice"
    return "\n".join([f"tables: {what}; wrong:", *compared.wrong])


def _total_cpu_s(processes: Processes) -> float:
    return sum(processes.cpu_by(lambda each: each.role).values())


def _machine() -> str:
    memory_gib = psutil.virtual_memory().total / 2**30
    return (
        f"{psutil.cpu_count()} cores ({_processor()}), {memory_gib:.1f} GiB,"
        f" Python {platform.python_version()}"
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _yes(is_so: bool) -> str:
    return "yes" if is_so else "no"


def _after(record: HourRecord, time_s: float | None) -> str:
    return "-" if time_s is None else f"{time_s - record.landed_s:.0f}"
