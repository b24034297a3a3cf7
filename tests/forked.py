"""What children of tests that are forked find imported."""

from __future__ import annotations

import multiprocessing
import sys
from pathlib import Path

# By names that are found from any folder.
IMPORTED = (
    "pytest",
    "pyiceberg.catalog.sql",
    "pyspark.sql",
    "mlflow.store.model_registry.sqlalchemy_store",
    "mlflow.store.tracking.sqlalchemy_store",
    "torch._dynamo",  # PyTorch's optimisers want it at their first step
    "training.models.hrnn_trend",
    "training.trainer.trainer",
    "training.deployment.promote",
    "training.replay.roll",
)


def import_in_server() -> None:
    """Have the one server that forks them, whichever test starts it, import all of it first."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(list(IMPORTED))


def write_missing(path: Path) -> None:
    """Write down, in a child, what was not imported after all."""
    path.write_text(" ".join(name for name in IMPORTED if name not in sys.modules))
