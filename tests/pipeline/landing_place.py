"""A landing zone, the lake that it is taken into, and what there is in both."""

from __future__ import annotations

import hashlib
import shutil
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from fuzzed_logs import H0, HEADER, RawLog, event_rows, settings_for

from pipeline.hours import HourRange
from pipeline.ingest.ingest import IngestSummary, ingest
from pipeline.lake.lake import Lake
from pipeline.lake.tables import ALL_TABLES, EVENTS, QUARANTINE, SOURCE_FILES, TableSpec
from pipeline.sessions.sessionize import sessionize
from pipeline.settings.settings import Settings
from pipeline.spark.compute import Compute

# Late enough for the files of both hours.
CLOCK = H0.start + timedelta(hours=1, minutes=20)
COUNTS = ("records", "accepted", "duplicates", "quarantined")


class Place:
    """A landing zone, the lake it goes to, and a hand to run ingest with."""

    def __init__(self, folder: Path, compute: Compute) -> None:
        self.folder = folder
        self.landing = folder / "landing"
        self.landing.mkdir(parents=True)
        self.settings: Settings = settings_for(folder / "work", self.landing)
        self.lake = Lake(self.settings.resolved_catalog_uri, self.settings.resolved_warehouse)
        self.compute = compute

    def remember(self) -> None:
        """Keep all as it is now, for `put_back`."""
        self._settings_then = self.settings
        shutil.copytree(self.folder, self._then)

    def put_back(self) -> None:
        """Be as it was, at the same path: tables name their files by absolute paths."""
        self.lake.catalog.close()
        shutil.rmtree(self.folder)
        shutil.copytree(self._then, self.folder)
        self.settings = self._settings_then
        self.lake = Lake(self.settings.resolved_catalog_uri, self.settings.resolved_warehouse)

    @property
    def _then(self) -> Path:
        return self.folder.with_name(f"{self.folder.name} as it was")

    def put(self, name: str, *lines: str, header: str = HEADER) -> Path:
        return RawLog(name, "\n".join((header, *lines, "")).encode()).put(self.landing)

    def ingest(
        self,
        clock: datetime = CLOCK,
        hours: HourRange | None = None,
        late: HourRange | None = None,
    ) -> IngestSummary:
        return ingest(self.compute, self.lake, self.settings, clock, hours, late)

    def sessionize(self, hours: HourRange) -> None:
        sessionize(self.compute, self.lake, self.settings, hours)

    def set_rules(self, **rules: Any) -> None:
        changed = self.settings.ingest.model_copy(update=rules)
        self.settings = self.settings.model_copy(update={"ingest": changed})

    def rows(self, spec: TableSpec, **reading: Any) -> list[dict[str, Any]]:
        return self.lake.arrow(spec, **reading).to_pylist()

    def events(self) -> list[tuple[Any, ...]]:
        return event_rows(self.rows(EVENTS))

    def refused(self) -> list[tuple[str, int]]:
        return sorted((row["source_file"], row["line"]) for row in self.rows(QUARANTINE))

    def accounts(self) -> dict[str, tuple[int, ...]]:
        rows = self.rows(SOURCE_FILES)
        assert len({row["source_file"] for row in rows}) == len(rows)
        assert sum(row["accepted"] for row in rows) == len(self.rows(EVENTS))
        return {row["source_file"]: tuple(row[name] for name in COUNTS) for row in rows}

    def digests(self) -> dict[str, str]:
        """Of each table, one of all its rows in an order of their own.

        The digest of the settings is left out: the landing zone's folder is among them.
        """
        found = {}
        for spec in ALL_TABLES:
            rows = [{**row, "config_digest": None} for row in self.rows(spec)]
            text = "\n".join(sorted(map(repr, rows)))
            found[spec.name] = hashlib.sha256(text.encode()).hexdigest()[:16]
        return found

    def content(self) -> dict[str, Any]:
        """All that does not depend on when and in what company a file arrived."""
        return {
            "events": sorted(map(repr, self.rows(EVENTS))),
            "quarantine": sorted(map(repr, self.rows(QUARANTINE))),
            "filled": {
                hour: (filled.output_digest, filled.rows)
                for hour, filled in self.lake.filled("ingest").items()
            },
        }
