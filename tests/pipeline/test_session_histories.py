"""Whole histories of a lake, without Spark: events come, go and come late, steps fail and die.

After every step: what lies before the first stale hour is as defined, the shortcut over settled
hours hides nothing, and following a change forward has not ended too early.
"""

from __future__ import annotations

import hashlib
import os
import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from session_oracle import HOUR_US, US, Event, Rules, session_tables
from staging import DAY, DAY_US, NO_SPARK, session_rows
from test_session_tasks import write_events

from pipeline.hours import Hour, HourRange, contiguous
from pipeline.lake.lake import FilledHour, Hours, Lake
from pipeline.lake.parquet_files import HourFile
from pipeline.lake.stale_hours import FilledState, filled_state, rules_digest, stale_hours_of
from pipeline.lake.steps import INGEST, SESSIONIZE
from pipeline.lake.tables import EVENTS, OPEN_SESSIONS, SESSIONS, TableSpec
from pipeline.sessions import compute_range
from pipeline.sessions import sessionize as sessionize_module
from pipeline.sessions.sessionize import SessionizeSummary, sessionize
from pipeline.settings.settings import Settings
from pipeline.settings.tables import SessionSettings

HISTORIES = int(os.environ.get("HOURGLASS_TEST_HISTORIES", "5"))
AFTER_ALL = Hour(10**7)


class KilledError(BaseException):
    """Stands for the end of the process."""


def every(hours: Hours) -> list[Hour]:
    ranges = [hours] if isinstance(hours, HourRange) else hours
    return [hour for hour_range in ranges for hour in hour_range]


@dataclass
class Shelf:
    """The part of a lake that sessionize uses, with plain dictionaries for tables."""

    warehouse: Path
    tables: dict[str, dict[Hour, list[HourFile]]] = field(default_factory=lambda: defaultdict(dict))
    records: dict[tuple[str, Hour], FilledHour] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)
    commits: int = 0

    stable_from = Lake.stable_from
    _stable_before = Lake._stable_before

    def properties(self, *_: object) -> Mapping[str, str]:
        return self.said

    def undo_unfinished(self) -> list[str]:
        return []

    def versions(self) -> dict[str, str]:
        return {"all tables": str(self.commits)}

    def state(self) -> None:
        """There is only one: as things stand."""

    def snapshot(self, _: TableSpec) -> int:
        return 1

    def staging(self, spec: TableSpec) -> str:
        return str(self.warehouse / spec.name)

    def files(self, spec: TableSpec, hours: Hours | None = None) -> list[HourFile]:
        if hours is None:
            return [file for files in self.tables[spec.name].values() for file in files]
        return [file for hour in every(hours) for file in self.tables[spec.name].get(hour, [])]

    def replace(self, spec: TableSpec, hours: Hours, files: Sequence[HourFile], _: object) -> None:
        self.commits += 1
        assert {file.hour for file in files} <= {*every(hours)}, "rows of hours that nobody fills"
        for hour in every(hours):
            self.tables[spec.name][hour] = [file for file in files if file.hour == hour]

    def filled_steps(
        self, since: Hour | None = None, state: object = None
    ) -> dict[str, dict[Hour, FilledHour]]:
        steps: dict[str, dict[Hour, FilledHour]] = defaultdict(dict)
        for (step, hour), record in self.records.items():
            if since is None or hour >= since:
                steps[step][hour] = record
        return steps

    def record_filled(
        self, step: str, hours: Hours, rows: pa.Table, properties: Mapping[str, str]
    ) -> None:
        self.commits += 1
        settled = self._stable_before(min(every(hours)))  # type: ignore[misc]
        for hour in every(hours):
            self.records.pop((step, hour), None)
        for row in rows.to_pylist():
            names = ("input_digest", "output_digest", "state_digest", "config_digest", "rows")
            self.records[step, Hour.of(row["hour"])] = FilledHour(*(row[name] for name in names))
        self.said = {**settled, **properties}

    def rows(self, spec: TableSpec, before: Hour, last: str) -> set[tuple[Any, ...]]:
        files = [f for hour, held in self.tables[spec.name].items() if hour < before for f in held]
        tables = [pq.read_table(file.path) for file in files]
        return session_rows(pa.concat_tables([spec.schema.empty_table(), *tables]), last)


class History:
    """A lake that lives through random days."""

    def __init__(self, rng: random.Random, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.rng, self.folder, self.patch = rng, folder, patch
        self.lake: Any = Shelf(folder)
        self.events: set[Event] = set()
        self.first = rng.choice([DAY, Hour(-40)])
        self.span = rng.choice([12, 30, 200])
        self.steps = 0
        self.failing: set[Hour] = set()
        self.change_rules()
        patch.setattr(sessionize_module, "_FORWARD_STEP_H", rng.choice([1, 2, 3, 24]))
        patch.setattr(sessionize_module, "_HOURS_PER_STEP", rng.choice([1, 3, 1000]))
        patch.setattr(sessionize_module, "compute_sessions", self.compute)
        if rng.random() < 0.5:
            patch.setattr(compute_range, "_ROWS_WORTH_A_TASK", 2)
            patch.setattr(compute_range, "_ROWS_PER_GROUP", 3)

    def change_rules(self) -> None:
        gap_s = self.rng.choice([1800, 3600, 3600, 5400, 9000, 86_400, 180_000])
        self.rules = Rules(gap_s, self.rng.choice([24, 1, 2, 3]), self.rng.random() < 0.3)
        self.settings = Settings(work=self.folder, sessions=SessionSettings(**vars(self.rules)))

    def compute(self, _: object, lake: Shelf, rules: SessionSettings, hours: Hours) -> Any:
        if any(hour in self.failing for hour in every(hours)):
            raise ValueError("this hour cannot be computed")
        self.steps += 1
        return compute_range.compute_sessions(NO_SPARK, lake, rules, hours)  # type: ignore[arg-type]

    def arrive(self) -> None:
        """New events, some a gap's length from known ones; now and then one is withdrawn."""
        rng, new = self.rng, set()
        for n in range(rng.choice([0, 1, 1, 2, 5, 12])):
            at_us = rng.randrange(self.span) * HOUR_US + rng.choice(
                [0, 1, HOUR_US - 1, rng.randrange(HOUR_US)]
            )
            if self.events and rng.random() < 0.4:
                near = rng.choice(sorted(self.events)).time_us - self.first.index * HOUR_US
                gap_us = self.rules.gap_s * US + rng.choice([-US, -1, 0, 1])
                at_us = min(max(near + rng.choice([-1, 1]) * gap_us, 0), self.span * HOUR_US - 1)
            key = hashlib.sha256(f"{self.steps} {n} {rng.random()}".encode()).hexdigest()[:8]
            user, item = f"u{rng.randrange(3)}", f"i{rng.randrange(3)}"
            given = rng.choice([None, "", "a"])
            time_us = self.first.index * HOUR_US + at_us
            file = f"{rng.randrange(3)}.csv"
            new.add(Event(time_us, key, user, item, given=given, file=file, line=n + 1))
        gone = {rng.choice(sorted(self.events))} if self.events and rng.random() < 0.2 else set()
        self.events = (self.events | new) - gone
        touched = {Hour(event.hour) for event in new | gone}
        rows = []
        for hour in touched:
            held = sorted((e for e in self.events if e.hour == hour.index), key=lambda e: e.key)
            digest = hashlib.sha256(repr(held).encode()).hexdigest()
            folder = self.folder / f"arrival-{digest[:20]}"
            self.lake.tables[EVENTS.name][hour] = write_events(folder, held)
            if held:
                rows.append(_ingested(hour, digest, len(held)))
        if touched:
            self.lake.record_filled(INGEST, contiguous(touched), pa.Table.from_pylist(rows), {})

    def sessionize(self, asked: HourRange) -> SessionizeSummary | None:
        """None where it was killed between two commits."""
        commits = self.rng.choice([1, 2]) if self.rng.random() < 0.15 else 10**6
        commit = sessionize_module.commit

        def mortal(*arguments: Any) -> None:
            nonlocal commits
            commits -= 1
            if not commits:
                raise KilledError
            commit(*arguments)

        with self.patch.context() as patch:
            patch.setattr(sessionize_module, "commit", mortal)
            try:
                return sessionize(NO_SPARK, self.lake, self.settings, asked)
            except KilledError:
                return None

    def stale(self, look: Callable[[], FilledState] | None = None) -> list[Hour]:
        steps = self.lake.filled_steps()
        now = look() if look else FilledState(None, steps[INGEST], steps[SESSIONIZE])
        return stale_hours_of(now, rules_digest(self.settings), AFTER_ALL)

    def live_a_step(self) -> None:
        self.arrive()
        if self.rng.random() < 0.12:
            self.change_rules()
        self.failing = {
            self.first + self.rng.randrange(self.span)
            for _ in range(self.rng.choice([0, 0, 0, 1, 2]))
        }
        begin = self.rng.randrange(self.span + 3)
        asked = HourRange(self.first + begin, self.first + begin + self.rng.choice([1, 1, 4, 30]))
        before = set(self.stale())
        done = self.sessionize(asked)
        stale = self.stale()
        assert stale == self.stale(lambda: filled_state(self.lake, self.settings)), (
            "settled hides some"
        )
        filled = self.lake.filled_steps()[SESSIONIZE]
        if done is not None and not done.failed:
            assert not [hour for hour in stale if hour < asked.stop]
            followed = [h for h in stale if h not in before and h <= max(filled)]
            assert not followed, "a change was not followed to its end"
        self.assert_right_before(min([*stale, max(filled, default=self.first) + 1]))

    def assert_right_before(self, hour: Hour) -> None:
        expected = session_tables(self.events, self.rules, self.first.index - 5, hour.index)
        assert self.lake.rows(SESSIONS, hour, "dwell_s") == expected.sessions
        assert self.lake.rows(OPEN_SESSIONS, hour, "chain_start") == expected.open_sessions


def _ingested(hour: Hour, digest: str, rows: int) -> dict[str, Any]:
    nothing = {"input_digest": "", "state_digest": "", "config_digest": ""}
    return {"hour": hour.start, "output_digest": digest, "rows": rows, **nothing}


@pytest.mark.parametrize("seed", range(HISTORIES))
def test_a_lake_stays_right_through_any_history(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(seed)
    history = History(rng, tmp_path, monkeypatch)
    for _ in range(rng.choice([2, 4, 7])):
        history.live_a_step()


def test_an_hour_that_fails_does_not_hold_up_what_is_a_gap_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the hours between were asked for: they wait only as long as a session may last."""
    history = History(random.Random(1), tmp_path, monkeypatch)
    history.rules = Rules()
    history.settings = Settings(work=tmp_path)
    history.first, history.span = DAY, 60
    monkeypatch.setattr(sessionize_module, "_HOURS_PER_STEP", 1000)
    for hour in (2, 5, 50):
        event = Event(DAY_US + hour * HOUR_US, f"k{hour}", "u", "i")
        history.events.add(event)
        history.lake.tables[EVENTS.name][DAY + hour] = write_events(tmp_path / str(hour), [event])
        row = _ingested(DAY + hour, f"d{hour}", 1)
        at = HourRange(DAY + hour, DAY + hour + 1)
        history.lake.record_filled(INGEST, at, pa.Table.from_pylist([row]), {})
    history.failing = {DAY + 5}
    done = history.sessionize(HourRange(DAY, DAY + 60))
    assert done is not None
    assert [hour for hour, _ in done.failed] == [DAY + 5]
    assert done.waiting == 1
    filled = {hour for part in done.filled for hour in part}
    assert filled == set(HourRange(DAY, DAY + 60)) - {DAY + 5, DAY + 6}
    history.failing = set()
    assert history.sessionize(HourRange(DAY + 50, DAY + 60)) is not None
    history.assert_right_before(DAY + 60)
