"""Data sets hold what the format says (against loops), nothing of the future, and repeat."""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from dataset_oracle import (
    Frame,
    before_window,
    histories,
    in_window,
    known_events,
    supported,
    vocabulary_of,
    width_s,
)
from hypothesis import given
from hypothesis import strategies as st
from session_oracle import HOUR_US, US, Event, Rules
from staging import DAY, DAY_US, Log

from pipeline.dataset.build import find_test_set, freeze, freeze_test_set, histories_at
from pipeline.dataset.freeze import freeze_and_validate
from pipeline.dataset.manifest import read_manifest
from pipeline.dataset.write import shard_cuts
from pipeline.errors import HourglassError, UsageError
from pipeline.hours import HourRange
from pipeline.ingest import ingest
from pipeline.sessions.sessionize import sessionize
from pipeline.settings.settings import Settings
from pipeline.settings.source import SourceSettings
from pipeline.settings.tables import DatasetSettings, SessionSettings
from pipeline.spark.compute import Compute
from pipeline.workspace import CommandContext
from training.data.reader import DataSet, read_dataset
from training.steps.hour_data import HourData

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

T = 48
RULES = Rules(max_session_hours=3)
SMALL = {
    "window": "20h",
    "history": "15h",
    "popularity_window": "6h",
    "max_history_events": 4,
    "min_item_events": 4,
    "max_dwell_bins": 5,
}
FRAME = Frame(DAY.index + T - 35, DAY.index + T - 20, DAY.index + T)
LAST_US = DAY_US + T * HOUR_US


def a_log() -> set[Event]:
    rng = random.Random(21)
    events = set()
    for user in range(60):
        at_us = DAY_US + rng.randrange(40 * HOUR_US)
        for nth in range(rng.randrange(1, 40)):
            key = hashlib.sha256(f"{user} {nth}".encode()).hexdigest()[:12]
            item = f"item {min(int(rng.paretovariate(0.7)), 40)}"
            kind = rng.choices(["view", "buy", "like"], [6, 2, 1])[0]
            value = rng.choice([None, 1.5])
            event = Event(at_us, key, f"user {user:02d}", item, kind, value, line=99 - nth)
            events.add(event)
            at_us += rng.choice(
                [0, rng.randrange(60 * US), rng.randrange(3600 * US), rng.randrange(9 * HOUR_US)]
            )
    # One at T itself; and one of a user whose session stands open then, before and after T.
    events.add(Event(LAST_US, "at T", "user 00", "item 1"))
    events.add(Event(LAST_US - 90 * US, "fresh", "user 01", "item 1"))
    events.add(Event(LAST_US - 60 * US, "freshest", "user 01", "item 1"))
    events.add(Event(LAST_US + 60 * US, "next", "user 01", "item 2"))
    events.add(Event(LAST_US + 61 * US, "new type", "user 01", "item 1", "share"))
    events.add(Event(LAST_US + 62 * US, "new item", "user 01", "item never seen"))
    return {event for event in events if event.time_us < DAY_US + 56 * HOUR_US}


@pytest.fixture(scope="module")
def log(compute: Compute, tmp_path_factory: pytest.TempPathFactory) -> Log:
    """A sessionized log of 56 hours, of which the data sets may know 48."""
    made = Log(tmp_path_factory.mktemp("lake"), RULES, **SMALL)
    made.arrive(a_log())
    sessionize(compute, made.lake, made.settings, HourRange(DAY, DAY + 56))
    return made


@pytest.fixture(scope="module")
def base(no_spark: Compute, log: Log) -> Path:
    return freeze(no_spark, log.lake, log.settings, DAY + T)


@pytest.fixture(scope="module")
def no_spark() -> Compute:
    """Computes what is small; Spark, if it were needed, would not start."""

    def start() -> SparkSession:
        raise AssertionError("Spark was started for a small input")

    return Compute(start, from_mib=64)


def with_rules(log: Log, **changed: object) -> Settings:
    rules = DatasetSettings(**{**log.settings.dataset.model_dump(), **changed})
    return log.settings.model_copy(update={"dataset": rules})


def told(data: DataSet) -> dict[str, tuple[int, list[tuple[object, ...]]]]:
    """The histories by user, in the terms of the oracle (32-bit durations and values)."""
    found = data.histories
    columns = (
        *(found.item, found.time_us, found.session_start),
        *(found.dwell_s, found.dwell_bin, found.event_type, found.value),
    )
    rows = [
        tuple(None if isinstance(one, float) and np.isnan(one) else one for one in row)
        for row in zip(*(column.tolist() for column in columns), strict=True)
    ]
    return {
        user: (int(n_context), rows[first:stop])
        for user, n_context, first, stop in zip(
            found.user_ids, found.n_context, found.offsets, found.offsets[1:], strict=False
        )
    }


def as_stored(
    expected: dict[str, tuple[int, list[tuple[object, ...]]]],
) -> dict[str, tuple[int, list[tuple[object, ...]]]]:
    def single(value: object) -> object:
        return None if value is None else float(np.float32(value))  # type: ignore[arg-type]

    return {
        user: (n, [(*row[:3], single(row[3]), *row[4:6], single(row[6])) for row in rows])
        for user, (n, rows) in expected.items()
    }


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes() for path in folder.glob("[!.]*") if path.name != "lineage.json"
    }


STRICT: dict[str, object] = {
    "event_types": ("view", "buy"),
    "support_passes": "fixed_point",
    "min_session_events": 3,
    "min_user_sessions": 2,
    "events_per_shard": 60,
    "max_history_events": 0,
    "history": "20d",
}


@pytest.mark.parametrize(
    "changed",
    [pytest.param({}, id="small"), pytest.param(STRICT, id="strict, in several shards")],
)
def test_a_data_set_is_what_loops_make_of_the_events(
    no_spark: Compute, log: Log, changed: dict[str, object]
) -> None:
    settings = with_rules(log, **changed)
    rules = settings.dataset
    data = read_dataset(freeze(no_spark, log.lake, settings, DAY + T))
    frame = replace(FRAME, history_start=FRAME.window_start - 480) if changed else FRAME

    known = known_events(log.events, RULES, frame, rules.event_types)
    kept, steps = supported(
        in_window(known, frame),
        rules.min_item_events,
        rules.min_session_events,
        rules.min_user_sessions,
        rules.support_passes == "fixed_point",
    )
    vocabulary = vocabulary_of(kept)
    counts = Counter(one.event.item for one in kept)
    assert list(data.item_ids) == vocabulary
    assert list(data.item_events) == [counts[item] for item in vocabulary]
    manifest = data.manifest
    assert [vars(step) for step in manifest.steps] == steps
    types = sorted({one.event.event_type for one in known})
    assert manifest.event_types == tuple(types)
    n_dwells, width = width_s(log.events, RULES, frame)
    assert manifest.dwell.n == n_dwells
    assert manifest.dwell.width_s == pytest.approx(width, rel=1e-9)
    assert (manifest.as_of, manifest.window_start) == (DAY + T, DAY + T - 20)
    assert manifest.history_start.index == frame.history_start

    expected = histories(
        before_window(known, frame), kept, vocabulary, types,
        manifest.dwell.width_s, rules.max_dwell_bins, rules.max_history_events,
    )  # fmt: skip
    assert told(data) == as_stored(expected)
    assert len(list(data.folder.glob("part-*"))) > (1 if changed else 0)
    assert manifest.n_targets == len(kept) == data.histories.is_target.sum()
    # Of 20 hours of window, the first too is preceded by 6 hours of popularity.
    assert manifest.popularity_window_h == 6
    assert_popular(data, log, T - 26, T)


def assert_popular(data: DataSet, log: Log, first: int, stop: int) -> None:
    """Popularity is that of hours ``[first, stop)`` of the log, of every type of event."""
    expected = Counter(
        (event.item, event.hour - DAY.index)
        for event in log.events
        if first <= event.hour - DAY.index < stop
    )
    found = data.popularity
    assert {
        (data.item_ids[item - 1], hour - DAY.index): n
        for item, hour, n in zip(
            found.item, found.hour_index.tolist(), found.events.tolist(), strict=True
        )
    } == {(item, hour): n for (item, hour), n in expected.items() if item in set(data.item_ids)}


@pytest.mark.nightly
@pytest.mark.parametrize("plans", ["for few rows", "as commands compute"])
def test_spark_makes_the_same_bytes(
    request: pytest.FixtureRequest,
    spark: SparkSession,
    no_spark: Compute,
    log: Log,
    tmp_path: Path,
    plans: str,
) -> None:
    """Where it computes them, because they are too many: data sets of all kinds, histories.

    By day a data set and a test set are compared with their features: `test_dataset_features`.
    """
    if plans == "as commands compute":
        request.getfixturevalue("as_commands_compute")
    made = []
    for name, engine in (("in process", no_spark), ("spark", Compute(lambda: spark, from_mib=0))):
        work = tmp_path / name
        settings = with_rules(log, **STRICT).model_copy(update={"work": work})
        first = freeze(engine, log.lake, settings, DAY + T)
        small = with_rules(log, min_item_events=1).model_copy(update={"work": work})
        freeze_test_set(engine, log.lake, settings, first, HourRange(DAY + T, DAY + T + 3))
        first = freeze(engine, log.lake, small, DAY + 52, first)
        histories_at(engine, log.lake, small, first, DAY + 53)
        made.append({p.relative_to(work): p.read_bytes() for p in work.rglob("*") if p.is_file()})
    assert made[0].keys() == made[1].keys()
    names = [path.name for path in made[0]]
    assert names.count("manifest.json") == 4
    assert "part-00001.parquet" in names, "only one shard"
    assert [path for path, content in made[0].items() if made[1][path] != content] == []


def test_the_freshest_clicks_are_in(base: Path) -> None:
    n_context, rows = told(read_dataset(base))["user 01"]
    assert len(rows) > n_context
    # Its session is open and nothing has followed it yet, so how long it was read is unknown.
    assert [row[1:4] for row in rows[-2:]] == [
        (LAST_US - 90 * US, True, 30.0),
        (LAST_US - 60 * US, False, None),
    ]
    assert (rows[-2][4] > 0, rows[-1][4]) == (True, 0)


def test_nothing_of_the_future_changes_a_byte(
    compute: Compute, log: Log, base: Path, tmp_path: Path
) -> None:
    """The module's log goes on after T; a lake whose log ends there gives the same files."""
    past = Log(tmp_path, RULES, **SMALL)
    past.arrive(event for event in log.events if event.time_us < LAST_US)
    sessionize(compute, past.lake, past.settings, HourRange(DAY, DAY + T))
    again = freeze(compute, past.lake, past.settings, DAY + T)
    assert again.name == base.name
    assert again != base
    assert files_of(again) == files_of(base)
    assert (again / "lineage.json").read_bytes() != (base / "lineage.json").read_bytes()
    # An event just before T, however, is another data set.
    past.arrive([Event(LAST_US - 1, "just before", "user 02", "item 1")])
    sessionize(compute, past.lake, past.settings, HourRange(DAY + T - 1, DAY + T))
    assert freeze(compute, past.lake, past.settings, DAY + T).name != base.name


def test_a_lake_rebuilt_from_the_raw_files_gives_the_same_data_set(
    compute: Compute, tmp_path: Path
) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    lines = [
        json.dumps(
            {
                "event_time": event.time_us / US,
                "user_id": event.user,
                "item_id": event.item,
                "type": event.event_type,
            }
        )
        for event in a_log()
    ]
    for part in range(3):
        text = "\n".join(lines[part::3] + lines[:20])
        (raw / f"{part}.jsonl").write_text(text, encoding="utf-8")
    made = []
    for name, cuts in (("one", (0, T)), ("two", (0, 20, T))):
        log = Log(tmp_path / name, RULES, **SMALL)
        source = SourceSettings(name="json_lines", path=raw, columns={"event_type": "type"})
        settings = log.settings.model_copy(update={"source": source})
        clock = datetime(2025, 1, 1, tzinfo=UTC)
        taken = ingest.ingest(compute, log.lake, settings, clock)
        assert taken.duplicates >= 40
        for first, stop in pairwise(cuts):
            sessionize(compute, log.lake, settings, HourRange(DAY + first, DAY + stop))
        made.append(freeze(compute, log.lake, settings, DAY + T))
    assert made[0].name == made[1].name
    assert files_of(made[0]) == files_of(made[1])


def test_the_same_data_set_is_not_made_twice(compute: Compute, log: Log, base: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in base.iterdir()}
    assert freeze(compute, log.lake, log.settings, DAY + T) == base
    assert {path: path.stat().st_mtime_ns for path in base.iterdir()} == before
    assert [path.name for path in base.parent.iterdir() if path.name.startswith(".")] == []


def test_extending_only_appends(compute: Compute, log: Log, base: Path) -> None:
    old = read_dataset(base)
    later = with_rules(log, min_item_events=1)
    new = read_dataset(freeze(compute, log.lake, later, DAY + 52, base))
    assert len(new.item_ids) > len(old.item_ids)
    assert list(new.item_ids[: len(old.item_ids)]) == list(old.item_ids)
    # A type that was never met before comes last, wherever the alphabet has it.
    assert new.manifest.event_types == (*old.manifest.event_types, "share")
    # Support is that of the new window, also of old items.
    frame = Frame(DAY.index + 17, DAY.index + 32, DAY.index + 52)
    kept, _ = supported(in_window(known_events(log.events, RULES, frame), frame), 1, 2, 1, False)
    counts = Counter(one.event.item for one in kept)
    assert list(new.item_events) == [counts[item] for item in new.item_ids]
    assert list(new.item_ids) == vocabulary_of(kept, old.item_ids)
    assert freeze(compute, log.lake, later, DAY + 52).name != new.folder.name


def test_the_test_part_holds_exactly_the_events_that_follow(
    no_spark: Compute, log: Log, base: Path
) -> None:
    part = read_dataset(
        freeze_test_set(no_spark, log.lake, log.settings, base, HourRange(DAY + T, DAY + T + 3))
    )
    old = read_dataset(base)
    frame = Frame(FRAME.history_start, FRAME.as_of, FRAME.as_of + 3)
    known = known_events(log.events, RULES, frame)
    types = [*old.manifest.event_types, "share"]
    expected = histories(
        before_window(known, frame), in_window(known, frame), list(old.item_ids), types,
        old.manifest.dwell.width_s, 5, 4,
    )  # fmt: skip
    assert told(part) == as_stored(expected)
    manifest = part.manifest
    assert list(part.item_ids) == list(old.item_ids)
    assert manifest.event_types == tuple(types)
    assert manifest.dwell == old.manifest.dwell
    assert manifest.base_dataset_id == base.name
    assert (manifest.window_start, manifest.as_of) == (DAY + T, DAY + T + 3)
    happened = [event for event in log.events if LAST_US <= event.time_us < LAST_US + 3 * HOUR_US]
    on_known = [event for event in happened if event.item in set(old.item_ids)]
    assert manifest.n_targets == len(on_known) == part.histories.is_target.sum()
    assert manifest.left_out_events == len(happened) - len(on_known) > 0
    assert LAST_US in part.histories.time_us[part.histories.is_target]
    # Up to its end: what happened in an hour may be used by requests of the next.
    assert_popular(part, log, T - 6, T + 3)


def test_recommendations_are_asked_for_everyone_who_is_known(
    no_spark: Compute, log: Log, base: Path
) -> None:
    asked = read_dataset(histories_at(no_spark, log.lake, log.settings, base, DAY + 52))
    frame = Frame(DAY.index + 17, DAY.index + 52, DAY.index + 52)
    known = known_events(log.events, RULES, frame)
    expected = histories(
        known, [], list(asked.item_ids), list(asked.manifest.event_types),
        asked.manifest.dwell.width_s, 5, 4, keep_idle=True,
    )  # fmt: skip
    assert told(asked) == as_stored(expected)
    assert not asked.histories.is_target.any()
    assert_popular(asked, log, 46, 52)


def test_a_test_part_that_was_made_is_found(compute: Compute, log: Log, base: Path) -> None:
    hours = HourRange(DAY + T, DAY + T + 2)
    assert find_test_set(log.lake, log.settings, base, hours) is None
    made = freeze_test_set(compute, log.lake, log.settings, base, hours)
    assert find_test_set(log.lake, log.settings, base, hours) == made
    # Of other rules it is another one.
    rules = DatasetSettings(**{**log.settings.dataset.model_dump(), "max_history_events": 3})
    other = log.settings.model_copy(update={"dataset": rules})
    assert find_test_set(log.lake, other, base, hours) is None


def test_a_test_part_starts_where_its_data_set_ends(compute: Compute, log: Log, base: Path) -> None:
    with pytest.raises(UsageError, match=f"is as of {DAY + T}: its test set cannot start at"):
        freeze_test_set(compute, log.lake, log.settings, base, HourRange(DAY + T + 1, DAY + T + 2))


def test_hours_that_are_not_filled_are_named(compute: Compute, log: Log, base: Path) -> None:
    with pytest.raises(HourglassError) as refused:
        freeze(compute, log.lake, log.settings, DAY + 58)
    assert str(refused.value).startswith(f"hours before {DAY + 58} are not sessionized")
    assert f"`hourglass backfill --from {DAY + 56} --to {DAY + 58}`" in str(refused.value)
    with pytest.raises(HourglassError, match=f"from {DAY + 56} on"):
        freeze_test_set(compute, log.lake, log.settings, base, HourRange(DAY + T, DAY + 57))
    with pytest.raises(HourglassError, match=f"no event is known before {DAY}"):
        freeze(compute, log.lake, log.settings, DAY)


def test_sessions_by_other_rules_are_refused(compute: Compute, log: Log) -> None:
    """Else the manifest would tell the gap of the settings, not that of the sessions."""
    first = min(log.lake.filled("sessionize"))
    other = log.settings.model_copy(update={"sessions": SessionSettings(gap_s=60)})
    with pytest.raises(HourglassError, match=f"other events or rules: .*from {first} on"):
        freeze(compute, log.lake, other, DAY + T)


def test_a_filter_that_leaves_nothing_says_where_it_went(compute: Compute, log: Log) -> None:
    with pytest.raises(HourglassError) as refused:
        freeze(compute, log.lake, with_rules(log, min_user_sessions=99), DAY + T)
    said = str(refused.value)
    assert (
        f"no event of {DAY + T - 20} to {DAY + T} is left by the support filter (window: " in said
    )
    assert "users >= 99: 0 events): widen dataset.window or lower dataset.min_*" in said


def test_an_hour_without_a_known_item_is_no_test_part(compute: Compute, tmp_path: Path) -> None:
    log = Log(tmp_path, **{**SMALL, "min_item_events": 1})
    log.arrive(
        [
            Event(DAY_US, "1", "u", "a"),
            Event(DAY_US + US, "2", "u", "a"),
            Event(DAY_US + HOUR_US, "3", "u", "unknown"),
        ]
    )
    sessionize(compute, log.lake, log.settings, HourRange(DAY, DAY + 2))
    base = freeze(compute, log.lake, log.settings, DAY + 1)
    assert told(read_dataset(base)) == {
        "u": (0, [(1, DAY_US, True, 1.0, 0, 0, None), (1, DAY_US + US, False, None, 0, 0, None)])
    }
    with pytest.raises(HourglassError, match=f"on what data set {base.name} knows, 1 item: "):
        freeze_test_set(compute, log.lake, log.settings, base, HourRange(DAY + 1, DAY + 2))


@given(
    st.lists(st.integers(1, 50), min_size=1, max_size=60),
    st.integers(1, 200),
)
def test_shards_are_of_even_size(lengths: list[int], events_per_shard: int) -> None:
    """No shard is further from an even share than the longest history is long."""
    cuts = shard_cuts(np.array(lengths), events_per_shard)
    assert cuts == sorted(set(cuts))
    sizes = [sum(lengths[a:b]) for a, b in pairwise([0, *cuts, len(lengths)])]
    assert all(sizes)
    wanted = -(-sum(lengths) // events_per_shard)
    assert len(sizes) <= wanted
    if len(sizes) == wanted:
        share = sum(lengths) / wanted
        assert all(abs(size - share) <= 2 * max(lengths) for size in sizes)


def test_commands_freeze_few_events_without_java(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_: CommandContext) -> SparkSession:
        raise AssertionError("Spark was started for a small input")

    monkeypatch.setattr(CommandContext, "_start_spark", start)
    settings = with_rules(log, max_dwell_bins=7)
    ctx = CommandContext(settings, datetime(2025, 1, 1, tzinfo=UTC))
    folder, _ = freeze_and_validate(ctx, settings, DAY + T)
    part = HourData(ctx, folder).test_set
    assert part.manifest.base_dataset_id == folder.name
    known = histories_at(ctx.compute, log.lake, settings, folder, DAY + T + 1)
    assert read_manifest(known).n_users > part.manifest.n_users


def test_a_folder_without_a_data_set_is_named(tmp_path: Path) -> None:
    with pytest.raises(HourglassError, match="gone: no such data set folder: build it with hour"):
        read_manifest(tmp_path / "gone")
