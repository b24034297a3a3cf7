"""Records of what went live, when and why: a chain of files, each naming the one before it.

One file an event, ``<work>/decisions/{bootstrap,promotion,rollback}-<model_id>-<12 hex>.json``,
written once and never changed.  The version that is live carries the name of its record in the tag
``live_record``; from there ``after`` leads back through the history.  A record that the chain does
not reach never took effect: its change was cut short before the alias moved.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pipeline.errors import HourglassError
from pipeline.hours import Hour
from pipeline.sealed_json import FORMAT, read_record, write_record

MAX_ROLLBACK_TARGETS = 20
Kind = Literal["bootstrap", "promotion", "rollback"]
Reason = Literal["bootstrap", "promoted", "rolled_back_by_hand", "below_floor", "cannot_score"]


@dataclass(frozen=True)
class ModelRef:
    """A model version; ``name`` is its line, the entry of the settings that it was trained for."""

    model_id: str
    version: str
    name: str


@dataclass(frozen=True)
class ChampionChange:
    """A change of what is live.

    ``stack`` is what rollbacks from here return to, nearest first; ``after`` the record that had
    made ``before`` live.  Of a promotion, ``candidate`` is the model that was judged, from
    ``judged_from`` on; what went live may be a refit of it.
    """

    kind: Kind
    champion: ModelRef
    before: ModelRef | None
    stack: tuple[ModelRef, ...]
    after: str | None
    reason: Reason
    sentence: str
    at: str | None = None
    as_of: Hour | None = None  # from which hour on it serves
    decision: str | None = None
    candidate: str | None = None
    judged_from: Hour | None = None


def write_event(records: Path, event: ChampionChange) -> Path:
    """Write the record of an event, durably: after a power cut it is still there.

    Raises:
        HourglassError: a file of that name holds something else.
    """
    content = {"format": FORMAT, **asdict(event)}
    content["as_of"] = None if event.as_of is None else str(event.as_of)
    content["judged_from"] = None if event.judged_from is None else str(event.judged_from)
    stack = content.pop("stack")
    content["previous"], content["earlier"] = (stack[0] if stack else None), stack[1:]
    return write_record(records, f"{event.kind}-{event.champion.model_id}", content)


def read_event(path: Path) -> ChampionChange:
    """Read and verify the record of an event.

    Raises:
        HourglassError: it is missing, was changed, or records something else.
    """
    content = read_record(path).content
    try:
        behind = [content["previous"]] if content["previous"] else []
        return ChampionChange(
            kind=content["kind"],
            champion=ModelRef(**content["champion"]),
            before=_model(content["before"]),
            stack=tuple(ModelRef(**reference) for reference in [*behind, *content["earlier"]]),
            after=content["after"],
            reason=content["reason"],
            sentence=content["sentence"],
            at=content["at"],
            as_of=_hour(content["as_of"]),
            decision=content["decision"],
            candidate=content["candidate"],
            judged_from=_hour(content["judged_from"]),
        )
    except (KeyError, TypeError, HourglassError) as error:
        raise HourglassError(f"{path}: not the record of a promotion or rollback") from error


def history(records: Path, name: str | None) -> Iterator[tuple[Path, ChampionChange]]:
    """The events that led to the one of record ``name``, latest first, each read when it is met.

    It ends at a record that is lost or damaged: what is live must not depend on old files.
    """
    while name is not None and Path(name).name == name:
        try:
            event = read_event(records / name)
        except HourglassError:
            return
        yield records / name, event
        name = event.after


def _model(content: Mapping[str, Any] | None) -> ModelRef | None:
    return None if content is None else ModelRef(**content)


def _hour(text: str | None) -> Hour | None:
    return None if text is None else Hour.parse(text)
