"""Looks: what was seen of a line in each judged hour, kept in its decision files.

Only the looks of one line against one live model, by one rule, within one period count together;
:func:`earlier_looks` finds them, and refuses where any of the files was changed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import HourglassError
from pipeline.hours import Hour, HourRange
from pipeline.sealed_json import Record, changed_ns, dated_records, find_record, read_record
from training.gate.roles import FLOOR
from training.gate.sequential_test import Sums
from training.gate.user_sums import UserSums, read_user_sums

ALL = "all"  # all targets, beside the slices of them


@dataclass(frozen=True)
class LookKey:
    """What must be equal in looks that count together.

    The version of the code is left out on purpose: most changes of it touch no figure, and a line
    that began anew with each of them would never prove a small gain.
    """

    line: str
    champion: str | None  # version, or model id where it has none
    live_record: str | None  # what made it live: a model that comes back begins anew
    floor: str  # names of the baselines
    metric: str
    k: int
    rule: str
    period: str  # its first hour
    # Digests of what the line's and the baselines' models are made of; looks from before these were
    # noted count with no others.
    definition: str = ""
    floor_definition: str = ""


@dataclass(frozen=True)
class Look:
    """Sums of one look; ``champion`` has one entry for all targets and one for each slice."""

    hours: HourRange
    key: LookKey
    baselines: Mapping[str, Sums]  # candidate against each baseline, by its name
    champion: Mapping[str, Sums]  # candidate against the champion; empty without one
    user_sums: UserSums | None = None  # user by user
    candidate: str = ""  # model id of the fit that was looked at
    file: str | None = None  # of an earlier one
    sha256: str | None = None

    def content(self, users: tuple[str, str] | None = None) -> dict[str, Any]:
        """As JSON values; ``users`` are name and SHA-256 of the file of the people."""
        return {
            "first": str(self.hours.first),
            "stop": str(self.hours.stop),
            "key": asdict(self.key),
            "users": {"file": users[0], "sha256": users[1]} if users else None,
            **self._floors(),
            "champion": {name: asdict(sums) for name, sums in self.champion.items()},
        }

    def _floors(self) -> dict[str, Any]:
        """Of one baseline the sums alone, as before there could be several."""
        sums = {name: asdict(each) for name, each in sorted(self.baselines.items())}
        return {"floors": sums} if len(sums) > 1 else {FLOOR: next(iter(sums.values()))}


def definition(**parts: object) -> str:
    """Digest of what makes a line what it is: the same parts, of JSON's kinds, give the same."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def period_start(hour: Hour, period_h: int) -> Hour:
    """First hour of the period that holds an hour; periods are counted from 1970."""
    return Hour(hour.index - hour.index % period_h)


def earlier_looks(
    folder: Path, first: Hour, key: LookKey, since: Hour | None = None
) -> tuple[Look, ...]:
    """The looks before an hour that count together with its own, in the order of their hours.

    Of several decisions on a line and an hour with the same key the one made first counts: whoever
    fits and judges again until the luck is good gains nothing.  The chain ends at the nearest hour
    that has only looks with another key, and looks at the same events twice are left out.

    Args:
        folder: of the decisions.
        first: the hour that is judged now; nothing of it or later is looked at.
        key: of the look at that hour.
        since: the first hour of the tenure of what is live; nothing before it is looked at.

    Raises:
        HourglassError: a decision of the period was changed, or one that was counted is gone.
    """
    begins = Hour.parse(key.period)
    by_hour = _decisions(folder, key, begins if since is None else max(begins, since), first)
    chain: list[Look] = []
    until: Hour | None = None  # looks that overlap this one are for the caller to refuse
    for hour in sorted(by_hour, reverse=True):
        record = _first_made(by_hour[hour], key)
        if record is None:
            break
        look = look_of(folder, record)
        if until is None or look.hours.stop <= until:
            chain.append(look)
            until = look.hours.first
            _refuse_gaps(folder, record)
    return tuple(reversed(chain))


def first_look(folder: Path, hour: Hour, key: LookKey) -> Look | None:
    """The look at an hour that was made first with this key, if there is one.

    Raises:
        HourglassError: a decision on that hour was changed.
    """
    records = _decisions(folder, key, hour, hour + 1).get(hour, [])
    record = _first_made(records, key)
    return None if record is None else look_of(folder, record)


def _decisions(folder: Path, key: LookKey, begins: Hour, stop: Hour) -> dict[Hour, list[Record]]:
    """Decisions on a line that hold a look, by hour, in the order in which they were made."""
    by_hour: dict[Hour, list[tuple[tuple[str, int, str], Record]]] = {}
    for hour, path in dated_records(folder, begins, stop):
        record = read_record(path)
        if record.content.get("line") != key.line or not record.content.get("look"):
            continue
        order = (
            str(record.content.get("made_at") or ""),
            changed_ns(record.path),
            path.name,
        )
        by_hour.setdefault(hour, []).append((order, record))
    return {
        hour: [record for _, record in sorted(entries, key=lambda entry: entry[0])]
        for hour, entries in by_hour.items()
    }


def _first_made(records: list[Record], key: LookKey) -> Record | None:
    return next((record for record in records if _key_of(record) == key), None)


def _key_of(record: Record) -> LookKey:
    try:
        return LookKey(**record.content["look"]["key"])
    except (KeyError, TypeError) as error:
        raise _unreadable(record) from error


def look_of(folder: Path, record: Record) -> Look:
    """The look that a decision holds.

    Raises:
        HourglassError: it cannot be read, or what users added to it is gone or was changed.
    """
    try:
        content, key = record.content["look"], _key_of(record)
        users, floors = content["users"], content.get("floors")
        if floors is None:
            floors = {key.floor: content[FLOOR]}
        return Look(
            hours=HourRange(Hour.parse(content["first"]), Hour.parse(content["stop"])),
            key=key,
            baselines={name: Sums.read(sums) for name, sums in floors.items()},
            champion={name: Sums.read(sums) for name, sums in content["champion"].items()},
            user_sums=read_user_sums(folder, users["file"], users["sha256"]) if users else None,
            candidate=record.content["candidate"]["model_id"],
            file=record.path.name,
            sha256=record.sha256,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _unreadable(record) from error


def _unreadable(record: Record) -> HourglassError:
    return HourglassError(f"{record.path.name}: its look cannot be read: judge that hour again")


def _refuse_gaps(folder: Path, record: Record) -> None:
    """A look that was once counted must still be there: a deleted one would leave no trace."""
    for earlier in record.content.get("earlier_looks", ()):
        if find_record(folder / earlier["file"]) is None:
            raise HourglassError(
                f"{earlier['file']}: this decision is gone, though {record.path.name} counted it: "
                "put it back, or wait for the next period"
            )
