"""What a replay's table says of its cut: as known, or as happened, and how much came late."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.dataset.as_known.late_events import LOADED_AFTER_H, Delays
from pipeline.text.wording import counted, verb

_KNOWN = (
    "Cut as known: a step learns from what had arrived by its start, and a request knows what had "
    "arrived by its hour. What is to be found is all that happened."
)
_HAPPENED = (
    "Cut as happened: steps and requests know all that had happened, also what arrived later."
)


def cut_of(as_known: bool, delays: Delays | None) -> dict[str, Any]:
    """The cut as plain values; ``delays`` of the log's events, where they were looked at."""
    if not as_known or delays is None:
        return {"cut": "as known" if as_known else "as happened"}
    return {"cut": "as known", "delays": vars(delays)}


def cut_lines(table: Mapping[str, Any]) -> list[str]:
    """The same for people; nothing where the table does not tell its cut."""
    if "cut" not in table:
        return []
    if table["cut"] != "as known":
        return [_HAPPENED, ""]
    return [_KNOWN, *(_delay_lines(Delays(**table["delays"])) if "delays" in table else []), ""]


def _delay_lines(delays: Delays) -> list[str]:
    share = delays.late / max(1, delays.events)
    lines = [f"{delays.late:,} of {counted(delays.events, 'event')} ({share:.2%}) came late."]
    if delays.loaded_hours:
        lines.append(
            f"{counted(delays.loaded_hours, 'hour')} {verb(delays.loaded_hours, 'was', 'were')} "
            f"loaded afterwards, with {counted(delays.loaded_events, 'event')}: most of what "
            f"happened in such an hour arrived more than {LOADED_AFTER_H} h after it. Nothing says "
            "when it was first there, so it counts as known when it happened."
        )
    return lines
