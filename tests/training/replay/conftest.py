"""Replays are tried on a lake that the helpers of the pipeline's tests fill."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from staging import Log

    from pipeline.spark.compute import Compute

sys.path.append(str(Path(__file__).resolve().parents[2] / "pipeline"))


@pytest.fixture(scope="session")
def log(compute: Compute, tmp_path_factory: pytest.TempPathFactory) -> Log:
    """A sessionized lake with context and metadata."""
    from replay_lake import filled_lake

    return filled_lake(compute, tmp_path_factory.mktemp("lake"))
