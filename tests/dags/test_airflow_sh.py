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


def told(
    folder: Path, work: str, command: str = "version", first: str = ""
) -> subprocess.CompletedProcess[str]:
    """What the script says where a folder of these names comes first on PATH."""
    path = ":".join([*([str(folder / first)] if first else []), str(folder / "bin")])
    variables = {"PATH": f"{path}:{os.environ['PATH']}", "HOME": str(folder / "home")}
    return subprocess.run(
        [str(ROOT / "dags" / "airflow.sh"), command],
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


def add_python(folder: Path, name: str, has_psutil: bool) -> None:
    """A python3 that says where it is from, and has psutil or not."""
    python = folder / name / "python3"
    python.parent.mkdir(exist_ok=True)
    code = 0 if has_psutil else 1
    python.write_text(f'#!/bin/sh\n[ "$1" = -c ] && exit {code}\necho "{name}: $*"\n')
    python.chmod(0o755)


def test_standalone_runs_in_the_python_that_airflow_is_installed_in(folder: Path) -> None:
    add_python(folder, "elsewhere", has_psutil=False)
    add_python(folder, "bin", has_psutil=True)
    done = told(folder, "lake", "standalone", "elsewhere")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "bin: dags/own_session.py airflow standalone"


def test_a_link_to_airflow_leads_to_its_python(folder: Path) -> None:
    add_python(folder, "elsewhere", has_psutil=False)
    add_python(folder, "bin", has_psutil=True)
    (folder / "elsewhere" / "airflow").symlink_to(folder / "bin" / "airflow")
    done = told(folder, "lake", "standalone", "elsewhere")
    assert done.stdout.splitlines()[-1] == "bin: dags/own_session.py airflow standalone"


def test_another_python_with_psutil_will_do(folder: Path) -> None:
    add_python(folder, "elsewhere", has_psutil=True)
    done = told(folder, "lake", "standalone", "elsewhere")
    assert done.stdout.splitlines()[-1] == "elsewhere: dags/own_session.py airflow standalone"


def test_without_psutil_it_says_what_to_do(folder: Path) -> None:
    add_python(folder, "elsewhere", has_psutil=False)
    done = told(folder, "lake", "standalone", "elsewhere")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"no python3 with psutil, which stops Airflow whole: run 'make venv' in {ROOT}\n"
    )
