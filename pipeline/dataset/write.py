"""The files of a data set's folder: written beside it, then renamed, so that it appears whole.

All are written by one writer with fixed settings, so that a data set that is made again has the
same bytes and the manifest's checksums hold for it.
"""

from __future__ import annotations

import json
import math
import shutil
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.array_types import Ints
from pipeline.dataset.inputs import Frame
from pipeline.dataset.manifest import (
    FORMAT,
    LINEAGE_NAME,
    MANIFEST_NAME,
    ContextField,
    DwellBins,
    Manifest,
    StepCounts,
    sha256_of,
)
from pipeline.errors import NothingHappenedError
from pipeline.hours import HourRange, parse_duration_h
from pipeline.lake.lake import State
from pipeline.settings.settings import Settings
from pipeline.text.wording import counted
from pipeline.version import code_version

_ROWS_PER_GROUP = 1 << 17
POPULARITY = pa.schema(
    [
        pa.field("item", pa.int32()),
        pa.field("hour_index", pa.int64()),
        pa.field("events", pa.int64()),
    ]
)


@dataclass(frozen=True)
class DatasetContent:
    """What goes into a data set's files, computed in this process or by Spark.

    ``write_shards`` is given the folder; ``popularity`` is sorted by hour and item.
    """

    event_types: tuple[str, ...]
    context_fields: tuple[ContextField, ...]
    dwell: DwellBins
    steps: tuple[StepCounts, ...]
    n_window_events: int
    vocabulary: pa.Table
    popularity: pa.Table
    write_shards: Callable[[Path], None]


#: Given the folder and its users, writes what is known of items and users; returns what the
#: manifest tells of it.
WriteFeatures = Callable[[Path, pa.Array], dict[str, Any]]


def write_dataset(
    folder: Path,
    settings: Settings,
    frame: Frame,
    state: State,
    content: DatasetContent,
    features: WriteFeatures,
    base: Manifest | None = None,
) -> Path:
    """Write all files of a data set, the manifest last; returns its folder.

    Args:
        folder: where it appears.
        settings: by which it was made.
        frame: its hours.
        state: of the lake it was made from.
        content: what is in it.
        features: writes those of items and users.
        base: the manifest of the data set whose encoding it is told in, if another's.

    Raises:
        HourglassError: no event is left.
    """
    staging = folder.with_name(f".{folder.name}-{uuid.uuid4().hex}")
    staging.mkdir(parents=True)
    try:
        content.write_shards(staging)
        write_table(content.vocabulary, staging / "vocabulary.parquet")
        write_table(content.popularity, staging / "popularity.parquet")
        counts = _counts(staging)
        n_items = content.vocabulary.num_rows
        if not counts["n_users"]:
            raise NothingHappenedError(
                f"no event of {HourRange(frame.window_start, frame.as_of) or frame.all_hours} is "
                f"on what data set {'' if base is None else base.dataset_id} knows, "
                f"{counted(n_items, 'item')}: take more hours, or a data set of later ones"
            )
        facts = {
            **({} if base is None else _facts_of(base)),
            **_facts(settings, frame, content),
            **counts,
            **features(staging, _users(staging)),
            "dataset_id": folder.name,
            "code_version": code_version(),
            "files": {path.name: sha256_of(path) for path in sorted(staging.iterdir())},
        }
        if base is not None:
            facts["base_dataset_id"] = base.dataset_id
            facts["n_window_events"] = content.n_window_events
            facts["left_out_events"] = content.n_window_events - counts["n_targets"]
        (staging / MANIFEST_NAME).write_text(Manifest(**facts).text, encoding="utf-8")
        # Apart from the manifest, because snapshot ids differ between lakes of equal content.
        lineage = json.dumps(dict(state), indent=1, sort_keys=True) + "\n"
        (staging / LINEAGE_NAME).write_text(lineage, encoding="utf-8")
        try:
            staging.rename(folder)
        except OSError:
            # Another process made the same one meanwhile; its content is the same.
            if not folder.is_dir():
                raise
        return folder
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _facts_of(base: Manifest) -> dict[str, Any]:
    """What a data set takes over from the one whose encoding it has: not what that one left out."""
    return {name: fact for name, fact in base.facts.items() if name != "unknown_events"}


def _facts(settings: Settings, frame: Frame, content: DatasetContent) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "as_of": frame.as_of,
        "window_start": frame.window_start,
        "history_start": frame.history_start,
        "event_types": content.event_types,
        "context_fields": content.context_fields,
        "steps": content.steps,
        "dwell": content.dwell,
        "n_items": content.vocabulary.num_rows,
        "n_cold_items": pc.sum(pc.equal(content.vocabulary["events"], 0)).as_py(),
        "popularity_window_h": parse_duration_h(settings.dataset.popularity_window),
        "gap_s": settings.sessions.gap_s,
        "max_session_hours": settings.sessions.max_session_hours,
        "config_digest": settings.digest("dataset", "sessions"),
    }


def write_shard(rows: pa.Table, folder: Path, number: int) -> None:
    """Write one shard; who does it again, or twice at once, leaves the whole file of one."""
    unfinished = folder / f".{uuid.uuid4().hex}"
    write_table(rows, unfinished)
    unfinished.rename(folder / f"part-{number:05d}.parquet")


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


def shard_cuts(events: Ints, events_per_shard: int) -> list[int]:
    """First user of each shard after the first, so that all hold about the same number of events.

    ``events`` (U,) are those of each user.  A user's history is never parted.
    """
    total = int(events.sum())
    before = np.cumsum(events) - events
    shards = max(1, math.ceil(total / events_per_shard))
    cuts = np.searchsorted(before, [n * total / shards for n in range(1, shards)])
    return sorted({int(cut) for cut in cuts if 0 < cut < len(events)})


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
