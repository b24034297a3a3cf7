"""A news site with 1,500 readers, some 370 records an hour, and a lake of its first hours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.hours import Hour

FIRST = Hour.parse("2026-01-05T00")
HOURS = 20  # that the lake has before the first hour that is measured


def site_settings(run: Path, users: int = 1500) -> dict[str, Any]:
    """The settings of a work folder whose logs land within it."""
    landing = run / "landing"
    small = {"width": 32, "epochs": 2, "validation_share": 0.0, "device": "cpu"}
    return {
        "work": str(run),
        "source": {
            "name": "simulator",
            "path": str(landing),
            "items_path": str(landing / "items.jsonl"),
        },
        "dataset": {"window": "12h", "history": "6h", "min_item_events": 5},
        "evaluation": {"horizon": "1h"},
        "simulator": {"users": users, "start": str(FIRST)},
        "candidate": "hrnn_trend",
        "models": [
            {"system": "recent_pop"},
            {"system": "item_knn"},
            {"name": "hrnn_trend", "system": "hrnn_trend", "parameters": small},
        ],
    }


def filling(first: Hour, stop: Hour) -> list[list[str]]:
    """The commands that fill a lake with what has landed and learn a first model of it."""
    return [
        ["backfill"],
        ["validate", "--from", str(first), "--to", str(stop)],
        ["dataset", "--judged-until", "last"],
    ]
