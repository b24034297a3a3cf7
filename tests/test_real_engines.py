"""Each real log, from its raw files to the report: once in this process, once all of it by Spark.

Tables hold the same rows, files of sessions and data sets are the same to the byte, and so is the
page of the report.  Of logs that are spread over thousands of hours it is some days.
"""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest

from pipeline.dataset.build import freeze_test_set, histories_at
from pipeline.dataset.freeze import freeze_and_validate
from pipeline.dataset.manifest import read_manifest
from pipeline.hours import US_PER_HOUR, Hour, HourRange, parse_duration_h
from pipeline.lake.tables import (
    ALL_TABLES,
    DWELL_HOURS,
    EVENTS,
    ITEM_HOURS,
    OPEN_SESSIONS,
    SESSIONS,
    TableSpec,
)
from pipeline.quality.validate_hours import validate
from pipeline.settings.settings import load_settings, merge
from pipeline.workspace import CommandContext
from training.loop.demo import demo_settings
from training.registry.mlflow_registry import registry_of
from training.report.build import make_report
from training.steps.take_in import ingest_step, metadata_step, sessionize_step

pytestmark = pytest.mark.real

CLOCK = datetime(2025, 1, 1, tzinfo=UTC)
# By a kernel and a writer that both share; what ingest stages is written by each in its own way.
SAME_FILES = (SESSIONS, OPEN_SESSIONS, ITEM_HOURS, DWELL_HOURS)
# Who made a data set, and from which snapshots of which lake.
OF_ONE_LAKE = "lineage.json"
VALIDATED_H = 2


@dataclass(frozen=True)
class Part:
    """The records of some days: where a line of a file tells its time, in seconds since 1970."""

    file: str
    delimiter: str
    column: int
    since: str
    days: int

    def copy(self, raw: Path, to: Path) -> Path:
        """The raw logs with no other record in the file, whose first line is its header."""
        shutil.copytree(raw, to)
        path = to / self.file
        opened = gzip.open if path.suffix == ".gz" else open
        first_s = datetime.fromisoformat(f"{self.since}T00+00:00").timestamp()
        with opened(raw / self.file, "rt", encoding="utf-8", newline="") as lines:
            header = next(lines)
            records = [
                line
                for line in lines
                if 0 <= float(line.split(self.delimiter)[self.column]) - first_s < self.days * 86400
            ]
        path.chmod(0o600)
        with opened(path, "wt", encoding="utf-8", newline="") as out:
            out.writelines([header, *records])
        return to


class Side:
    """A work folder of its own, and who computes what is done in it."""

    def __init__(self, root: Path, preset: str, raw: Path, from_mib: int) -> None:
        content = demo_settings(preset, raw, None, root)
        content = merge(content, {"spark": {"from_mib": from_mib}, "site": preset})
        self.root = root
        self.ctx = CommandContext(load_settings(None, content), CLOCK, now=lambda: CLOCK)

    def take_in(self) -> None:
        """All records, and all their sessions to the close."""
        ctx = self.ctx
        metadata_step(ctx)
        ingest_step(ctx)
        gap_h = -(-ctx.settings.sessions.gap_s // 3600)
        sessionize_step(ctx, self.hours_of_events()[-1] + 1 + gap_h)

    def hours_of_events(self) -> list[Hour]:
        """Of each event the hour, in order."""
        indices = pc.divide(
            self.ctx.lake.arrow(EVENTS, columns=("hour",))["hour"].cast("int64"), US_PER_HOUR
        )
        return [Hour(index) for index in sorted(indices.to_pylist())]

    def rows(self, spec: TableSpec) -> list[str]:
        """All rows of a table; the digest of settings names folders and sizes."""
        rows = self.ctx.lake.arrow(spec).to_pylist()
        return sorted(repr({**row, "config_digest": None}) for row in rows)

    def files(self, spec: TableSpec) -> dict[Hour | None, bytes]:
        """The bytes of each hour's file."""
        files = self.ctx.lake.files(spec)
        assert len({file.hour for file in files}) == len(files), "an hour in two files"
        return {file.hour: Path(file.path).read_bytes() for file in files}

    def data_sets(self) -> dict[str, bytes]:
        """Data sets, test set and histories, file by file."""
        folders = [self.ctx.settings.path(name) for name in ("shards", "frozen")]
        return {
            str(path.relative_to(self.root)): path.read_bytes()
            for folder in folders
            for path in folder.rglob("*")
            if path.is_file() and path.name != OF_ONE_LAKE
        }


def frozen(side: Side, first: Hour, last: Hour) -> list[Path]:
    """A data set, the hours that judge it, one that continues it, and the histories at its time."""
    ctx = side.ctx
    settings, lake = ctx.settings, ctx.lake
    base, _ = freeze_and_validate(ctx, settings, first)
    horizon_h = parse_duration_h(settings.evaluation.horizon)
    hours = HourRange(first, min(first + horizon_h, last))
    judging = freeze_test_set(ctx.compute, lake, settings, base, hours)
    extended, _ = freeze_and_validate(ctx, settings, hours.stop, base)
    return [base, judging, extended, histories_at(ctx.compute, lake, settings, base, hours.stop)]


def page_of(side: Side) -> str:
    path, _ = make_report(side.ctx, registry_of(side.ctx))
    return path.read_text("utf-8").replace(str(side.root), "")


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Each time that a step takes to Spark."""
    starts: list[Any] = []
    start = CommandContext._start_spark

    def counted(ctx: CommandContext) -> Any:
        starts.append(ctx.settings.work)
        return start(ctx)

    monkeypatch.setattr(CommandContext, "_start_spark", counted)
    yield starts


DESKDROP = "users_interactions.csv.gz"


@pytest.mark.nightly
@pytest.mark.usefixtures("spark", "as_commands_compute", "mlflow_tables")
@pytest.mark.parametrize(
    ("preset", "folder", "part", "events"),
    [
        ("gharchive", "gharchive", None, 15_129),
        ("taobao", "taobao", None, 10_000),
        ("access_log", "nasa-http", None, 19_998),
        ("yoochoose", "yoochoose", None, 83_846),
        ("deskdrop", "deskdrop", Part(DESKDROP, ",", 0, "2016-06-06", 7), 3_578),
        ("wikipedia", "wikipedia", Part("wikipedia.csv", ",", 2, "1970-01-02", 7), 33_823),
        (
            *("movielens", "movielens-100k"),
            *(Part("ml-100k.inter", "\t", 3, "1997-09-20", 14), 8_051),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_real_log_ends_in_the_same_whoever_computes(
    used: list[Any],
    datasets_dir: Path,
    tmp_path: Path,
    preset: str,
    folder: str,
    part: Part | None,
    events: int,
) -> None:
    raw = datasets_dir / folder
    compare(tmp_path, preset, raw if part is None else part.copy(raw, tmp_path / "raw"), events)
    assert used == [tmp_path / "spark" / preset]


@pytest.mark.nightly
@pytest.mark.usefixtures("spark", "mlflow_tables")
def test_a_day_of_a_real_log_ends_in_the_same_whoever_computes(
    used: list[Any], datasets_dir: Path, tmp_path: Path
) -> None:
    """As tests compute: of the steps by day there are tests of their own, by both engines."""
    part = Part(DESKDROP, ",", 0, "2016-06-06", 1)
    compare(tmp_path, "deskdrop", part.copy(datasets_dir / "deskdrop", tmp_path / "raw"), 594)
    assert used == [tmp_path / "spark" / "deskdrop"]


def compare(root: Path, preset: str, raw: Path, events: int) -> None:
    """Hold both sides to one another, from the raw files to the page of the report."""
    here, there = (
        Side(root / name, preset, raw, mib) for name, mib in (("here", 64), ("spark", 0))
    )
    for side in (here, there):
        side.take_in()
    hours = here.hours_of_events()
    assert len(hours) == events
    for spec in ALL_TABLES:
        assert here.rows(spec) == there.rows(spec), spec.name
    for spec in SAME_FILES:
        assert here.files(spec) == there.files(spec), spec.name

    as_of = min(hours[len(hours) * 3 // 4] + 1, hours[-1])
    datasets = frozen(here, as_of, hours[-1] + 1)
    frozen(there, as_of, hours[-1] + 1)
    assert here.data_sets() == there.data_sets()
    assert all(read_manifest(dataset).n_users for dataset in datasets)
    assert read_manifest(datasets[1]).n_targets

    for side in (here, there):
        validate(side.ctx.lake, side.ctx.settings, HourRange(as_of - VALIDATED_H, as_of))
    assert page_of(here) == page_of(there)
