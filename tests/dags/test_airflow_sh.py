"""``dags/airflow.sh``: where it keeps its state."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With an airflow that only tells its settings."""
    airflow = tmp_path / "bin" / "airflow"
    airflow.parent.mkdir()
    airflow.write_text('#!/bin/sh\necho "$HOURGLASS_WORK $AIRFLOW_HOME"\n')
    airflow.chmod(0o755)
    return tmp_path


def told(folder: Path, work: str) -> subprocess.CompletedProcess[str]:
    variables = {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "HOME": str(folder / "home")}
    return subprocess.run(
        [str(ROOT / "dags" / "airflow.sh"), "version"],
        cwd=folder,
        env={**variables, "HOURGLASS_WORK": work},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("work", ["s3://bucket/lake", "gs://b", "file://host/x"])
def test_an_object_store_is_refused_before_a_folder_is_made(folder: Path, work: str) -> None:
    done = told(folder, work)
    assert done.returncode == 2
    assert done.stderr == (
        f"HOURGLASS_WORK={work}: must be a path on this machine, of a local or mounted folder\n"
    )
    assert [path.name for path in folder.iterdir()] == ["bin"]


@pytest.mark.parametrize(
    ("work", "path"),
    [("~", "home"), ("~/lake", "home/lake"), ("lake", "lake"), ("file://{}/lake", "lake")],
)
def test_its_state_is_in_the_work_folder(folder: Path, work: str, path: str) -> None:
    done = told(folder, work.format(folder))
    assert done.stdout == f"{folder / path} {folder / path / 'airflow'}\n", done.stderr
