"""Airflow, started once for all tests that run DAGs; they share a process of the tests too."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from airflow_process import Airflow, airflow_in


@pytest.fixture(scope="session")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    """What runs DAGs, with a stand-in for `hourglass` or the real one."""
    with airflow_in(tmp_path_factory.mktemp("a lake")) as started:
        yield started
