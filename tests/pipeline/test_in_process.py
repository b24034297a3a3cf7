"""Small steps are computed in this process: with the rows, digests and errors that Spark gives."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from pyspark.sql import SparkSession
from session_oracle import Event, Rules
from staging import DAY, NO_SPARK, Log, no_spark
from test_session_tasks import SPAN_H, plan_in, random_logs, write_events
from test_sessionize import assert_as_defined, at, hours, random_log

from pipeline.errors import HourglassError
from pipeline.hours import Hour, HourRange
from pipeline.lake.parquet_files import HourFile, HourWriter
from pipeline.lake.steps import SESSIONIZE
from pipeline.lake.tables import OPEN_SESSIONS
from pipeline.sessions import compute_range, in_process
from pipeline.sessions.arrow_exchange import ShuffleBlock
from pipeline.sessions.compute_range import Computed, compute_sessions, run_in_process, run_on_spark
from pipeline.sessions.in_process import TaskError
from pipeline.sessions.sessionize import sessionize
from pipeline.spark.compute import Compute
from pipeline.spark.session import worker_error

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = int(os.environ.get("HOURGLASS_TEST_EXAMPLES", "12")) // 4
# Runs `hourglass` where PySpark is not installed.
WITHOUT_SPARK = (
    "import sys; sys.modules['pyspark'] = None; "
    "from training.cli.main import program; sys.exit(program(sys.argv[1:]))"
)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(case=random_logs())
def test_both_ways_write_the_same_files(
    spark: SparkSession, case: tuple[Rules, set[Event], list[int]]
) -> None:
    """A range, and one that carries its sessions on, in several tasks of each stage."""
    rules, events, cuts = case
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as name:
        for limit in ("_ROWS_WORTH_A_TASK", "_ROWS_PER_BUCKET", "_ROWS_PER_GROUP"):
            patch.setattr(compute_range, limit, 60)
        folder = Path(name)
        arrived = write_events(folder, events)
        carried: list[HourFile] = []
        for first, stop in pairwise(sorted({0, cuts[len(cuts) // 2], SPAN_H})):
            span = HourRange(DAY + first, DAY + stop)
            new = [file for file in arrived if file.hour in span]
            if not carried and not new:
                continue
            here = run_in_process(
                plan_in(folder / f"here {first}", rules, span, carried, new), threads=3
            )
            there = run_on_spark(
                spark, plan_in(folder / f"there {first}", rules, span, carried, new)
            )
            assert (here.closed, here.opened) == (there.closed, there.opened)
            assert contents(here) == contents(there)
            open_files = here.files[OPEN_SESSIONS.name]
            carried = [file for file in open_files if file.hour == span.stop - 1]


def contents(computed: Computed) -> dict[tuple[str, Hour | None], bytes]:
    """Each file's bytes by its table and hour."""
    files = [(name, file) for name, files in computed.files.items() for file in files]
    read = {(name, file.hour): Path(file.path).read_bytes() for name, file in files}
    assert len(read) == len(files), "an hour in two files"
    return read


def test_a_step_is_computed_here_up_to_a_size_and_by_spark_from_it(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.arrive([at("1:00:00")])
    assert compute_sessions(NO_SPARK, log.lake, log.settings.sessions, hours(0, 3)).closed
    always = Compute(no_spark, from_mib=0)
    with pytest.raises(HourglassError, match="Spark was started"):
        compute_sessions(always, log.lake, log.settings.sessions, hours(0, 3))


def test_many_rows_are_too_much_however_small_their_files() -> None:
    compute = Compute(no_spark, from_mib=1)
    assert compute.is_small((1 << 20) - 1, 1 << 14)
    assert not compute.is_small(1, (1 << 14) + 1)
    assert not compute.is_small(1 << 20, 1)
    assert not Compute(no_spark, from_mib=0).is_small(0)


def test_threads_take_what_spark_would_do_on_this_machine_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to what memory holds; not where there are other machines, or Spark is to do all."""
    monkeypatch.setattr("pipeline.spark.compute.memory_of_machine", lambda: 1 << 40)
    most = 3 << 20
    here = Compute(no_spark, from_mib=1, on_one_machine=True)
    assert here.is_done_here(384 << 20, most, bytes_per_row=1 << 10)
    assert not here.is_done_here(384 << 20, most + 1, bytes_per_row=1 << 10)
    assert not here.is_done_here((384 << 20) + 1, most, bytes_per_row=1 << 10)
    assert not Compute(no_spark, from_mib=1).is_done_here(1 << 20, 1, bytes_per_row=1)
    assert not Compute(no_spark, from_mib=0, on_one_machine=True).is_done_here(1, 1, 1)
    # Half of what a small machine has.
    monkeypatch.setattr("pipeline.spark.compute.memory_of_machine", lambda: 2 << 30)
    assert here.is_done_here(1 << 20, 1 << 20, bytes_per_row=1 << 10)
    assert not here.is_done_here(1 << 20, (1 << 20) + 1, bytes_per_row=1 << 10)
    log = Log(tmp_path)
    log.arrive([at("1:00:00")])
    too_much = Compute(no_spark, from_mib=1, on_one_machine=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.spark.compute._MIN_BYTES_PER_ROW", 1 << 30)
        assert not too_much.is_small(0, 1)
        assert compute_sessions(too_much, log.lake, log.settings.sessions, hours(0, 3)).closed
        patch.setattr("pipeline.spark.compute._MEMORY_BYTES", 0)
        with pytest.raises(HourglassError, match="Spark was started"):
            compute_sessions(too_much, log.lake, log.settings.sessions, hours(0, 3))


def test_the_first_task_that_fails_is_told_and_those_that_wait_are_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two of fifty fail, the second before the first; whoever is after them ends with the pool."""
    begun: list[int] = []
    second_failed, pool_ends = threading.Event(), threading.Event()

    class Pool(ThreadPoolExecutor):
        def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
            super().shutdown(wait=False, cancel_futures=cancel_futures)
            pool_ends.set()
            super().shutdown(wait)

    def work(task: int) -> Iterator[ShuffleBlock]:
        begun.append(task)
        if task == 0:
            second_failed.wait()
            raise ValueError("the first")
        if task == 1:
            second_failed.set()
            raise ValueError("the second")
        pool_ends.wait()
        yield 0, task, "kind", pa.table({})

    monkeypatch.setattr(in_process, "ThreadPoolExecutor", Pool)
    with pytest.raises(TaskError, match="ValueError: the first"):
        in_process.first_stage(50, work, threads=2)
    assert set(begun) <= {0, 1, 2, 3}
    begun.clear()
    with pytest.raises(TaskError, match="ValueError: the first"):
        in_process.first_stage(50, work, threads=1)
    assert begun == [0]


def test_a_spark_that_cannot_start_is_no_fault_of_the_hours(tmp_path: Path) -> None:
    """Else the hours would be given up one by one, and those after a silence committed."""
    log = Log(tmp_path)
    log.arrive([at("1:00:00"), at("9:00:00")])
    starts = []

    def start() -> SparkSession:
        starts.append("once")
        raise RuntimeError("Java gateway process exited before sending its port number")

    with pytest.raises(HourglassError, match="Spark cannot be started: Java gateway"):
        sessionize(Compute(start, from_mib=0), log.lake, log.settings, hours(0, 12))
    assert starts == ["once"]
    assert not log.lake.filled(SESSIONIZE)


def test_a_signal_while_spark_starts_is_no_failed_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def start() -> SparkSession:
        raise RuntimeError("Java gateway process exited before sending its port number")

    monkeypatch.setattr("pipeline.spark.compute.is_interrupted", lambda: True)
    with pytest.raises(KeyboardInterrupt):
        _ = Compute(start, from_mib=0).spark


@pytest.mark.parametrize(
    ("column", "damage"),
    [
        pytest.param("user_id", "1 event has no user or item", id="a kernel's own"),
        pytest.param(None, "cannot be read", id="a damaged file"),
    ],
)
def test_a_failed_task_says_what_it_says_on_spark(
    tmp_path: Path, spark: SparkSession, column: str | None, damage: str
) -> None:
    (file,) = write_events(tmp_path, [at("1:00:00")])
    if column is None:
        Path(file.path).write_bytes(b"PAR1 and nothing else")
    else:
        table = pq.read_table(file.path)
        index = table.column_names.index(column)
        empty = table.schema.field(column).type
        nobody = table.set_column(index, column, pa.nulls(1, empty))
        pq.write_table(nobody, file.path)
    plan = plan_in(tmp_path / "out", Rules(), hours(0, 3), [], [file])
    with pytest.raises(TaskError) as here:
        run_in_process(plan)
    with pytest.raises(Exception, match=damage) as there:
        run_on_spark(spark, plan)
    assert worker_error(here.value) == worker_error(there.value)
    assert damage in worker_error(here.value)


def test_a_disk_that_is_full_ends_the_run_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log(tmp_path)
    log.arrive([at("1:00:00"), at("2:00:00")])
    writes: list[Any] = []

    def full(*arguments: Any) -> NoReturn:
        writes.append(arguments)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch, pytest.raises(HourglassError, match="no space is left"):
        patch.setattr(HourWriter, "write", full)
        sessionize(NO_SPARK, log.lake, log.settings, hours(0, 4))
    assert len(writes) == 1, "a full disk is not tried again in halves"
    assert log.lake.filled("sessionize") == {}


def test_the_commands_start_no_java_for_little(tmp_path: Path) -> None:
    log = Log(tmp_path / "work")
    log.arrive(random_log(21, 30, log.rules, span_h=5))
    config = tmp_path / "hourglass.yaml"
    config.write_text(yaml.safe_dump({"work": str(tmp_path / "work")}), encoding="utf-8")
    command = [sys.executable, "-c", WITHOUT_SPARK, "--config", str(config)]
    span = ["--from", str(DAY), "--to", str(DAY + 8)]
    done = subprocess.run(
        [*command, "sessionize", *span], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "starting Spark" not in done.stderr
    assert done.stdout.startswith(f"filled {DAY} to {DAY + 8}")
    assert_as_defined(log, 8)
