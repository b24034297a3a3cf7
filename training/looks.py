"""Looks: what was seen of a line in each judged hour, kept in its decision files.

Only the looks of one line against one live model, by one rule, within one period count together;
:func:`earlier_looks` finds them, and refuses where any of the files was changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import HourglassError
from pipeline.hours import Hour, HourRange
from training.people import People, read_people
from training.record import Record, hour_of_name, read_record
from training.sequential import Sums

ALL = "all"  # all targets, beside the slices of them


@dataclass(frozen=True)
class LookKey:
    """What must be equal in looks that count together."""

    line: str
    champion: str | None  # version, or model id where it has none
    live_record: str | None  # what made it live: a model that comes back begins anew
    floor: str
    metric: str
    k: int
    rule: str
    period: str  # its first hour


@dataclass(frozen=True)
class Look:
    """Sums of one look; ``champion`` has one entry for all targets and one for each slice."""

    hours: HourRange
    key: LookKey
    floor: Sums  # candidate against the floor
    champion: Mapping[str, Sums]  # candidate against the champion; empty without one
    people: People | None = None  # user by user
    file: str | None = None  # of an earlier one
    sha256: str | None = None

    def content(self, users: tuple[str, str] | None = None) -> dict[str, Any]:
        """As JSON values; ``users`` are name and SHA-256 of the file of the people."""
        return {
            "first": str(self.hours.first),
            "stop": str(self.hours.stop),
            "key": asdict(self.key),
            "users": {"file": users[0], "sha256": users[1]} if users else None,
            "floor": asdict(self.floor),
            "champion": {name: asdict(sums) for name, sums in self.champion.items()},
        }


def period_start(hour: Hour, period_h: int) -> Hour:
    """First hour of the period that holds an hour; periods are counted from 1970."""
    return Hour(hour.index - hour.index % period_h)


def earlier_looks(folder: Path, first: Hour, key: LookKey) -> tuple[Look, ...]:
    """The looks before an hour that count together with its own, in the order of their hours.

    Of several decisions on a line and an hour the one made last counts.  The chain ends at the
    nearest look with another key, and looks at the same events twice are left out.

    Args:
        folder: of the decisions.
        first: the hour that is judged now; nothing of it or later is looked at.
        key: of the look at that hour.

    Raises:
        HourglassError: a decision of the period was changed, or one that was counted is gone.
    """
    begins = Hour.parse(key.period)
    latest: dict[Hour, tuple[tuple[str, int, str], Record]] = {}
    for path in sorted(folder.glob("[0-9]*.json")):
        hour = hour_of_name(path)
        if hour is None or not begins <= hour < first:
            continue
        record = read_record(path)
        if record.content.get("line") != key.line or not record.content.get("look"):
            continue
        made = (str(record.content.get("made_at") or ""), path.stat().st_mtime_ns, path.name)
        if hour not in latest or made > latest[hour][0]:
            latest[hour] = (made, record)
    chain: list[Look] = []
    until: Hour | None = None  # looks that overlap this one are for the caller to refuse
    for hour in sorted(latest, reverse=True):
        record = latest[hour][1]
        look = _look_of(folder, record)
        if look.key != key:
            break
        if until is None or look.hours.stop <= until:
            chain.append(look)
            until = look.hours.first
            _refuse_gaps(folder, record)
    return tuple(reversed(chain))


def _look_of(folder: Path, record: Record) -> Look:
    try:
        content = record.content["look"]
        users = content["users"]
        return Look(
            hours=HourRange(Hour.parse(content["first"]), Hour.parse(content["stop"])),
            key=LookKey(**content["key"]),
            floor=Sums.read(content["floor"]),
            champion={name: Sums.read(sums) for name, sums in content["champion"].items()},
            people=read_people(folder, users["file"], users["sha256"]) if users else None,
            file=record.path.name,
            sha256=record.sha256,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise HourglassError(
            f"{record.path.name}: its look cannot be read: judge that hour again"
        ) from error


def _refuse_gaps(folder: Path, record: Record) -> None:
    """A look that was once counted must still be there: a deleted one would leave no trace."""
    for told in record.content.get("earlier_looks", ()):
        if not (folder / told["file"]).is_file():
            raise HourglassError(
                f"{told['file']}: this decision is gone, though {record.path.name} counted it: "
                "put it back, or wait for the next period"
            )
