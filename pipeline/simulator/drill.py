"""The dirty-data drill: what validation catches of each named fault, and what it raises for none.

A drill has a folder of its own.  ``live`` in it is the lake that is worked on; it is put back to
``history`` (quiet days ingested and sessionized) or ``quiet`` (the same, validated) by a copy to
the same path, because tables name their files by absolute path.  A killed drill is run again: a
history that was finished is kept, everything else is made anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from pipeline.errors import UsageError
from pipeline.files import write_text
from pipeline.hours import DAY_H, Hour, HourRange
from pipeline.ingest.ingest import ingest
from pipeline.lake.lake import Lake
from pipeline.process.locks import lake_lock
from pipeline.quality.validate_hours import validate
from pipeline.quality.verdicts import Kind
from pipeline.sessions.sessionize import sessionize
from pipeline.settings.settings import Settings
from pipeline.settings.simulator import SimulatorSettings
from pipeline.settings.source import SourceSettings
from pipeline.simulator import Scenario, simulate
from pipeline.simulator.drill_report import FalseAlarms, Judgement, failures_of, judge
from pipeline.spark.compute import Compute
from pipeline.text.wording import counted

# Noon: a fault begins when there is something to lose.
_START = Hour.parse("2026-01-05T12")
_EVENTS: tuple[Kind, ...] = ("events",)
_SESSIONS: tuple[Kind, ...] = ("sessions",)
_DAYS_PER_JOB = 10
# Of each suite: enough to look at the last scenario.
_KEPT_PAGES = 24
_LOCK = "writer.lock"
# Written once under a name of their own: a link is as good as a copy.
_IMMUTABLE = (".parquet", ".avro", ".metadata.json", ".jsonl.gz")
Status = Callable[[str], AbstractContextManager[None]]


@dataclass(frozen=True)
class DrillResult:
    """All that a drill found; seconds are of validation alone."""

    quiet: FalseAlarms
    judgements: tuple[Judgement, ...]
    validate_s_per_hour: float

    @property
    def good(self) -> bool:
        """Whether all was caught that must be, and nothing raised that must not."""
        return self.quiet.good and all(judgement.good for judgement in self.judgements)


@dataclass(frozen=True)
class Drill:
    """A drill in a folder; ``status`` is told what is done, and is open while it is."""

    compute: Compute
    settings: Settings
    folder: Path
    quiet_days: int
    fault_hours: int = 6
    hours_after: int = 3
    status: Status = lambda _doing: nullcontext()

    @property
    def world(self) -> SimulatorSettings:
        """The simulated world, without a scenario."""
        world = {"start": str(_START), "scenario": None, "scenario_from": None}
        return self.settings.simulator.model_copy(update=world)

    @property
    def quiet_hours(self) -> HourRange:
        """The hours in which nothing is wrong; the faults begin when they end."""
        return HourRange(_START, _START + self.quiet_days * DAY_H)

    @property
    def live(self) -> Path:
        """The work folder of the lake."""
        return self.folder / "live"

    @property
    def _mark(self) -> Path:
        return self.folder / "drill.json"

    def run(self, scenarios: list[Scenario]) -> DrillResult:
        """Validate the quiet days, then each scenario from where they end.

        Raises:
            UsageError: the folder holds something else, or the history of another world.
            HourglassError: another drill works in the folder.
        """
        there = {path.name for path in self.folder.glob("*")} - {_LOCK}
        if there and self._mark.name not in there:
            raise UsageError(
                f"{self.folder}: is not empty and holds no drill: name another folder with --work"
            )
        with lake_lock(self.folder, 0.0):
            return self._run(scenarios)

    def _run(self, scenarios: list[Scenario]) -> DrillResult:
        self._make_history()
        began = monotonic()
        quiet = self._validate_quiet()
        seconds = monotonic() - began
        judgements = []
        for number, scenario in enumerate(scenarios, 1):
            with self.status(f"scenario {number} of {len(scenarios)}, {scenario.name}"):
                judgements.append(self._drill(scenario, quiet))
        return DrillResult(quiet, tuple(judgements), seconds / len(self.quiet_hours))

    def _make_history(self) -> None:
        """Simulate, ingest and sessionize the quiet days, unless an earlier drill did."""
        mark = self._mark
        wanted = {"world": self._digest(), "quiet_days": self.quiet_days}
        if mark.is_file():
            recorded = json.loads(mark.read_text("utf-8") or "{}")
            if recorded == wanted:
                return
            if recorded:
                raise UsageError(
                    f"{self.folder}: holds a drill of "
                    f"{counted(recorded.get('quiet_days'), 'quiet day')} made with other "
                    "settings: remove it, or name another folder with --work"
                )
            for subfolder in ("live", "history", "quiet", "faults"):
                shutil.rmtree(self.folder / subfolder, ignore_errors=True)
        mark.write_text("{}", "utf-8")
        with self.status(f"simulating {counted(self.quiet_days, 'quiet day')}"):
            simulate(self.world, self.live / "landing", self.folder / "truth", self.quiet_hours)
        settings = self._settings()
        with self.status("ingesting and sessionizing them"), _opened(settings) as lake:
            for days in self.quiet_hours.steps(_DAYS_PER_JOB * DAY_H):
                ingest(self.compute, lake, settings, days.stop.start, days)
            sessionize(self.compute, lake, settings, self.quiet_hours)
        _put(self.live, self.folder / "history")
        write_text(mark, json.dumps(wanted))

    def _validate_quiet(self) -> FalseAlarms:
        _put(self.folder / "history", self.live)
        settings = self._settings()
        failures = []
        with _opened(settings) as lake:
            for day in self.quiet_hours.steps(DAY_H):
                # Hour by hour as in the loop, but with one page of contents for all.
                with self.status(f"validating quiet hours {day}"):
                    failures += failures_of(validate(lake, settings, day))
        _put(self.live, self.folder / "quiet")
        return FalseAlarms(len(self.quiet_hours), tuple(failures))

    def _drill(self, scenario: Scenario, quiet: FalseAlarms) -> Judgement:
        """Live through the fault: each hour sees only what has arrived by its end."""
        begin = self.quiet_hours.stop
        hours = HourRange(begin, begin + self.fault_hours + self.hours_after)
        fault = {
            "scenario": scenario.name,
            "scenario_from": str(begin),
            "scenario_hours": self.fault_hours,
        }
        arriving = self.folder / "faults" / scenario.name
        shutil.rmtree(arriving, ignore_errors=True)
        world = self.world.model_copy(update=fault)
        simulate(world, arriving / "landing", arriving / "truth", hours)
        _put(self.folder / "quiet", self.live)
        settings = self._settings()
        failures = []
        with _opened(settings) as lake:
            for hour in hours:
                (arriving / "landing" / str(hour)).rename(self.live / "landing" / str(hour))
                ingest(self.compute, lake, settings, hour.end, HourRange(begin, hour + 1))
                only = HourRange(hour, hour + 1)
                failures += failures_of(validate(lake, settings, only, _EVENTS), hour)
            # A critical hour is not sessionized: the loop has stopped.
            if all(failure.severity != "critical" for failure in failures):
                # Sessions come out the same at once as hour by hour, and much sooner.
                sessionize(self.compute, lake, settings, hours)
                failures += failures_of(validate(lake, settings, hours, _SESSIONS))
        return judge(scenario, failures, begin, quiet)

    def _settings(self) -> Settings:
        source = SourceSettings(name="simulator", path=self.live / "landing")
        quality = self.settings.quality.model_copy(update={"keep": _KEPT_PAGES})
        alone = {
            "work": self.live,
            "catalog_uri": None,
            "warehouse": None,
            "source": source,
            "quality": quality,
        }
        return self.settings.model_copy(update=alone)

    def _digest(self) -> str:
        """What the history is made by."""
        parts = [self.world, self.settings.ingest, self.settings.sessions]
        text = "\n".join(section.model_dump_json() for section in parts)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@contextmanager
def _opened(settings: Settings) -> Iterator[Lake]:
    """A lake whose catalog is closed before its files are exchanged."""
    lake = Lake(settings.resolved_catalog_uri, settings.resolved_warehouse)
    try:
        yield lake
    finally:
        lake.catalog.close()


def _put(source: Path, target: Path) -> None:
    """Make ``target`` what ``source`` is, whatever it was."""
    partial = target.with_name(f"{target.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(source, partial, copy_function=_link_or_copy)
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)


def _link_or_copy(source: str, target: str) -> str:
    if source.endswith(_IMMUTABLE):
        os.link(source, target)
        return target
    return str(shutil.copy2(source, target))
