"""Whether the tables of an hour are those of a lake that nobody disturbed."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import yaml

from benchmarks.hour_commands import measured
from benchmarks.live.site import Site
from benchmarks.small_site import FIRST, HOURS, site_settings
from pipeline.hours import HourRange
from pipeline.lake.fingerprint import content_digest
from pipeline.lake.lake import Lake
from pipeline.lake.tables import (
    DWELL_HOURS,
    EVENTS,
    ITEM_HOURS,
    OPEN_SESSIONS,
    RECOMMENDATIONS,
    SESSIONS,
)
from pipeline.settings.settings import load_settings

_COMPARED = (EVENTS, SESSIONS, OPEN_SESSIONS, ITEM_HOURS, DWELL_HOURS)
# What no two rows share.
_KEYS: dict[str, tuple[str, ...]] = {
    EVENTS.name: ("source_file", "line"),
    SESSIONS.name: ("session_id", "position"),
    RECOMMENDATIONS.name: ("hour", "user_id", "rank"),
}


@dataclass(frozen=True)
class Compared:
    """What was compared, and what differed or was there twice, in words."""

    hours: int
    rows: int
    wrong: list[str]


def compare(site: Site) -> Compared:
    """Hold the lake to another one, filled at once from the same files.

    Raises:
        SystemExit: the other lake cannot be filled.
    """
    lake, other = _lake(site.config), _undisturbed(site)
    hours = HourRange(FIRST, FIRST + HOURS + site.hours)
    rows, wrong = 0, []
    for spec in _COMPARED:
        for hour in hours:
            one = HourRange(hour, hour + 1)
            ours, theirs = lake.arrow(spec, one), other.arrow(spec, one)
            rows += ours.num_rows
            if _digest(ours) != _digest(theirs):
                wrong.append(f"{spec.name} of {hour}: {ours.num_rows} rows, {theirs.num_rows} due")
    return Compared(len(hours), rows, wrong + _repeated(lake))


def _repeated(lake: Lake) -> list[str]:
    wrong = []
    for spec in (EVENTS, SESSIONS, RECOMMENDATIONS):
        table = lake.arrow(spec)
        keys = _KEYS[spec.name]
        twice = table.num_rows - table.group_by(list(keys)).aggregate([]).num_rows
        if twice:
            wrong.append(f"{spec.name}: {twice} rows twice, by {', '.join(keys)}")
    return wrong


def _digest(table: pa.Table) -> str:
    """Of the rows, whatever their order."""
    order = [(name, "ascending") for name in _sortable(table)]
    return content_digest(table.take(pc.sort_indices(table, order)))


def _sortable(table: pa.Table) -> list[str]:
    return [field.name for field in table.schema if not pa.types.is_nested(field.type)]


def _undisturbed(site: Site) -> Lake:
    """A lake beside, filled by one command from the same landing zone."""
    work = site.folder / "undisturbed"
    shutil.rmtree(work, ignore_errors=True)
    config = site.folder / "undisturbed.yaml"
    settings = {**site_settings(site.work), "work": str(work)}
    config.write_text(yaml.safe_dump(settings), encoding="utf-8")
    cost = measured(config, ["backfill"])
    if cost.code:
        raise SystemExit(f"backfill: {cost.output[-2000:]}")
    return _lake(config)


def _lake(config: Path) -> Lake:
    settings = load_settings(config)
    return Lake(settings.resolved_catalog_uri, settings.resolved_warehouse)
