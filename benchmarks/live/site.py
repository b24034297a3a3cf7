"""A lake beside which hours land one after the other, and what became of each."""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from benchmarks.hour_commands import measured
from benchmarks.small_site import FIRST, HOURS, filling, site_settings
from pipeline.hours import Hour, HourRange
from pipeline.lake.lake import Lake
from pipeline.lake.steps import SESSIONIZE
from pipeline.settings.settings import load_settings


@dataclass
class HourRecord:
    """When things happened to an hour, in seconds since the epoch; None while they have not."""

    hour: Hour
    landed_s: float
    filled: bool = False
    judged_s: float | None = None
    published_s: float | None = None  # the list made when this hour was the newest
    served_s: float | None = None  # the first list that knows this hour: its own, or a later one
    backfilled: bool = False  # too long ago to be judged, perhaps


@dataclass
class Site:
    """A work folder with its settings, and all logs of its hours beside it."""

    folder: Path
    hours: int
    records: dict[Hour, HourRecord] = field(default_factory=dict)

    @property
    def work(self) -> Path:
        """The work folder; Airflow's state lies in it too."""
        return self.folder / "run"

    @property
    def config(self) -> Path:
        """Of the work folder."""
        return self.folder / "hourglass.yaml"

    @property
    def landing(self) -> Path:
        """Where an hour's files appear."""
        return self.work / "landing"

    @property
    def to_land(self) -> HourRange:
        """The hours that come one by one."""
        return HourRange(FIRST + HOURS, FIRST + HOURS + self.hours)

    def fill(self) -> None:
        """Simulate all hours, and fill the lake with the first of them; a model goes live.

        It is kept, so that a second run begins at once.

        Raises:
            SystemExit: a command failed.
        """
        shutil.rmtree(self.work, ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.config.write_text(yaml.safe_dump(site_settings(self.work)), encoding="utf-8")
        # A lake knows where it lies: it is used at one place and kept at another.
        base = self.folder / f"base-{self.hours}"
        if not base.is_dir():
            self._fill()
            shutil.copytree(self.work, base)
        else:
            shutil.copytree(base, self.work)

    def _fill(self) -> None:
        self.command("simulate", "--hours", str(HOURS + self.hours))
        self._later.mkdir()
        for hour in self.to_land:
            (self.landing / str(hour)).rename(self._later / str(hour))
        for line in [*filling(FIRST, FIRST + HOURS), ["loop"]]:
            self.command(*line)

    def land(self, hour: Hour, backfilled: bool = False) -> None:
        """Let an hour's files appear, all at once."""
        (self._later / str(hour)).rename(self.landing / str(hour))
        self.records[hour] = HourRecord(hour, time.time(), backfilled=backfilled)

    def look(self) -> None:
        """Note what has become of the hours that landed."""
        # A first list that knows an hour is the list of the hour itself or of a later one.
        lists = {hour: _mtime(self._list_of(hour)) for hour in self.to_land}
        first_served: float | None = None
        for hour in reversed(list(self.to_land)):
            record = self.records.get(hour)
            if record is None:
                continue
            made_s = lists[hour]
            if record.published_s is None:
                record.published_s = made_s
            if record.judged_s is None:
                record.judged_s = _mtime(self.work / "judged" / f"{hour}.json")
            times = [each for each in (record.published_s, first_served) if each is not None]
            first_served = min(times, default=None)
            if record.served_s is None:
                record.served_s = first_served

    def look_into_the_lake(self) -> None:
        """Which of the hours are filled: what a command for people would read, once at the end."""
        settings = load_settings(self.config)
        lake = Lake(settings.resolved_catalog_uri, settings.resolved_warehouse)
        filled = lake.filled(SESSIONIZE, self.to_land)
        for hour, record in self.records.items():
            record.filled = hour in filled

    def is_done(self) -> bool:
        """Whether every hour has landed, was judged, and is known to a list."""
        return len(self.records) == self.hours and all(
            (record.judged_s is not None or record.backfilled) and record.served_s is not None
            for record in self.records.values()
        )

    def command(self, *line: str) -> str:
        """Run one command of the project; what it printed.

        Raises:
            SystemExit: it failed.
        """
        cost = measured(self.config, line)
        if cost.code:
            raise SystemExit(f"{line[0]}: {cost.output[-2000:]}")
        return cost.output

    @property
    def _later(self) -> Path:
        return self.work / "to-land"

    def _list_of(self, hour: Hour) -> Path:
        """What readers get after the hour; it is whole whenever it is there."""
        return self.work / "recommendations" / str(hour + 1) / "summary.json"


def _mtime(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return None


def environment(site: Site, **variables: str) -> dict[str, str]:
    """Of Airflow and all that it starts."""
    others = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AIRFLOW", "HOURGLASS"))
    }
    ours = {"HOURGLASS_WORK": str(site.work), "HOURGLASS_CONFIG": str(site.config)}
    return others | ours | variables


def as_json(site: Site) -> list[dict[str, object]]:
    """What became of each hour, for a file."""
    return [
        {**vars(record), "hour": str(record.hour)}
        for record in sorted(site.records.values(), key=lambda record: record.hour.index)
    ]


def write_json(path: Path, value: object) -> None:
    """For people who compare runs."""
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")
