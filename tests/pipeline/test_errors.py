from __future__ import annotations

import errno
from pathlib import Path
from typing import NoReturn

import pytest

from pipeline.errors import HourglassError, UsageError, disk_full, explaining_full_disk


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        raise error from cause
    except BaseException as caught:
        return caught


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "anything"),
        OSError(errno.EDQUOT, "anything"),
        RuntimeError("java.io.IOException: No space left on device\n\tat java.base/..."),
        RuntimeError("(sqlite3.OperationalError) database or disk is full"),
        raised(ValueError("could not write"), OSError(errno.ENOSPC, "No space left on device")),
    ],
)
def test_a_full_disk_is_found_wherever_it_is_said(error: BaseException) -> None:
    assert disk_full(error)


def test_other_errors_are_none() -> None:
    assert not disk_full(OSError(errno.EACCES, "Permission denied"))
    assert not disk_full(raised(ValueError("x"), KeyError("y")))
    loop = ValueError("x")
    loop.__context__ = loop
    assert not disk_full(loop)


class DumbError(Exception):
    def __str__(self) -> NoReturn:
        raise ConnectionError("the JVM is gone")


def test_an_error_that_cannot_say_what_it_is_hides_nothing() -> None:
    assert not disk_full(DumbError())
    assert disk_full(raised(DumbError(), OSError(errno.ENOSPC, "x")))


def test_a_full_disk_is_told_in_one_sentence_and_other_errors_pass() -> None:
    sentence = "no space is left on the disk of work or lake; "
    folders = Path("work"), Path("lake"), Path("work")
    with pytest.raises(HourglassError, match=sentence), explaining_full_disk(*folders):
        raise OSError(errno.ENOSPC, "x")
    with pytest.raises(UsageError, match="asked wrongly"), explaining_full_disk(*folders):
        raise UsageError("asked wrongly")
