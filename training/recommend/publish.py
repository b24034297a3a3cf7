"""Publishing an hour's recommendations: readers see those before or these, never half of them."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.files import write_text
from pipeline.hours import Hour, HourRange
from pipeline.lake.lake import Lake
from pipeline.lake.parquet_files import HourFile
from pipeline.lake.tables import RECOMMENDATIONS
from pipeline.lake.turns import Alone
from pipeline.process.locks import locked, this_process

FILE = "recommendations.parquet"
SUMMARY = "summary.json"
_FIRST = "first_published.json"
_UNFINISHED = ".unfinished-"
_LOCK = ".lock"
_LOCK_WAIT_S = 600.0
_PROPENSITY = "propensity"
_CODED = ("user_id", "item_id", "source")  # written from dictionaries, read as texts
_DICTIONARY = pa.dictionary(pa.int32(), pa.string())
_REPEATING = ["hour", "user_id", "item_id", "model", "model_version", "made_at", "source"]
_SAME_OF_MANY = [*_REPEATING, _PROPENSITY]


class Publication:
    """The table's file and the file for others, written side by side, seen by nobody yet.

    They have a column of propensities where ``explored``: without it they are as they always were.
    """

    def __init__(
        self, lake: Lake, hour: Hour, folder: Path, alone: Alone, explored: bool = False
    ) -> None:
        self.rows = 0
        self._lake, self._hour, self._folder, self._alone = lake, hour, folder, alone
        self._staged = Path(lake.staging(RECOMMENDATIONS)) / f"{hour}.parquet"
        self._staged.parent.mkdir(parents=True)
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(".*"):
            left.unlink()  # of a run that was killed: one process recommends at a time
        self._export = folder / f"{_UNFINISHED}{uuid.uuid4().hex}"
        schema = pa.schema(
            [
                field.with_type(_DICTIONARY) if field.name in _CODED else field
                for field in RECOMMENDATIONS.schema
                if explored or field.name != _PROPENSITY
            ]
        )
        whole = _writer(self._staged, schema)
        without_hour = _writer(self._export, schema.remove(schema.get_field_index("hour")))
        self._writers = (whole, without_hour)

    def add(self, rows: pa.Table) -> None:
        """Further rows; texts may be coded by dictionaries."""
        self.rows += rows.num_rows
        for name in _CODED:
            column = rows[name]
            if not pa.types.is_dictionary(column.type):
                index = rows.schema.get_field_index(name)
                rows = rows.set_column(index, name, column.dictionary_encode())
        if _PROPENSITY not in rows.column_names:
            rows = rows.append_column(_PROPENSITY, pa.nulls(rows.num_rows, pa.float64()))
        for writer in self._writers:
            writer.write_table(rows.select(writer.schema.names))

    def publish(self, properties: Mapping[str, str]) -> Path:
        """Put both in the place of what was there: two steps, each of which is all or nothing."""
        self.close()
        size = self._staged.stat().st_size
        files = [HourFile(str(self._staged), size, self.rows, self._hour)] if self.rows else []
        hour = HourRange(self._hour, self._hour + 1)
        path = self._folder / FILE
        with self._alone():
            self._lake.replace(RECOMMENDATIONS, hour, files, properties)
            os.replace(self._export, path)  # noqa: PTH105 - one call, one atomic step
        if not self.rows:
            self._staged.unlink()
        return path

    def close(self) -> None:
        """No more rows."""
        for writer in self._writers:
            writer.close()

    def abandon(self) -> None:
        """Nothing is published."""
        self.close()
        self._export.unlink(missing_ok=True)
        self._staged.unlink(missing_ok=True)


@contextmanager
def one_at_a_time(folder: Path, print_line: Callable[[str], None]) -> Iterator[None]:
    """Be the only process that recommends into a folder of hours.

    Raises:
        HourglassError: another one still does after ten minutes.
    """

    def busy(holder: str) -> str:
        return f"another process ({holder}) is recommending"

    def waiting(sentence: str) -> None:
        print_line(f"waiting: {sentence} ...")

    with locked(folder / _LOCK, this_process(), _LOCK_WAIT_S, busy, waiting):
        yield


def published_for_others(lake: Lake, hour: Hour, user_ids: pa.Array) -> pa.Table:
    """What the hour holds of users other than these."""
    rows = lake.arrow(RECOMMENDATIONS, HourRange(hour, hour + 1))
    return rows.filter(pc.invert(pc.is_in(rows["user_id"], value_set=user_ids)))


def was_explored(rows: pa.Table) -> bool:
    """Whether some rows tell their propensity."""
    return bool(rows[_PROPENSITY].null_count < rows.num_rows)


@contextmanager
def publication(
    lake: Lake, hour: Hour, folder: Path, alone: Alone, explored: bool = False
) -> Iterator[Publication]:
    """Leave nothing behind when it fails before it is published."""
    unpublished = Publication(lake, hour, folder, alone, explored)
    try:
        yield unpublished
    except BaseException:
        unpublished.abandon()
        raise


def write_summary(folder: Path, facts: Mapping[str, Any]) -> Path:
    """What was published, as JSON; it is whole whenever it is there."""
    return write_text(folder / SUMMARY, json.dumps(facts, indent=1) + "\n")


def note_published(folder: Path, at: datetime) -> None:
    """Note when an hour's recommendations of everybody were there for the first time."""
    path = folder / _FIRST
    if not path.exists():
        write_text(path, json.dumps({"at": at.isoformat()}) + "\n")


def first_published(folder: Path) -> datetime | None:
    """When that was; None where it was not yet, or was not noted."""
    try:
        return datetime.fromisoformat(json.loads((folder / _FIRST).read_text("utf-8"))["at"])
    except FileNotFoundError:
        return None


def is_published(folder: Path) -> bool:
    """Whether an hour's folder holds its recommendations."""
    return (folder / FILE).is_file()


def _writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    return pq.ParquetWriter(
        path,
        schema,
        compression="zstd",
        compression_level=1,
        use_dictionary=[name for name in _SAME_OF_MANY if name in schema.names],
        write_statistics=[name for name in ("hour", "user_id") if name in schema.names],
        # Readers get texts, whether or not they were coded when they were written.
        store_schema=False,
    )
