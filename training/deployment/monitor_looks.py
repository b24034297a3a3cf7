"""The looks of the watch before: which of them count together with the one at hand."""

from __future__ import annotations

from pathlib import Path

from pipeline.hours import HourRange
from training.deployment.monitor_record import UsersFile, Watched, watched_between
from training.deployment.monitor_test import WatchLook
from training.gate.past_looks import period_start
from training.gate.user_sums import People, read_people, write_people


def earlier_looks(folder: Path, found: Watched, period_h: int) -> list[WatchLook]:
    """The looks of this period at the same model since it went live, by the same rule, in order.

    Only those that lie a multiple of their length apart: no event counts twice, and of the chains
    that there are none ever changes into another.

    Args:
        folder: of the records of the watch.
        found: of the hours that are judged.
        period_h: hours of a period.

    Raises:
        HourglassError: a record, or what users added to it, is gone or was changed.
    """
    known = watched_between(folder, period_start(found.first, period_h), found.first)
    length = found.stop.index - found.first.index
    return [
        WatchLook(HourRange(one.first, one.stop), read_people(folder, *_named(one.users)))
        for _, one in known
        if one.users is not None
        and (found.first.index - one.first.index) % length == 0
        and (one.model, one.since_record, one.rule) == (found.model, found.since_record, found.rule)
    ]


def write_users(folder: Path, found: Watched, people: People) -> UsersFile:
    """Keep what each user added to a look."""
    return UsersFile(*write_people(people, folder, f"{found.first}-{found.model.model_id}"))


def _named(users: UsersFile) -> tuple[str, str]:
    return users.file, users.sha256
