"""Make the archive of Spark's classes: a small log goes through what jobs do, in a process apart.

python -m pipeline.make_spark_classes
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
from datetime import timedelta
from pathlib import Path

from pipeline.errors import HourglassError
from pipeline.hours import Hour
from pipeline.settings.settings import Settings, SparkSettings
from pipeline.settings.source import ColumnSettings, SourceSettings
from pipeline.settings.tables import DatasetSettings
from pipeline.spark.classes import archive_path, options_to_make
from pipeline.spark.compute import Compute
from pipeline.spark.session import QUICK_JAVA, require_java, start_spark

_PATIENCE_S = 900
_HOURS = ("2025-11-01T10", "2025-11-01T11")
_USERS, _ITEMS = 6, 4


def make_archive() -> Path:
    """Make the archive for the Java that Spark would start; a few dozen seconds, about 200 MB.

    Raises:
        HourglassError: no suitable Java, or it could not be made or written.
    """
    target = archive_path(require_java())
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Beside the target, so that it is renamed there: whole, or not there.
        with tempfile.TemporaryDirectory(prefix=".making-", dir=target.parent) as folder:
            unfinished = Path(folder) / target.name
            _run(unfinished, Path(folder))
            unfinished.replace(target)
    except OSError as error:
        raise HourglassError(
            f"the archive of Spark's classes cannot be kept in {target.parent}: "
            f"{error.strerror or error}"
        ) from error
    return target


def _run(target: Path, folder: Path) -> None:
    options = (*QUICK_JAVA, *options_to_make(target))
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("HOURGLASS_")
    }
    environment["SPARK_SUBMIT_OPTS"] = shlex.join(options)
    try:
        # Java inherits the output and writes its archive as it ends, after its Python: at the end
        # of the output all is written.
        done = subprocess.run(  # noqa: S603 - this interpreter and this module
            [sys.executable, "-m", "pipeline.make_spark_classes", str(folder)],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PATIENCE_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise HourglassError(
            f"the archive of Spark's classes was not made within {_PATIENCE_S} s"
        ) from error
    if done.returncode != 0 or not target.is_file():
        output = (done.stdout + done.stderr).decode("utf-8", "replace").strip().splitlines()
        raise HourglassError(
            "the archive of Spark's classes was not made: "
            + (output[-1] if output else "no reason")
        )


def _load_classes(folder: Path) -> None:
    """Ingest, sessionize and freeze a log of two hours, so that Java loads what that takes."""
    from pipeline.dataset.build import freeze
    from pipeline.lake.lake import Lake
    from pipeline.sessions.backfill import backfill

    landing = folder / "landing"
    for hour in _HOURS:
        (landing / hour).mkdir(parents=True)
        (landing / hour / "log.jsonl").write_text(_log(hour), encoding="utf-8")
    columns = {"event_time": "at", "user_id": "user", "item_id": "item", "event_key": "key"}
    settings = Settings(
        work=folder / "work",
        source=SourceSettings(
            name="json_lines",
            path=landing,
            columns=ColumnSettings(**columns),
            time_unit="iso8601",
        ),
        dataset=DatasetSettings(min_item_events=1),
    )
    lake = Lake(settings.resolved_catalog_uri, settings.resolved_warehouse)
    chosen = SparkSettings(master="local[2]", driver_memory="1g", shuffle_partitions=2)
    spark = start_spark(chosen, folder / "scratch", archived=False)
    compute = Compute(lambda: spark, from_mib=0)
    backfill(compute, lake, settings, Hour.parse(_HOURS[-1]).start + timedelta(days=1), None)
    freeze(compute, lake, settings, Hour.parse(_HOURS[-1]) + 1)
    spark.stop()


def _log(hour: str) -> str:
    rows = [
        {
            "at": f"{hour}:{5 * n:02}:{user:02}",
            "user": f"u{user}",
            "item": f"i{(n + user) % _ITEMS}",
            "key": f"{hour} {user} {n}",
        }
        for n in range(8)
        for user in range(_USERS)
    ]
    return "".join(f"{json.dumps(row)}\n" for row in [*rows, rows[0], {"at": "no time"}])


if __name__ == "__main__":
    if len(sys.argv) > 1:
        _load_classes(Path(sys.argv[1]))
    else:
        make_archive()
