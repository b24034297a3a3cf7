"""``python -m training.fork_server``: the process whose forks are commands.

Nobody starts it by hand: a command does, where ``HOURGLASS_FORK_SERVER_IDLE_S`` says for how many
seconds it stays after the last one.  See ``docs/operations.md``.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from pathlib import Path

import pipeline
import training
from pipeline.process.fork_server.address import Address
from pipeline.process.fork_server.server import serve
from pipeline.process.garbage import look_rarely
from pipeline.process.interrupts import guarded

# What is imported within functions, of libraries that take a good part of a second.
LIBRARIES = (
    "crawleruseragents",
    "duckdb",
    "fastavro",
    "great_expectations",
    "matplotlib.backends.backend_svg",
    "mlflow.store.model_registry.sqlalchemy_store",
    "mlflow.store.tracking.sqlalchemy_store",
    "pandas",
    "psutil",
    "pyarrow.dataset",
    "pyarrow.orc",
    "pyarrow.parquet",
    "pyiceberg.catalog.sql",
    "rich.progress",
    "safetensors.torch",
    "scipy.stats",
    "torch._dynamo",  # PyTorch's optimisers want it at their first step
)
# What starts when it is imported, and what the command line of another program is.
_NOT_IMPORTED = ("__main__", "make_spark_classes")


def import_all() -> None:
    """Import our own modules, and the libraries that they import late."""
    for package in (pipeline, training):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if module.name.rpartition(".")[2] not in _NOT_IMPORTED:
                importlib.import_module(module.name)
    for name in LIBRARIES:
        importlib.import_module(name)


def main(socket: str, lock: str, log: str, idle_s: str) -> None:
    """Serve at an address; in a fork, run the command that it is for."""
    look_rarely()
    address = Address(Path(socket), Path(lock), Path(log))
    command = serve(address, float(idle_s), import_all)
    if command is not None:
        from training.cli.main import program

        guarded(lambda: program(command.arguments))


if __name__ == "__main__":
    main(*sys.argv[1:])
