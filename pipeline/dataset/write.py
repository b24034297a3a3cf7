"""The files of a data set's folder: written beside it, then renamed, so that it appears whole.

All are written by one writer with fixed settings, so that a data set that is made again has the
same bytes and the manifest's checksums hold for it.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.dataset.encoding import with_codes
from pipeline.errors import NothingHappenedError, UsageError
from pipeline.hours import Hour, HourRange, parse_duration_h
from pipeline.lake.lake import Lake, State
from pipeline.lake.sql import query
from pipeline.lake.tables import ITEM_HOURS
from pipeline.settings.settings import Settings
from pipeline.text.wording import counted
from pipeline.version import code_version

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

_ROWS_PER_GROUP = 1 << 17
POPULARITY = pa.schema(
    [
        pa.field("item", pa.int32()),
        pa.field("hour_index", pa.int64()),
        pa.field("events", pa.int64()),
    ]
)


@dataclass(frozen=True)
class Frame:
    """The hours a part covers: ``[history_start, window_start)`` is context."""

    history_start: Hour
    window_start: Hour
    as_of: Hour

    @property
    def all_hours(self) -> HourRange:
        """From the first hour of the context to the end."""
        return HourRange(self.history_start, self.as_of)


@dataclass(frozen=True)
class Part:
    """What a part is written from.

    ``known_items`` are the rows of the vocabulary whose events are let in.  ``features`` is given
    the folder and its users, writes what is known of items and users, and returns what the
    manifest tells of it.
    """

    folder: Path
    frame: Frame
    state: State
    context: DataFrame
    window: DataFrame
    popular_hours: HourRange
    vocabulary: pa.Table
    known_items: pa.Table
    features: Callable[[Path, pa.Array], dict[str, Any]]
    keep_idle: bool = False


def write_part(
    spark: SparkSession, lake: Lake, settings: Settings, part: Part, manifest: dict[str, Any]
) -> Path:
    """Write all files of a part, the manifest last; returns its folder.

    Raises:
        HourglassError: no event is left.
    """
    rules, frame = settings.dataset, part.frame
    terms = spark.createDataFrame(
        part.known_items.select(["item", "item_id"]).to_pandas(), "item int, item_id string"
    )
    staging = part.folder.with_name(f".{part.folder.name}-{uuid.uuid4().hex}")
    staging.mkdir(parents=True)
    try:
        histories = _histories(spark, part, terms, manifest, rules.max_history_events)
        _write_shards(histories, staging, rules.events_per_shard)
        write_table(part.vocabulary, staging / "vocabulary.parquet")
        popularity = query(
            spark,
            "window_popularity",
            {
                "recent_hours": lake.read(spark, ITEM_HOURS, part.popular_hours, part.state),
                "vocabulary": terms,
            },
        )
        # Sorted here: Spark would compute everything once more to find out where to cut it.
        rows = popularity.toArrow().cast(POPULARITY)
        rows = rows.sort_by([("hour_index", "ascending"), ("item", "ascending")])
        write_table(rows, staging / "popularity.parquet")
        counts = _counts(staging)
        if not counts["n_users"]:
            raise NothingHappenedError(
                f"no event of {HourRange(frame.window_start, frame.as_of) or frame.all_hours} is "
                f"on what data set {manifest['base_dataset_id']} knows, "
                f"{counted(part.vocabulary.num_rows, 'item')}: take more hours, or a "
                "data set of later ones"
            )
        manifest = {
            **manifest,
            **counts,
            **part.features(staging, _users(staging)),
            "n_items": part.vocabulary.num_rows,
            "n_cold_items": pc.sum(pc.equal(part.vocabulary["events"], 0)).as_py(),
            "popularity_window_h": parse_duration_h(rules.popularity_window),
            "window_start": str(frame.window_start),
            "history_start": str(frame.history_start),
            "gap_s": settings.sessions.gap_s,
            "max_session_hours": settings.sessions.max_session_hours,
            "config_digest": settings.digest("dataset", "sessions"),
            "code_version": code_version(),
            "files": {path.name: _file_digest(path) for path in sorted(staging.iterdir())},
        }
        if "n_window_events" in manifest:
            manifest["left_out_events"] = manifest["n_window_events"] - counts["n_targets"]
        _write_json(staging / "manifest.json", manifest)
        # Apart from the manifest, because snapshot ids differ between lakes of equal content.
        _write_json(staging / "lineage.json", dict(part.state))
        try:
            staging.rename(part.folder)
        except OSError:
            # Another process made the same part meanwhile; its content is the same.
            if not part.folder.is_dir():
                raise
        return part.folder
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a data set's folder.

    Raises:
        UsageError: there is no data set.
    """
    try:
        manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"{folder}: no data set here: run `hourglass dataset`") from error
    return manifest


def _histories(
    spark: SparkSession,
    part: Part,
    terms: DataFrame,
    manifest: dict[str, Any],
    max_context: int,
) -> DataFrame:
    from pyspark.sql import functions

    fields = manifest["context_fields"]
    event_codes = [(name, code) for code, name in enumerate(manifest["event_types"])]
    histories = query(
        spark,
        "histories",
        {
            "context_events": with_codes(spark, part.context, fields),
            "window_events": with_codes(spark, part.window, fields),
            "vocabulary": terms,
            "event_codes": spark.createDataFrame(event_codes, "event_type string, code smallint"),
        },
        width_s=manifest["dwell"]["width_s"],
        bins=manifest["dwell"]["bins"],
        max_context=max_context,
        keep_idle=part.keep_idle,
    )
    for place in range(len(fields)):
        of_field = functions.transform("codes", _entry(place))
        histories = histories.withColumn(f"context_{place}", of_field)
    return histories.drop("codes")


def _entry(place: int) -> Callable[[Column], Column]:
    return lambda codes: codes[place]


def _write_shards(histories: DataFrame, staging: Path, events_per_shard: int) -> None:
    """Write shards in the order of users, each with about as many events."""
    from pyspark.sql import functions

    histories.persist()
    try:
        bounds = shard_bounds(
            histories.selectExpr("user_id", "SIZE(item) AS events").toArrow(), events_per_shard
        )
        reached = [functions.lit(bound) <= functions.col("user_id") for bound in bounds]
        number_of = sum((each.cast("int") for each in reached), functions.lit(0))
        (
            histories.withColumn("shard", number_of)
            .repartitionById(len(bounds) + 1, functions.col("shard"))
            .sortWithinPartitions("user_id")
            .mapInArrow(_shard_writer(staging), "shard int")
            .collect()
        )
    finally:
        histories.unpersist()


def _shard_writer(
    staging: Path,
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """A task's rows are those of one shard, in order."""

    def write(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        filled = [batch for batch in batches if batch.num_rows]
        if not filled:
            return
        rows = pa.Table.from_batches(filled)
        number = rows["shard"][0].as_py()
        # A task that is tried again, or twice at once, leaves the whole file of one of them.
        unfinished = staging / f".{uuid.uuid4().hex}"
        write_table(rows.drop_columns(["shard"]), unfinished)
        unfinished.rename(staging / f"part-{number:05d}.parquet")
        yield pa.record_batch({"shard": pa.array([number], pa.int32())})

    return write


def write_table(rows: pa.Table, path: Path) -> None:
    """Write one file of a data set: the same rows give the same bytes, whoever computed them.

    Everything that may differ from run to run is fixed: in how many pieces the rows came, what
    their maker noted beside the columns, how they are cut, encoded and compressed.
    """
    pq.write_table(
        rows.replace_schema_metadata(None).combine_chunks(),
        path,
        row_group_size=_ROWS_PER_GROUP,
        version="2.6",
        data_page_version="1.0",
        compression="zstd",
        compression_level=1,
        use_dictionary=True,
        write_statistics=True,
    )


def shard_bounds(users: pa.Table, events_per_shard: int) -> list[str]:
    """First user of each shard after the first, so that all hold about the same number of events.

    ``users`` has a row a user: user_id, events.  A user's history is never parted.
    """
    users = users.sort_by("user_id")
    events = users["events"].to_numpy()
    before = np.cumsum(events) - events
    shards = max(1, math.ceil(int(events.sum()) / events_per_shard))
    cuts = np.searchsorted(before, [n * events.sum() / shards for n in range(1, shards)])
    firsts = {int(cut) for cut in cuts if 0 < cut < len(events)}
    return [users["user_id"][cut].as_py() for cut in sorted(firsts)]


def _counts(staging: Path) -> dict[str, int]:
    users = events = context = 0
    for path in staging.glob("part-*.parquet"):
        shard = pq.read_table(path, columns=["n_context", "item"])
        users += shard.num_rows
        context += pc.sum(shard.column("n_context")).as_py() or 0
        events += pc.sum(pc.list_value_length(shard.column("item"))).as_py() or 0
    return {"n_users": users, "n_events": events, "n_targets": events - context}


def _users(staging: Path) -> pa.Array:
    """The users in the order of the shards."""
    paths = sorted(staging.glob("part-*.parquet"))
    chunks = [pq.read_table(path, columns=["user_id"])["user_id"] for path in paths]
    return pa.concat_arrays([chunk for column in chunks for chunk in column.chunks])


def _file_digest(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
