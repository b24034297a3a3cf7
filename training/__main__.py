"""``hourglass``: ready for signals before anything that takes time is imported."""

from __future__ import annotations

import sys
from typing import NoReturn

from pipeline.process.interrupts import guarded


def main() -> NoReturn:
    """Entry point."""
    guarded(_command)


def _command() -> int:
    from training.cli.main import program  # takes a second

    return program(sys.argv[1:])


if __name__ == "__main__":
    main()
