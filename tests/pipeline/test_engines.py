"""What this process computes by itself is what Spark would have computed, to the last bit."""

from __future__ import annotations

import gzip
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pyarrow as pa
import pytest
import yaml
from fuzzed_logs import H0, HEADER
from hypothesis import given, settings
from hypothesis import strategies as st
from landing_place import Place
from staging import NO_SPARK, no_spark
from test_deliveries import DELIVERIES, random_logs

from pipeline.engine import duck
from pipeline.engine import in_process as in_process_engine
from pipeline.engine import on_disk as on_disk_engine
from pipeline.engine.choice import run_on_engine
from pipeline.engine.engine import Engine, TooLargeError
from pipeline.engine.in_process import ArrowFrame
from pipeline.engine.spark_engine import SparkFrame
from pipeline.engine.spark_hash import hash_rows
from pipeline.errors import HourglassError, UsageError
from pipeline.hours import Hour, HourRange
from pipeline.ingest.in_passes import digests_of, shared_key_ends
from pipeline.lake.parquet_files import (
    HourFile,
    read_in_batches,
    unpacked_bytes,
    write_rows_by_hour,
)
from pipeline.lake.tables import (
    ALL_TABLES,
    EVENTS,
    QUARANTINE,
    REPEATED_KEYS,
    SOURCE_FILES,
    TIMESTAMP,
    TableSpec,
)
from pipeline.spark.compute import Compute

ROOT = Path(__file__).resolve().parents[2]
_MODIFIED_S = 1_457_960_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

TEXTS = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=80)
IDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
CONTEXTS = st.none() | st.dictionaries(IDS, TEXTS, max_size=4)
EVENT_ROWS = st.fixed_dictionaries(
    {
        "event_time": st.none() | st.datetimes(timezones=st.just(UTC)),
        **dict.fromkeys(("user_id", "item_id", "event_type"), TEXTS),
        "value": st.none() | st.floats() | st.just(-0.0),
        "given_session": TEXTS,
        "context": CONTEXTS.map(lambda pairs: pairs and list(pairs.items())),
        "event_key": TEXTS,
        "source_file": IDS,
        "line": st.integers(0, 1 << 62),
    }
)


class OnDisk(Compute):
    """Takes nothing for small, so that all goes by way of the disk."""

    def is_small(self, input_bytes: int, rows: int = 0) -> bool:
        return False


ON_DISK = OnDisk(no_spark, from_mib=1, on_one_machine=True)


def frame_of(engine: Engine, rows: pa.Table) -> Any:
    return engine.made_from(rows, lambda batches: batches, rows.schema, Path(), [0] * rows.num_rows)


def digests(engine: Engine, frame: Any) -> dict[int, str]:
    return {row.hour_index: row.digest for row in digests_of(engine, frame)}


@settings(max_examples=max(3, settings.default.max_examples // 10))
@given(st.lists(EVENT_ROWS, min_size=1, max_size=40))
def test_digests_are_those_of_spark(on_spark: Compute, rows: list[dict[str, Any]]) -> None:
    """Each row in an hour of its own, and again all in one, where they may be of equal time."""
    hours = [_EPOCH + timedelta(hours=nth) for nth in range(len(rows))]
    apart = [{"hour": hour, **row} for hour, row in zip(hours, rows, strict=True)]
    together = [{"hour": _EPOCH - timedelta(hours=1), **row} for row in rows]
    table = pa.Table.from_pylist([*apart, *together], EVENTS.schema)
    spark = on_spark.spark
    by_spark = run_on_engine(
        on_spark, 0, lambda engine: digests(engine, SparkFrame(spark.createDataFrame(table)))
    )
    here = run_on_engine(NO_SPARK, 0, lambda engine: digests(engine, ArrowFrame(table)))
    assert here == by_spark
    with TemporaryDirectory() as spill:
        by_way_of_disk = run_on_engine(
            ON_DISK, 0, lambda engine: digests(engine, frame_of(engine, table)), Path(spill)
        )
    assert by_way_of_disk == by_spark
    assert len(here) == len(rows) + 1


def random_line(rng: random.Random) -> str:
    """One of few keys and events, so that the same ones turn up again in other hours and files."""
    now_s = H0.index * 3600 - rng.choice([0, 0, 1, 2, 5, 30]) * 3600 + rng.randrange(3)
    user = rng.choice(["u", "Zoë", "日本🦉", "e\u0301", "", "O'Neil"])
    price = rng.choice(["", "0", "-0.0", "1.5", "dear", "1e300"])
    key = rng.choice(["", *(f"k{nth}" for nth in range(6))])
    return f"{now_s},{user},i{rng.randrange(3)},{price},{key},{rng.choice(['', 'pc', 'téléphone'])}"


def random_runs(rng: random.Random, count: int) -> list[dict[str, bytes]]:
    """What the landing zone holds before each run: files that are new, grow, or change."""
    names = [f"{H0}/a.csv", f"{H0 + 1}/b.csv", f"{H0 + 1}/ü c.csv.gz", "d.csv", "e.csv"]
    files: dict[str, list[str]] = {}
    runs = []
    for _ in range(count):
        for name in rng.sample(names, 3):
            lines = files.setdefault(name, [])
            if lines and rng.random() < 0.3:
                lines[rng.randrange(len(lines))] = random_line(rng)
            lines += [random_line(rng) for _ in range(rng.randrange(1, 8))]
        if rng.random() < 0.3:
            files["f.csv"] = list(files[rng.choice(list(files))])
        contents = {}
        for name, lines in files.items():
            content = "\n".join([HEADER, *lines]).encode()
            contents[name] = gzip.compress(content, mtime=0) if name.endswith(".gz") else content
        if rng.random() < 0.5:
            logs = random_logs(rng.randrange(1 << 30))
            contents |= {log.name: log.content for log in rng.sample(logs, 5)}
        runs.append(contents)
    return runs


def tables(place: Place) -> dict[str, list[str]]:
    """All rows of all tables, without the digest of settings that name the landing zone."""
    return {
        spec.name: sorted(repr({**row, "config_digest": None}) for row in place.rows(spec))
        for spec in ALL_TABLES
    }


def compare(folder: Path, on_spark: Compute, seed: int, runs: int) -> None:
    rng = random.Random(seed)
    rules = {
        "key_window": rng.choice(["2h", "all"]),
        "max_lateness": "3h" if seed % 2 else None,
    }
    places = [
        Place(folder / name, compute)
        for name, compute in (("here", NO_SPARK), ("disk", ON_DISK), ("spark", on_spark))
    ]
    for place in places:
        place.set_rules(**rules)
    repeated = let_in = 0
    for nth, contents in enumerate(random_runs(rng, runs)):
        late = HourRange(H0 - 40, H0) if nth + 1 == runs else None
        summaries = []
        for place in places:
            for name, content in contents.items():
                path = place.landing / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
                os.utime(path, (_MODIFIED_S + nth, _MODIFIED_S + nth))
            summaries.append(place.ingest(late=late))
        assert summaries[0] == summaries[1] == summaries[2]
        assert tables(places[0]) == tables(places[1]) == tables(places[2])
        let_in += summaries[0].late
        repeated += len(places[0].rows(REPEATED_KEYS))
    assert places[0].events()
    assert places[0].refused()
    assert repeated
    assert bool(let_in) == bool(seed % 2)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1])
def test_deliveries_end_in_the_same_tables_whoever_takes_them_in(
    tmp_path: Path, on_spark: Compute, seed: int
) -> None:
    compare(tmp_path, on_spark, seed, runs=min(DELIVERIES, 2))


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 14))
def test_many_deliveries_end_in_the_same_tables_whoever_takes_them_in(
    tmp_path: Path, on_spark: Compute, seed: int
) -> None:
    compare(tmp_path, on_spark, seed, runs=5)


def test_what_one_engine_took_in_is_nothing_new_to_the_other(
    tmp_path: Path, on_spark: Compute
) -> None:
    place = Place(tmp_path, on_spark)
    place.put("a.csv", f"{H0.index * 3600},u,i,,k,", "bad")
    place.ingest()
    before = place.lake.snapshots()
    place.compute = NO_SPARK
    assert place.ingest().files == 0
    assert place.lake.snapshots() == before
    # Another time of change and the same content: what is read again must be found the same.
    place.put("b.csv", f"{H0.index * 3600},u,i,,k,")
    filled = place.lake.filled("ingest")
    assert place.ingest().duplicates == 1
    assert {h: row.output_digest for h, row in place.lake.filled("ingest").items()} == {
        h: row.output_digest for h, row in filled.items()
    }
    # A key that the next hour repeats, beside an event that is new to the hour of both engines.
    place.compute = on_spark
    place.put("c.csv", f"{(H0 + 1).index * 3600},u,i,,k,", f"{H0.index * 3600},v,i,,l,")
    assert place.ingest().accepted == 1
    assert [user for _, user, *_ in place.events()] == ["u", "v"]
    (repeated,) = place.rows(REPEATED_KEYS)
    assert (repeated["event_key"], Hour.of(repeated["hour"])) == ("k", H0 + 1)


def test_what_unpacks_to_much_is_left_to_spark(tmp_path: Path) -> None:
    """By night Spark then does it; by day it is asked, and of what was begun nothing is left."""
    place = Place(tmp_path, Compute(no_spark, from_mib=1))
    put_what_unpacks_to_much(place)
    with pytest.raises(HourglassError, match="Spark was started"):
        place.ingest()
    assert not place.rows(SOURCE_FILES)
    assert not list(place.settings.path("scratch").glob("parsed-*"))
    assert not list(place.settings.resolved_warehouse.rglob("*.parquet"))


@pytest.mark.nightly
def test_spark_takes_in_what_unpacks_to_much(tmp_path: Path, on_spark: Compute) -> None:
    place = Place(tmp_path, Compute(lambda: on_spark.spark, from_mib=1))
    put_what_unpacks_to_much(place)
    summary = place.ingest()
    assert (summary.accepted, summary.duplicates) == (1, 39_999)
    assert not list(place.settings.path("scratch").glob("parsed-*"))


def put_what_unpacks_to_much(place: Place) -> None:
    line = f"{H0.index * 3600},{'u' * 30},{'i' * 30},,,{'d' * 300}\n"
    packed = gzip.compress(f"{HEADER}\n{line * 40_000}".encode(), mtime=0)
    assert len(packed) < 100_000
    (place.landing / "a.csv.gz").write_bytes(packed)


def files_of_one_text(place: Place, spec: TableSpec, column: str, text: str) -> list[HourFile]:
    """A file of many rows with one text, which packs to next to nothing."""
    count = 10_000 if column == "context" else 100
    values = {field.name: pa.nulls(count, field.type) for field in spec.schema}
    values["hour"] = pa.array([H0.start] * count, TIMESTAMP)
    content = [("page", text)] if column == "context" else text
    values[column] = pa.array([content] * count, spec.schema.field(column).type)
    rows = pa.table(values, spec.schema)
    return write_rows_by_hour(rows, spec.schema, place.lake.staging(spec))


def test_table_files_that_unpack_to_much_are_not_even_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path, NO_SPARK)
    files = files_of_one_text(place, QUARANTINE, "raw", "x" * (1 << 18))
    assert files[0].bytes < 100_000
    read = []
    monkeypatch.setattr(in_process_engine, "read_in_batches", lambda *_: read.append("a file"))
    with (
        pytest.raises(TooLargeError),
        in_process_engine.in_process(Compute(no_spark, from_mib=1)) as engine,
    ):
        engine.read_files(QUARANTINE.schema, files)
    assert not read


def test_table_files_that_a_dictionary_packs_are_given_up_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What they unpack to is known only as it is unpacked, a few thousand rows at a time."""
    place = Place(tmp_path, NO_SPARK)
    files = files_of_one_text(place, EVENTS, "context", "x" * 8192)
    assert unpacked_bytes(files[0].path) < 1 << 20
    batches = []

    def counted(*arguments: Any) -> Iterator[pa.Table]:
        for batch in read_in_batches(*arguments):
            batches.append(len(batch))
            yield batch

    monkeypatch.setattr(in_process_engine, "read_in_batches", counted)
    with (
        pytest.raises(TooLargeError),
        in_process_engine.in_process(Compute(no_spark, from_mib=1)) as engine,
    ):
        engine.read_files(EVENTS.schema, files)
    assert len(batches) == 1


def test_an_engine_that_gives_up_leaves_no_file_behind(tmp_path: Path) -> None:
    place = Place(tmp_path, NO_SPARK)
    place.put("a.csv", f"{H0.index * 3600},u,i,,,")
    place.ingest()
    committed = place.lake.files(EVENTS)
    folder = Path(committed[0].path).parents[1]
    staged = []

    def give_up(engine: Engine) -> None:
        staged.extend(engine.stage(place.lake, engine.read(place.lake, EVENTS), EVENTS))
        assert all(Path(file.path).is_file() for file in staged)
        raise TooLargeError

    with (
        pytest.raises(TooLargeError),
        in_process_engine.in_process(NO_SPARK) as engine,
    ):
        give_up(engine)
    assert staged
    assert [str(path) for path in folder.rglob("*.parquet")] == [committed[0].path]


def test_a_signal_within_a_query_is_no_fault_of_the_query(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(_: Engine) -> None:
        frame = ArrowFrame(pa.table({"nothing": [1]}))
        run_on_engine(NO_SPARK, 0, lambda engine: engine.query("parsed_hours", {"parsed": frame}))

    with pytest.raises(duckdb.BinderException):
        run_on_engine(NO_SPARK, 0, run)
    monkeypatch.setattr(duck, "is_interrupted", lambda: True)
    with pytest.raises(KeyboardInterrupt):
        run_on_engine(NO_SPARK, 0, run)


@pytest.mark.parametrize("rows_at_once", [1000, 100_000])
def test_what_memory_does_not_hold_goes_by_way_of_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows_at_once: int
) -> None:
    """The same rows as in memory, of files too large for it; what was spilled is gone again."""
    monkeypatch.setattr(on_disk_engine, "_MEMORY_BYTES", 128 << 20)
    # Hours larger than that are staged each by itself, smaller ones together.
    monkeypatch.setattr(on_disk_engine, "_ROWS_AT_ONCE", rows_at_once)
    rng = random.Random(0)
    lines = [
        f"{H0.index * 3600 - n % 7200},u{n % 900},i{rng.randrange(99)},{n % 7},k{n % 70_000},pc"
        for n in range(80_000)
    ]
    places = [Place(tmp_path / "here", NO_SPARK), Place(tmp_path / "disk", ON_DISK)]
    for place in places:
        for file in range(4):
            place.put(f"{file}.csv", *lines[file::4])
            os.utime(place.landing / f"{file}.csv", (_MODIFIED_S, _MODIFIED_S))
        summary = place.ingest()
        assert (summary.records, summary.accepted) == (80_000, 70_000)
    assert tables(places[0]) == tables(places[1])
    assert not list(places[1].settings.path("scratch").glob("spilled-*"))


@pytest.mark.parametrize(
    ("alone", "from_mib", "size", "engine"),
    [
        pytest.param(True, 4, 1 << 19, "InProcessEngine", id="little"),
        pytest.param(True, 4, 1 << 21, "OnDiskEngine", id="more"),
        pytest.param(True, 4, 1 << 40, "OnDiskEngine", id="any size"),
        pytest.param(False, 4, 1 << 21, "InProcessEngine", id="a cluster, little"),
        pytest.param(False, 4, 1 << 23, "Spark was started", id="a cluster, more"),
        pytest.param(True, 0, 0, "Spark was started", id="all by Spark"),
    ],
)
def test_who_computes_a_step(
    tmp_path: Path, alone: bool, from_mib: int, size: int, engine: str
) -> None:
    compute = Compute(no_spark, from_mib, on_one_machine=alone)
    names = []
    with suppress(HourglassError):
        run_on_engine(compute, size, lambda chosen: names.append(type(chosen).__name__), tmp_path)
    assert names == ([] if engine.startswith("Spark") else [engine])


@pytest.mark.parametrize("folder", ["user_id=7", "hour=2016-03-14", "event_key=z", "o'clock [1]*"])
def test_names_of_folders_say_nothing_of_what_files_hold(tmp_path: Path, folder: str) -> None:
    places = [Place(tmp_path / name / folder, c) for name, c in (("a", NO_SPARK), ("b", ON_DISK))]
    for place in places:
        for nth in range(2):
            place.put(f"{nth}.csv", f"{H0.index * 3600},u,i,,k,", f"{H0.index * 3600},v,i,,{nth},")
            os.utime(place.landing / f"{nth}.csv", (_MODIFIED_S, _MODIFIED_S))
            place.ingest()
    assert tables(places[0]) == tables(places[1])
    assert len(places[1].events()) == 3


def test_what_stops_a_reader_stays_what_it_is(tmp_path: Path) -> None:
    for error in (UsageError("a"), OSError(28, "no space"), KeyboardInterrupt()):

        def failing(_: Any, error: BaseException = error) -> Iterator[pa.RecordBatch]:
            raise error
            yield

        with pytest.raises(type(error)) as raised, on_disk_engine.on_disk(tmp_path) as engine:
            engine.made_from(
                pa.table({"n": [1]}), failing, pa.schema([("n", pa.int64())]), tmp_path, [0]
            )
        assert raised.value is error


def test_a_disk_that_is_full_is_said_to_be_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path, ON_DISK)
    place.put("a.csv", f"{H0.index * 3600},u,i,,,")

    def full(*_: Any) -> None:
        raise duckdb.IOException("Could not write all bytes to file: No space left on device")

    monkeypatch.setattr(on_disk_engine.OnDiskEngine, "_table", full)
    with pytest.raises(HourglassError, match="no space is left on the disk"):
        place.ingest()
    assert not place.rows(SOURCE_FILES)
    assert not list(place.settings.path("scratch").glob("spilled-*"))


@pytest.mark.parametrize("by_night", [False, pytest.param(True, marks=pytest.mark.nightly)])
def test_hours_with_large_table_files_are_left_to_spark(
    request: pytest.FixtureRequest, tmp_path: Path, by_night: bool
) -> None:
    place = Place(tmp_path, NO_SPARK)
    rng = random.Random(0)
    lines = [f"{H0.index * 3600},{rng.randbytes(15).hex()},i{n},,," for n in range(20_000)]
    place.put("a.csv", *lines)
    place.ingest()
    assert sum(file.bytes for file in place.lake.files(EVENTS)) > 1 << 18
    place.put("b.csv", lines[0])
    if by_night:
        place.compute = Compute(lambda: request.getfixturevalue("spark"), from_mib=1)
        assert place.ingest().duplicates == 1
    else:
        place.compute = Compute(no_spark, from_mib=1)
        with pytest.raises(HourglassError, match="Spark was started"):
            place.ingest()
    assert len(place.rows(EVENTS)) == 20_000


def test_the_command_takes_little_in_without_java_or_spark(tmp_path: Path) -> None:
    landing = tmp_path / "landing"
    landing.mkdir()
    (landing / "a.csv").write_text("event_time,user_id,item_id\n1457960000,u,i\nbad\n")
    columns = {"user_id": "user_id", "item_id": "item_id", "event_time": "event_time"}
    source = {"name": "delimited", "path": str(landing), "columns": columns}
    (tmp_path / "hourglass.yaml").write_text(
        yaml.safe_dump({"work": str(tmp_path / "work"), "source": source})
    )
    program = (
        "import sys\n"
        "from training.cli.main import program\n"
        "code = program(['ingest', '--json'])\n"
        "print(code, [m for m in sys.modules if m.split('.')[0] in ('pyspark', 'py4j')])\n"
    )
    environment = {**os.environ, "JAVA_HOME": str(tmp_path / "nowhere"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    facts, _, last = done.stdout.strip().rpartition("\n")
    assert last == "0 []", done.stderr
    assert json.loads(facts)["accepted"] == 1
    assert "Spark" not in done.stderr
    assert "leaked" not in done.stderr


def test_hours_of_any_year_are_whole() -> None:
    """The same division in both engines; of doubles, and exact all the same."""
    hours = [Hour.parse("0001-01-01T00"), Hour(-1), Hour(0), Hour.parse("9999-12-31T23")]
    rows = pa.table(
        {
            "kind": ["event"] * len(hours),
            "hour": pa.array([hour.start for hour in hours], TIMESTAMP),
        }
    )

    def indices(engine: Engine) -> set[int]:
        parsed = {"parsed": ArrowFrame(rows)}
        return {row.hour_index for row in engine.query("parsed_hours", parsed).collect()}

    assert run_on_engine(NO_SPARK, 0, indices) == {hour.index for hour in hours}


@settings(max_examples=20)
@given(st.lists(EVENT_ROWS, min_size=1, max_size=20), st.integers(1, 7))
def test_passes_find_what_a_look_at_all_finds(rows: list[dict[str, Any]], rows_a_pass: int) -> None:
    hours = [_EPOCH + timedelta(hours=nth % 3) for nth in range(len(rows))]
    keys = [row["event_key"] or "k" for row in rows]
    rows = [
        {**row, "hour": hour, "event_key": key}
        for row, hour, key in zip(rows, hours, keys, strict=True)
    ]
    rows += [{**row, "line": 99} for row in rows[::2]]
    with tempfile.TemporaryDirectory() as folder, on_disk_engine.on_disk(Path(folder)) as engine:
        frame = frame_of(engine, pa.Table.from_pylist(rows, EVENTS.schema))
        assert engine.passes(frame) == 1
        expected = digests(engine, frame), key_ends(engine, frame)
        engine.rows_a_pass = rows_a_pass
        assert engine.passes(frame) == -(-len(rows) // rows_a_pass)
        assert (digests(engine, frame), key_ends(engine, frame)) == expected


def test_each_event_is_hashed_once_for_the_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = 20_000
    hashed: list[int] = []

    def counting(columns: Any) -> Any:
        hashed.append(len(columns[0]))
        return hash_rows(columns)

    monkeypatch.setattr(duck, "hash_rows", counting)
    row = dict.fromkeys(EVENTS.schema.names) | {"hour": _EPOCH, "event_key": "k"}
    # A few are of equal time, all over.
    places = [nth - nth % 2 if nth % 1000 < 2 else nth for nth in range(rows)]
    table = pa.Table.from_pylist(
        [
            {**row, "user_id": f"u{at % 997}", "event_time": _EPOCH + timedelta(milliseconds=at)}
            for at in places
        ],
        EVENTS.schema,
    )
    with on_disk_engine.on_disk(tmp_path) as engine:
        frame = frame_of(engine, table)
        for rows_a_pass in (rows, rows // 3):
            engine.rows_a_pass = rows_a_pass
            hashed.clear()
            assert len(digests(engine, frame)) == 1
            # Those of equal time are hashed with their ranks too, and constants beside them.
            assert rows <= sum(hashed) < 1.2 * rows


def key_ends(engine: Engine, frame: Any) -> set[str]:
    return {row.key_end for row in shared_key_ends(engine, frame.select("event_key")).collect()}
