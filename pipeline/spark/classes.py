"""The archive of the classes that Spark loads: made once for an environment, used by all its jobs.

Much of a short job's time goes into reading and checking thousands of classes from Spark's jars.
Java maps them from a file instead where it made that file before ("dynamic class data sharing",
JEP 350).  It compares the file with itself and with the jars, and reads the jars where they differ.
"""

from __future__ import annotations

import hashlib
import os
import sys
from importlib import metadata, util
from pathlib import Path

# What Java has to say of an archive that it passes over goes where its other notes go: its standard
# output would be that of our commands.
_TO_STDERR = ("-Xlog:disable", "-Xlog:all=warning:stderr")


def archive_path(java: str) -> Path:
    """Where the archive of a Java lies, whether or not it was made.

    In the environment, whose jars it was made from; another Java, or another place of the jars,
    has another file.
    """
    real = Path(java).resolve()
    facts = real.stat()
    spec = util.find_spec("pyspark")
    spark = os.environ.get("SPARK_HOME") or (spec and spec.origin)
    version = metadata.version("pyspark") if spec else None
    made_from = f"{real} {facts.st_size} {int(facts.st_mtime)} {spark} {version}"
    name = hashlib.sha256(made_from.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return Path(sys.prefix) / "var" / "hourglass" / f"spark-classes-{name}.jsa"


def options_to_use(java: str) -> tuple[str, ...]:
    """Options with which Java uses its archive; none where there is none."""
    path = archive_path(java)
    return (*_TO_STDERR, f"-XX:SharedArchiveFile={path}") if path.is_file() else ()


def options_to_make(target: Path) -> tuple[str, ...]:
    """Options with which Java writes all classes that it loaded when it ends."""
    return (*_TO_STDERR, f"-XX:ArchiveClassesAtExit={target}")
