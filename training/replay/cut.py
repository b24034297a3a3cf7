"""What a replay's table says of its cut: as known, or as happened, and how much came late."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.dataset.as_known.delays import Delays

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
    return [_KNOWN, *(Delays(**table["delays"]).sentences if "delays" in table else []), ""]
