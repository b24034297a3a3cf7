"""Errors that a person is meant to read: the thing, the value, and the mend."""


class HourglassError(Exception):
    """A fault the user can mend; the command line prints its one sentence and exits 1.

    ``exit_code`` lets a step tell apart *refused by a check* (1) from *asked wrongly* (2).
    """

    exit_code = 1


class UsageError(HourglassError):
    """The command or its configuration was asked wrongly (exit code 2)."""

    exit_code = 2
