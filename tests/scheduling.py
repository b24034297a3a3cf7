"""Which tests run in one process: those of a file, and all that need Spark, or Airflow's runs.

Either is started and warmed up once for them; in two processes Spark would take a core each while
its compiler works, for the same queries.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from xdist.scheduler import LoadFileScheduling

_SHARED = {
    "on Spark": re.compile(r"\bon_spark\b|\bas_commands_compute\b|\bspark: SparkSession|\.spark\b"),
    "by Airflow": re.compile(r"\bairflow: Airflow\b"),
}


class SharedStartScheduling(LoadFileScheduling):
    """Files go to the processes whole, and those that need the same start all to the same one."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return _shared_start(Path(self.config.rootpath, file)) or file


@cache
def _shared_start(file: Path) -> str | None:
    text = file.read_text(encoding="utf-8")
    return next((name for name, needs in _SHARED.items() if needs.search(text)), None)
