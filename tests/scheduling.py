"""Which tests run in one process: those of a file, and all that need the session's Spark.

Spark is started and warmed up once for them; in two processes it would take a core each while its
compiler works, for the same queries.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from xdist.scheduler import LoadFileScheduling

_NEEDS_SPARK = re.compile(r"\bon_spark\b|\bas_commands_compute\b|\bspark: SparkSession|\.spark\b")
_ON_SPARK = "on Spark"


class OneSparkScheduling(LoadFileScheduling):
    """Files go to the processes whole, and those that need Spark all to the same one."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return _ON_SPARK if _needs_spark(Path(self.config.rootpath, file)) else file


@cache
def _needs_spark(file: Path) -> bool:
    return bool(_NEEDS_SPARK.search(file.read_text(encoding="utf-8")))
