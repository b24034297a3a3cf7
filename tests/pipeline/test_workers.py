"""Processes that share out work: what comes of it, and of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pytest
import worker_jobs
from worker_jobs import NUMBERS, workers_left

from pipeline.errors import HourglassError, UsageError
from pipeline.process import workers
from pipeline.process.workers import shared_out

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path: Path) -> Iterator[None]:
    yield
    assert not list((tmp_path / "rows").glob("*"))
    assert not workers_left()


def jobs_of(*values: object, name: str = "n") -> list[pa.RecordBatch]:
    return [pa.record_batch({name: [value]}) for value in values]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_what_comes_of_jobs_comes_in_their_order(tmp_path: Path, count: int) -> None:
    batches = list(
        shared_out(jobs_of(*range(9)), worker_jobs.numbers, NUMBERS, count, tmp_path / "rows")
    )
    assert [batch.column("n").to_pylist() for batch in batches] == [
        [n] * 5 for n in range(9) for _ in range(2)
    ]
    pids = {pid for batch in batches for pid in batch.column("pid").to_pylist()}
    assert len(pids) == count
    assert os.getpid() not in pids


def test_modules_of_the_working_folder_are_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise RuntimeError('the working folder is no library')")
    monkeypatch.chdir(tmp_path)
    rows = shared_out(jobs_of(*range(2)), worker_jobs.numbers, NUMBERS, 1, tmp_path / "rows")
    assert len(list(rows)) == 4


def test_no_jobs_need_no_process(tmp_path: Path) -> None:
    assert list(shared_out([], worker_jobs.numbers, NUMBERS, 2, tmp_path / "rows")) == []


def test_of_much_work_a_little_is_done_ahead(tmp_path: Path) -> None:
    folder = tmp_path / "rows"
    most = 0
    for _ in shared_out(jobs_of(*[1] * 40), worker_jobs.numbers, NUMBERS, 2, folder):
        time.sleep(0.005)
        most = max(most, len(list(folder.iterdir())))
    assert most <= 2 * 2 + 1


@pytest.mark.parametrize("taken", [0, 1, 7])
def test_who_wants_no_more_ends_the_processes(tmp_path: Path, taken: int) -> None:
    rows = shared_out(jobs_of(*range(9)), worker_jobs.numbers, NUMBERS, 2, tmp_path / "rows")
    for _ in range(taken):
        next(rows)
    assert len(workers_left()) == 2 * (taken > 0)
    rows.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        ("usage", UsageError, r"^source\.encoding: no such encoding"),
        ("full", OSError, "No space left on device"),
        ("two", HourglassError, "^TwoWordsError: a b"),
        ("killed", HourglassError, "was ended by signal 9; nothing was committed: see that mem"),
        ("ended", HourglassError, r"ended by itself \(exit code 3\); nothing was committed: run"),
    ],
)
def test_what_goes_wrong_with_a_job_is_said_here(
    tmp_path: Path, kind: str, error: type[Exception], message: str
) -> None:
    jobs = jobs_of(kind, kind, name="kind")
    with pytest.raises(error, match=message) as raised:
        list(shared_out(jobs, worker_jobs.failing, NUMBERS, 2, tmp_path / "rows"))
    if kind == "full":
        assert getattr(raised.value, "errno", None) == 28
    if kind in ("usage", "full", "two"):
        assert "in failing" in raised.value.__notes__[0]


def test_where_no_process_can_start_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    popen = subprocess.Popen
    started: list[object] = []

    def limited(*arguments: Any, **options: Any) -> Any:
        if started:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        started.append(popen(*arguments, **options))
        return started[0]

    monkeypatch.setattr(workers.subprocess, "Popen", limited)  # type: ignore[attr-defined]
    with pytest.raises(HourglassError, match="cannot be started: Resource temporarily unav"):
        list(shared_out(jobs_of(1, 2), worker_jobs.numbers, NUMBERS, 2, tmp_path / "rows"))


def test_work_ends_with_the_process_that_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = shared_out(jobs_of(1), worker_jobs.sleeping, NUMBERS, 1, tmp_path / "rows")
    monkeypatch.setattr(workers, "is_interrupted", lambda: True)
    with pytest.raises(KeyboardInterrupt):
        next(rows)


PROGRAM = """
import sys
from pathlib import Path
import pyarrow as pa
import worker_jobs
from pipeline.engine import on_disk
from pipeline.process import interrupts
on_disk._BYTES_PER_WORKER = 1
on_disk.usable_cores = lambda: 2
def command():
    print("ready", file=sys.stderr, flush=True)
    with on_disk.on_disk(Path(sys.argv[1]) / "spill") as engine:
        inputs = pa.table({"n": [1, 2]})
        big = [1 << 30] * 2
        engine.made_from(
            inputs, worker_jobs.sleeping, worker_jobs.NUMBERS, Path(sys.argv[1]) / "rows", big
        )
    return 0
interrupts.guarded(command)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_the_one_that_started_it(tmp_path: Path, number: int) -> None:
    """By a signal to all of its group, as a terminal and Airflow send it."""
    path = os.pathsep.join(map(str, (ROOT, HERE)))
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": path},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "ready\n"
        parent = psutil.Process(process.pid)
        while len(children := parent.children(recursive=True)) < 2:
            assert process.poll() is None
            time.sleep(0.02)
        os.killpg(process.pid, number)
        _, message = process.communicate(timeout=60)
    psutil.wait_procs(children, timeout=60)
    assert not [child for child in children if child.is_running()]
    if number == signal.SIGKILL:
        assert process.returncode == -number
        for left in (tmp_path / "rows").glob("*"):
            left.unlink()
        return
    assert process.returncode == 128 + number
    assert "nothing half-done is visible" in message
    assert "Traceback" not in message
