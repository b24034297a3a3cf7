"""What every test of the training side runs with."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Tensors of a few numbers are not worth a second thread, and sums are the same anywhere."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def store(mlflow_tables: None, tmp_path_factory: pytest.TempPathFactory) -> str:
    """One SQLite store of MLflow for all tests that need none of their own."""
    return f"sqlite:///{tmp_path_factory.mktemp('store') / 'new' / 'mlflow.db'}"
