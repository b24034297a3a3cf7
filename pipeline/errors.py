"""Errors that a person is meant to read: the thing, the value, and the mend."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.text.masking import mask

# As the system, its quotas and SQLite say it; Spark only passes on the text.
_FULL = ("No space left on device", "Disk quota exceeded", "database or disk is full")


class HourglassError(Exception):
    """A fault the user can mend; the command line prints its one sentence and exits 1.

    ``exit_code`` lets a step tell apart *refused by a check* (1) from *asked wrongly* (2).  Secrets
    are masked from the beginning: a sentence may end in a file, a report or another system.
    """

    exit_code = 1

    def __init__(self, *words: object) -> None:
        super().__init__(*(mask(word) if isinstance(word, str) else word for word in words))


def one_line(error: Exception) -> str:
    """An error on one line; its type is named unless the message was written for people."""
    text = mask(" ".join(str(error).split()))
    return text if isinstance(error, HourglassError) else f"{type(error).__name__}: {text}"


class UsageError(HourglassError):
    """The command or its configuration was asked wrongly (exit code 2)."""

    exit_code = 2


class NothingHappenedError(HourglassError):
    """No event of the hours asked for can be judged on: no fault, but nothing to do either."""


class SomeFailedError(HourglassError):
    """Some parts of a step failed; the others were done."""


def suggest(word: str, choices: Iterable[str]) -> str:
    """A guess at what was meant, for the middle of a sentence; nothing where no name is near."""
    import difflib  # most commands guess at nothing

    # Capitals and hyphens are how others spell it: BPR-max is bpr_max.
    plain = {name.casefold().replace("-", "_"): name for name in choices}
    near = difflib.get_close_matches(word.casefold().replace("-", "_"), list(plain), n=1)
    return f" (did you mean {plain[near[0]]!r}?)" if near else ""


def disk_full(error: BaseException) -> bool:
    """Whether an error, or one that it came from, says that a disk has no space left."""
    visited: set[int] = set()
    now: BaseException | None = error
    while now is not None and id(now) not in visited:
        visited.add(id(now))
        if isinstance(now, OSError) and now.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        # The text of a Java error is asked of the JVM, which may be gone.
        with suppress(Exception):
            message = str(now)
            if any(text in message for text in _FULL):
                return True
        now = now.__cause__ or now.__context__
    return False


@contextmanager
def explaining_full_disk(*folders: Path) -> Iterator[None]:
    """Say in one sentence that the disk of these folders is full, where that is what went wrong.

    Raises:
        HourglassError: no space is left; any other error passes as it is.
    """
    try:
        yield
    except Exception as error:
        if not disk_full(error):
            raise
        places = " or ".join(dict.fromkeys(map(str, folders)))
        raise HourglassError(
            f"no space is left on the disk of {places}; what was committed before stands: "
            "free some space and run the step again"
        ) from error
