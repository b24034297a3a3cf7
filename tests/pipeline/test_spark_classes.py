"""The archive of Spark's classes: used where it fits, passed over in silence where it does not."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pyspark
import pytest

from pipeline import doctor
from pipeline.doctor import Facts
from pipeline.errors import HourglassError
from pipeline.make_spark_classes import make_archive
from pipeline.spark.classes import archive_path, options_to_use
from pipeline.spark.session import require_java


@pytest.fixture
def prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment in which no archive was made yet."""
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    return tmp_path


def java(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [require_java(), *options, "-version"], capture_output=True, text=True, check=False
    )


def test_without_an_archive_java_is_started_as_ever(prefix: Path) -> None:
    assert options_to_use(require_java()) == ()
    assert not list(prefix.iterdir())


def test_another_java_or_another_spark_has_another_archive(
    prefix: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = archive_path(require_java())
    assert own == archive_path(os.path.realpath(require_java()))
    other = prefix / "java"
    other.write_text("another")
    assert archive_path(str(other)) != own
    monkeypatch.setenv("SPARK_HOME", str(prefix))
    assert archive_path(require_java()) != own


@pytest.mark.parametrize("content", [b"", b"no archive", bytes(1 << 20)])
def test_an_archive_that_does_not_fit_is_passed_over(prefix: Path, content: bytes) -> None:
    path = archive_path(require_java())
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    options = options_to_use(require_java())
    assert any(str(path) in option for option in options)
    ended = java(*options)
    assert (ended.returncode, ended.stdout) == (0, "")
    assert "openjdk version" in ended.stderr


def test_what_goes_wrong_in_making_it_leaves_nothing(
    prefix: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(prefix))
    (prefix / "sitecustomize.py").write_text("raise SystemExit('a reason')")
    with pytest.raises(HourglassError, match="classes was not made"):
        make_archive()
    assert not list((prefix / "var" / "hourglass").iterdir())


def test_where_it_cannot_be_kept_the_doctor_says_so_and_goes_on(
    prefix: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (prefix / "var").write_text("a file in the way")
    monkeypatch.setattr(doctor, "gather", lambda work, fix=False: Facts(keeps_classes=False))
    checks = {check.name: check for check in doctor.run_doctor(prefix, fix=True)}
    assert checks["Spark's classes"].status == "warn"
    said = capsys.readouterr()
    assert "cannot be kept in" in said.err
    assert not said.out


def test_without_fix_it_is_not_made(prefix: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "gather", lambda work, fix=False: Facts(keeps_classes=False))
    checks = {check.name: check for check in doctor.run_doctor(prefix, fix=False)}
    assert checks["Spark's classes"].mend == "hourglass doctor --fix"
    assert not list(prefix.iterdir())


@pytest.mark.slow
@pytest.mark.nightly  # `hourglass doctor --fix` makes one wherever the tests run in CI
def test_spark_s_classes_come_from_the_archive(prefix: Path) -> None:
    path = make_archive()
    assert path.is_file()
    assert list(path.parent.iterdir()) == [path]
    options = (*options_to_use(require_java()), "-Xlog:class+load:stdout")
    # As Spark starts it: Java compares the class path with that of the archive.
    shown = subprocess.run(
        [Path(pyspark.__file__).parent / "bin" / "spark-submit", "--version"],
        env={**os.environ, "SPARK_SUBMIT_OPTS": shlex.join(options)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "shared objects file (top)" in shown.stdout
