"""Errors that a person is meant to read: the thing, the value, and the mend."""

from __future__ import annotations

import errno


class HourglassError(Exception):
    """A fault the user can mend; the command line prints its one sentence and exits 1.

    ``exit_code`` lets a step tell apart *refused by a check* (1) from *asked wrongly* (2).
    """

    exit_code = 1


class UsageError(HourglassError):
    """The command or its configuration was asked wrongly (exit code 2)."""

    exit_code = 2


def disk_full(error: BaseException) -> bool:
    """Whether an error, or one that it came from, tells of a disk without space."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno == errno.ENOSPC:
            return True
        if "No space left on device" in str(seen):
            return True
        seen = seen.__cause__ or seen.__context__
    return False
