"""The Spark session of every job, with the settings that our tables rely on."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import HourglassError
from pipeline.process.interrupts import reinstall
from pipeline.settings.settings import SparkSettings
from pipeline.spark.classes import options_to_use

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

MIN_JAVA = 17
# Java gives the quick compiler a fifth of the room for code; Spark makes new code for every query.
QUICK_JAVA = ("-XX:TieredStopAtLevel=1", "-XX:ReservedCodeCacheSize=240m")
_ERROR_LINE = re.compile(r"[A-Za-z_][\w.]*: ")
_JAVA_VERSION = re.compile(r'version "(?:1\.)?(\d+)')


def find_java() -> tuple[str, int] | None:
    """Path and major version of the Java that Spark would start, or None."""
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    if java is None:
        return None
    try:
        answer = subprocess.run(  # noqa: S603 - the path is Java's own, found above
            [java, "-version"], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    match = _JAVA_VERSION.search(answer.stderr + answer.stdout)
    return (java, int(match[1])) if match else None


def require_java() -> str:
    """The path of the Java that Spark would start; stops early, in one sentence, without one.

    Raises:
        HourglassError: no Java of a version that Spark 4 takes.
    """
    java = find_java()
    if java is None:
        raise HourglassError(
            f"no Java was found and Spark needs {MIN_JAVA} or newer: run `hourglass doctor --fix`"
        )
    if java[1] < MIN_JAVA:
        raise HourglassError(
            f"{java[0]} is Java {java[1]} and Spark needs {MIN_JAVA} or newer: "
            "run `hourglass doctor --fix`, or point JAVA_HOME at a newer one"
        )
    return java[0]


def spark_is_running() -> bool:
    """Whether this process has a Spark already, which `start_spark` would join."""
    from pyspark import SparkContext

    return SparkContext._active_spark_context is not None


def start_spark(
    settings: SparkSettings, scratch: Path, lasting: bool = False, archived: bool = True
) -> SparkSession:
    """Start (or join) the Spark session.

    Args:
        settings: of the session.
        scratch: takes its spill and local files.
        lasting: whether it will compute for many minutes.
        archived: whether classes may come from their archive; Java makes none while it reads one.

    Raises:
        HourglassError: no suitable Java.
    """
    own_java = require_java()
    from pyspark.sql import SparkSession

    scratch.mkdir(parents=True, exist_ok=True)
    # Workers must be this interpreter: another `python3` on the PATH lacks our packages.
    os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    java = [f"-Dlog4j2.configurationFile={Path(__file__).with_name('log4j2.properties')}"]
    java += options_to_use(own_java) if archived else ()
    if not lasting:
        # The thorough compiler pays off after minutes; before, it only takes cores from the work.
        java += QUICK_JAVA
    builder = (
        SparkSession.builder.appName("hourglass")
        .master(settings.master)
        .config("spark.driver.memory", settings.driver_memory)
        .config("spark.driver.extraJavaOptions", shlex.join(java))
        .config("spark.local.dir", str(scratch))
        .config("spark.sql.warehouse.dir", str(scratch / "warehouse"))
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.ansi.enabled", "true")
        # Iceberg wants microseconds; Spark's own default is INT96.
        .config("spark.sql.parquet.outputTimestampType", "TIMESTAMP_MICROS")
        .config("spark.sql.parquet.compression.codec", "zstd")
        .config("spark.sql.execution.arrow.pyspark.enabled", "true")
        .config("spark.sql.adaptive.enabled", "true")
        # Hours are small files: at the default of 4 MB each, a year of them is hundreds of tasks.
        .config("spark.sql.files.openCostInBytes", str(256 * 1024))
        # By default every path is listed by a task of its own.
        .config("spark.sql.sources.parallelPartitionDiscovery.parallelism", "16")
    )
    if settings.master.startswith("local"):
        # Nothing but this machine takes part, whatever name the network gives it.
        builder = builder.config("spark.driver.host", "127.0.0.1")
        builder = builder.config("spark.driver.bindAddress", "127.0.0.1")
        # 200, the default, costs more in scheduling than small hours cost in work; adaptive
        # execution merges what is still too small.
        builder = builder.config(
            "spark.sql.shuffle.partitions", settings.shuffle_partitions or (os.cpu_count() or 2) * 4
        )
    elif settings.shuffle_partitions:
        builder = builder.config("spark.sql.shuffle.partitions", settings.shuffle_partitions)
    with _stderr_to(scratch / "spark.log"):
        session = builder.getOrCreate()
    # PySpark answers Ctrl-C by asking the JVM, in the midst of another question to it.
    reinstall()
    return session


@contextmanager
def _stderr_to(log: Path) -> Iterator[None]:
    """Let a child process started here inherit a log file as its stderr.

    The JVM's notes and stack traces are for who looks for them; what a person at the terminal
    needs to know arrives as an exception.
    """
    sys.stderr.flush()
    own = os.dup(2)
    with log.open("ab") as sink:
        os.dup2(sink.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(own, 2)
        os.close(own)


def spark_is_alive(spark: SparkSession) -> bool:
    """Whether the session's JVM still answers; after some failures it is gone."""
    try:
        return spark.sparkContext._jsc is not None and bool(spark.range(1).count() == 1)
    except Exception:
        return False


def worker_error(error: BaseException) -> str:
    """The last line that says what went wrong in a task, without the stack around it."""
    lines = [line.rstrip() for line in str(error).splitlines()]
    error_lines = [line for line in lines if _ERROR_LINE.match(line)]
    last = error_lines[-1] if error_lines else next(filter(None, lines), type(error).__name__)
    return last.removeprefix("pipeline.errors.HourglassError: ")[:300]
