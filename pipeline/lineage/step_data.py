"""What each step reads and writes: tables, as the lake notes them, and folders of the work folder.

Tables and folders are named by their paths, in the namespace ``file``, as OpenLineage's naming has
it for tables of Iceberg.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.lake.tables import ALL_TABLES, FILLED_HOURS, LATE_RANGES, REPEATED_KEYS, TableSpec
from pipeline.settings.folders import WorkFolder, local_path
from pipeline.settings.settings import Settings
from pipeline.text.masking import mask

if TYPE_CHECKING:
    import pyarrow as pa

    from pipeline.lake.lake import Lake

# The lake's own bookkeeping, which no reader of a lineage asks for.
_BOOKKEEPING = frozenset({FILLED_HOURS.name, LATE_RANGES.name, REPEATED_KEYS.name})


@dataclass(frozen=True)
class StepFolders:
    """What a step reads and writes beside tables; ``raw``: the raw logs.

    One that only runs others, which have events of their own, has no ``tables``.
    """

    reads: tuple[WorkFolder, ...] = ()
    writes: tuple[WorkFolder, ...] = ()
    raw: bool = False
    tables: bool = True


#: The steps that have events, by the names of their commands.
STEPS: dict[str, StepFolders] = {
    "metadata": StepFolders(raw=True),
    "ingest": StepFolders(raw=True),
    "backfill": StepFolders(raw=True),
    "validate": StepFolders(),
    "sessionize": StepFolders(),
    "dataset": StepFolders(writes=("shards",)),
    "judge": StepFolders(("shards", "models"), ("frozen", "evaluations", "decisions")),
    "train": StepFolders(("shards",), ("models",)),
    "evaluate": StepFolders(("shards", "models"), ("frozen", "evaluations")),
    "monitor": StepFolders(("evaluations",), ("monitor",)),
    "gate": StepFolders(("evaluations", "models"), ("decisions",)),
    "refit": StepFolders(("shards", "decisions"), ("models",)),
    "promote": StepFolders(("decisions",)),
    "recommend": StepFolders(("models",), ("recommendations",)),
    "report": StepFolders((), ("reports",)),
    "loop": StepFolders(tables=False),
}


@dataclass(frozen=True)
class Data:
    """A table or a folder: its path, and its columns where it has any."""

    path: str
    schema: pa.Schema | None = None


def inputs_of(
    step: str,
    settings: Settings,
    lake: Lake | None,
    print_line: Callable[[str], None] = lambda _: None,
) -> list[Data]:
    """What a step has read; a table that it wrote too is no input.

    Tables that cannot be read any more are left out, and ``print_line`` is told of each.
    """
    folders = STEPS[step]
    data = [Data(str(path.absolute())) for path in _raw(settings) if folders.raw]
    if lake is not None and folders.tables:
        data += _tables(lake, lake.used.read - lake.used.written, print_line)
    return data + [_folder(settings, name) for name in folders.reads]


def outputs_of(
    step: str,
    settings: Settings,
    lake: Lake | None,
    whole: bool,
    print_line: Callable[[str], None] = lambda _: None,
) -> list[Data]:
    """What a step has written; ``whole``: it came to its end, and so wrote its folders.

    Tables that cannot be read any more are left out, and ``print_line`` is told of each.
    """
    folders = STEPS[step]
    data: list[Data] = []
    if lake is not None and folders.tables:
        data = _tables(lake, lake.used.written, print_line)
    return data + [_folder(settings, name) for name in folders.writes if whole]


def _raw(settings: Settings) -> Iterator[Path]:
    source = settings.source
    yield source.path
    yield from filter(None, (source.items_path, source.users_path, source.people_path))


def _tables(lake: Lake, names: Iterable[str], print_line: Callable[[str], None]) -> list[Data]:
    specs = {spec.name: spec for spec in ALL_TABLES}
    data = []
    for name in sorted(set(names) - _BOOKKEEPING):
        try:
            data.append(Data(_location(lake, specs[name]), specs[name].schema))
        except Exception as error:
            reason = mask(" ".join(f"{type(error).__name__}: {error}".split()))
            print_line(f"table {name} is left out of this run's lineage: {reason}")
    return data


def _location(lake: Lake, spec: TableSpec) -> str:
    return local_path(lake.table(spec).location())


def _folder(settings: Settings, name: WorkFolder) -> Data:
    path = settings.path(name)
    return Data(str(path), _shard_schema(path) if name == "shards" else None)


def _shard_schema(shards: Path) -> pa.Schema | None:
    """Columns of the data set that was made last; None before any."""
    import pyarrow.parquet as pq

    folders = [path for path in shards.glob("[!.]*") if path.is_dir()]
    newest = max(folders, key=lambda path: path.stat().st_mtime_ns, default=None)
    shard = None if newest is None else next(newest.glob("part-*.parquet"), None)
    return None if shard is None else pq.read_schema(shard)
