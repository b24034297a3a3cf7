"""Ingest: raw files -> ``events`` and ``quarantine``, and an account of every record.

Commits go events, quarantine, source_files, and last filled_hours, which makes them one state.
What a killed run committed before that is taken back by the next one, which does it all again.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pipeline.errors import HourglassError
from pipeline.hour_files import literal_path
from pipeline.hours import Hour, HourRange, contiguous
from pipeline.lake import Lake
from pipeline.landing import RawFile, find_raw_files, not_yet_ingested
from pipeline.parsing import parse_files
from pipeline.queries import query
from pipeline.schemas import EVENTS, FILLED_HOURS, QUARANTINE, SOURCE_FILES
from pipeline.settings import Settings
from pipeline.sources import Source, source_for
from pipeline.sources.lines import read_lines
from pipeline.version import code_version

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

STEP = "ingest"
_US = 1_000_000
_MOST_ACCOUNT_FILES = 64


@dataclass(frozen=True)
class IngestSummary:
    """What one run of ingest did; ``hours`` are those whose events changed or were rewritten."""

    files: int
    known_files: int
    records: int
    accepted: int
    duplicates: int
    quarantined: int
    hours: tuple[HourRange, ...]


def ingest(
    spark: SparkSession,
    lake: Lake,
    settings: Settings,
    clock: datetime,
    hours: HourRange | None = None,
) -> IngestSummary:
    """Take in all raw files that are new (of the given hours of arrival, where names tell them).

    ``clock`` is the time of arrival of files whose names tell none; records that claim to be
    later than their file's arrival, plus the tolerated skew, are quarantined.

    Raises:
        UsageError: the source or its folder is not what the settings say.
        HourglassError: no file has a column that is needed, or records would not add up.
    """
    source = source_for(settings.source)
    lake.undo_unfinished()
    found, known, fresh = _look(lake, settings, source, clock, hours)
    if not fresh:
        return IngestSummary(0, len(found), 0, 0, 0, 0, ())
    files = [file for file, _ in fresh]
    _check_headers(files, source, settings)
    staging = settings.path("scratch") / f"parsed-{uuid.uuid4().hex}"
    try:
        parsed = _parse_once(spark, files, source, settings, clock, staging)
        changed = known.intersection(file.source_file for file in files)
        return _commit(spark, lake, settings, fresh, len(found) - len(fresh), parsed, bool(changed))
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def waiting_files(
    lake: Lake, settings: Settings, clock: datetime, hours: HourRange | None = None
) -> list[RawFile]:
    """The files that the next run of ingest would take in.

    Raises:
        UsageError: as :func:`ingest`.
    """
    _, _, fresh = _look(lake, settings, source_for(settings.source), clock, hours)
    return [file for file, _ in fresh]


def _look(
    lake: Lake, settings: Settings, source: Source, clock: datetime, hours: HourRange | None
) -> tuple[list[RawFile], set[str], list[tuple[RawFile, str]]]:
    """Files found, names ingested before, and the files that are new or changed with digests."""
    found = find_raw_files(settings.source.path, source.pattern, source.arrival_hour, clock, hours)
    columns = ("source_file", "modified", "bytes", "sha256")
    known = lake.arrow(SOURCE_FILES, state=lake.state(), columns=columns).to_pylist()
    fresh = not_yet_ingested(found, (tuple(row[name] for name in columns) for row in known))
    return found, {row["source_file"] for row in known}, fresh


def _check_headers(files: list[RawFile], source: Source, settings: Settings) -> None:
    """Refuse to start where no file at all has the columns: the settings are wrong then."""
    if not source.has_header:
        return
    fault: HourglassError | None = None
    for file in files:
        lines = read_lines(file.path, settings.source.encoding, settings.ingest.max_record_chars)
        header = next(lines, None)
        if header is None or header.reason:
            # Says nothing about the settings, good or bad.
            continue
        try:
            source.parser(header.text, file.source_file)
        except HourglassError as error:
            fault = fault or error
        else:
            return
    if fault is not None:
        raise fault


def _parse_once(
    spark: SparkSession,
    files: list[RawFile],
    source: Source,
    settings: Settings,
    clock: datetime,
    staging: Path,
) -> DataFrame:
    """Parse into a scratch folder: three queries read the rows, and parsing is the slow part."""
    rules = settings.ingest
    rows = [
        (
            str(file.path),
            file.source_file,
            file.arrival.index,
            int((file.arrival.end if file.arrival_is_named else clock).timestamp() * _US)
            + rules.max_skew_s * _US,
        )
        for file in files
    ]
    schema = "path string, source_file string, arrival_hour bigint, latest_us bigint"
    slices = min(len(rows), 4 * spark.sparkContext.defaultParallelism)
    listed = spark.createDataFrame(rows, schema).repartition(slices)
    parse_files(listed, source, settings.source.encoding, rules).write.parquet(str(staging))
    return spark.read.parquet(literal_path(str(staging)))


def _commit(
    spark: SparkSession,
    lake: Lake,
    settings: Settings,
    fresh: list[tuple[RawFile, str]],
    known_files: int,
    parsed: DataFrame,
    some_changed: bool,
) -> IngestSummary:
    made_by = {
        "hourglass.step": STEP,
        "hourglass.config": settings.digest("source", "ingest"),
        "hourglass.code": code_version(),
    }
    events = parsed.where("kind = 'event'").select(*EVENTS.schema.names)
    hours = _hours_of(events)
    views = {"arrived": events, "known": lake.read(spark, EVENTS, hours)}
    kept = query(spark, "deduplicate_events", views).persist()
    try:
        files = lake.stage(kept, EVENTS)
        accounts = query(spark, "account_files", {"parsed": parsed, "kept": kept}).collect()
        digests = query(spark, "digest_events", {"kept": kept}).collect()
    finally:
        kept.unpersist()
    _check_conservation(accounts)

    if hours:
        lake.replace(EVENTS, hours, files, made_by)
    _commit_quarantine(spark, lake, parsed, made_by, some_changed)
    _commit_accounts(lake, fresh, accounts, made_by)
    # Also where no record became an event: the new state holds the refused ones and the accounts.
    lake.record_filled(STEP, hours, _filled_rows(digests, made_by), made_by)
    totals = {
        name: sum(row[name] for row in accounts)
        for name in ("records", "accepted", "duplicates", "quarantined")
    }
    return IngestSummary(len(fresh), known_files, hours=tuple(hours), **totals)


def _hours_of(rows: DataFrame) -> list[HourRange]:
    found = rows.selectExpr("UNIX_MICROS(hour) DIV 3600000000 AS hour_index").distinct().collect()
    return contiguous(Hour(row.hour_index) for row in found)


def _check_conservation(accounts: Iterable[Any]) -> None:
    for row in accounts:
        accounted = row.accepted + row.duplicates + row.quarantined
        if row.records != accounted:
            raise HourglassError(
                f"{row.source_file}: {row.records} records were read but {accounted} accounted "
                "for; nothing was committed: please report this with the file"
            )


def _commit_quarantine(
    spark: SparkSession,
    lake: Lake,
    parsed: DataFrame,
    made_by: dict[str, str],
    some_changed: bool,
) -> None:
    refused = parsed.where("kind = 'refused'").select(*QUARANTINE.schema.names)
    hours = _hours_of(refused)
    if not hours:
        return
    known = lake.read(spark, QUARANTINE, hours)
    # What a file held before it grew may have arrived in any hour.
    earlier = lake.read(spark, QUARANTINE) if some_changed else known
    views = {"refused": refused, "known": known, "earlier": earlier}
    merged = query(spark, "merge_quarantine", views)
    lake.replace(QUARANTINE, hours, lake.stage(merged, QUARANTINE), made_by)


def _filled_rows(digests: Iterable[Any], made_by: dict[str, str]) -> pa.Table:
    rows = [
        {
            "hour": Hour(row.hour_index).start,
            "step": STEP,
            "input_digest": "",
            "output_digest": row.digest,
            "state_digest": "",
            "config_digest": made_by["hourglass.config"],
            "code_version": made_by["hourglass.code"],
            "rows": row.row_count,
        }
        for row in digests
    ]
    return pa.Table.from_pylist(rows, schema=FILLED_HOURS.schema)


def _commit_accounts(
    lake: Lake,
    fresh: list[tuple[RawFile, str]],
    accounts: Iterable[Any],
    made_by: dict[str, str],
) -> None:
    by_name = {row.source_file: row for row in accounts}
    rows = [
        {
            "source_file": file.source_file,
            "arrival": file.arrival.start,
            "modified": file.modified,
            "bytes": file.bytes,
            "sha256": digest,
            **{
                name: by_name[file.source_file][name]
                for name in ("records", "accepted", "duplicates", "quarantined")
            },
        }
        for file, digest in fresh
    ]
    accounts_now = pa.Table.from_pylist(rows, schema=SOURCE_FILES.schema)
    if len(lake.files(SOURCE_FILES)) < _MOST_ACCOUNT_FILES:
        lake.append(SOURCE_FILES, accounts_now, made_by)
    else:
        # Hourly runs would leave thousands of small files, and each run reads them all.
        known = lake.arrow(SOURCE_FILES)
        lake.overwrite(SOURCE_FILES, "true", pa.concat_tables([known, accounts_now]), made_by)
