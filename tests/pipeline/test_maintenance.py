from __future__ import annotations

import json
import os
import random
import shutil
import tempfile
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from old_lake import H0, OldLake, age, all_snapshots, listing, part

from pipeline.errors import HourglassError
from pipeline.hours import Hour, HourRange
from pipeline.lake.lake import Lake, State
from pipeline.lake.tables import EVENTS, FILLED_HOURS, ITEM_HOURS, ITEMS, PROFILES, SOURCE_FILES
from pipeline.maintenance import compact, expire
from pipeline.maintenance import maintain as upkeep
from pipeline.maintenance.maintain import MaintenanceResult, ModelInputs, maintain, plan_maintenance
from pipeline.maintenance.orphans import find_orphans
from pipeline.spark.compute import Compute

HISTORIES = int(os.environ.get("HOURGLASS_TEST_HISTORIES", "2"))
NOTHING = ModelInputs()
# Long after anything that a test does.
LATER = datetime.now(UTC) + timedelta(days=30)
KEEP, GRACE = timedelta(days=7), timedelta(days=1)


@pytest.fixture
def old(tmp_path: Path) -> OldLake:
    return OldLake(tmp_path / "work")


def keep_up(
    old: OldLake, trained: ModelInputs = NOTHING, clock: datetime = LATER
) -> MaintenanceResult:
    return maintain(old.lake, old.settings, trained, clock)


def pinned(state: State) -> ModelInputs:
    """What a model was trained from that was frozen in a state."""
    return ModelInputs(
        snapshots={name: frozenset({found}) for name, found in state.items() if found is not None}
    )


def three_states(old: OldLake) -> list[State]:
    old.account("a")
    return [old.step(H0, ("first",)), old.step(H0, ("second",)), old.step(H0 + 1, ("third",))]


def test_of_a_long_past_only_the_current_state_stays(old: OldLake) -> None:
    *_, last = three_states(old)
    before = old.seen(last)
    data_before = len(list((old.lake.warehouse / "item_hours" / "data").rglob("*.parquet")))
    done = keep_up(old)
    assert old.seen(last) == before
    assert old.snapshot_ids(ITEM_HOURS) == {last[ITEM_HOURS.name]}
    assert old.snapshot_ids(FILLED_HOURS) == {last[FILLED_HOURS.name]}
    data_after = list((old.lake.warehouse / "item_hours" / "data").rglob("*.parquet"))
    assert (data_before, len(data_after)) == (3, 2)
    assert not [path for path in data_after if not path.is_file()]
    assert done.facts["files"]["count"] == len(done.files) > 0
    assert done.freed_bytes == sum(file.bytes for file in done.files) > 0


def test_a_state_that_was_replaced_within_keep_stays_readable(old: OldLake) -> None:
    first, second, third = three_states(old)
    seen = {2: old.seen(second), 3: old.seen(third)}
    # `first` was replaced 1 ms longer ago than `keep`.
    keep_up(old, clock=old.replaced(first) + KEEP + timedelta(milliseconds=1))
    assert {2: old.seen(second), 3: old.seen(third)} == seen
    assert first[FILLED_HOURS.name] not in old.snapshot_ids(FILLED_HOURS)
    with pytest.raises(HourglassError, match="no longer holds the state that was asked for"):
        old.seen(first)
    # Spark is handed files: no plan of what is gone may pass for an empty table.
    with pytest.raises(HourglassError, match="no longer holds the state that was asked for"):
        old.lake.files(ITEM_HOURS, state=first)


def test_a_state_of_long_ago_stays_when_it_was_replaced_just_now(old: OldLake) -> None:
    first, *_ = three_states(old)
    before = old.seen(first)
    keep_up(old, clock=old.replaced(first) + KEEP)
    assert old.seen(first) == before


def test_what_a_model_was_trained_from_stays_until_it_is_forgotten(old: OldLake) -> None:
    first, second, _ = three_states(old)
    before = old.seen(first)
    keep_up(old, pinned(first))
    assert old.seen(first) == before
    assert second[FILLED_HOURS.name] not in old.snapshot_ids(FILLED_HOURS)
    keep_up(old, NOTHING)
    assert first[ITEM_HOURS.name] not in old.snapshot_ids(ITEM_HOURS)


def test_all_tables_of_a_pinned_state_stay_though_one_alone_is_pinned(old: OldLake) -> None:
    first, *_ = three_states(old)
    before = old.seen(first)
    only = frozenset({first[FILLED_HOURS.name] or 0})
    keep_up(old, ModelInputs(snapshots={FILLED_HOURS.name: only}))
    assert old.seen(first) == before


@pytest.mark.parametrize(("place", "about"), [("shards", {}), ("frozen", {"base_dataset_id": "d"})])
def test_the_lineage_of_a_pinned_data_set_pins_its_snapshots(
    old: OldLake, place: str, about: dict[str, str]
) -> None:
    first, *_ = three_states(old)
    before = old.seen(first)
    folder = part(old.settings.work, place, "d" if place == "shards" else "e", **about)
    (folder / "lineage.json").write_text(json.dumps(dict(first)))
    keep_up(old, ModelInputs(datasets=frozenset({"d"})))
    assert old.seen(first) == before


def test_heads_of_branches_and_tags_of_other_programs_stay(old: OldLake) -> None:
    first, *_ = three_states(old)
    before = old.rows(ITEM_HOURS, first)
    tagged = first[ITEM_HOURS.name]
    assert tagged is not None
    old.lake.table(ITEM_HOURS).manage_snapshots().create_tag(tagged, "audit").commit()
    keep_up(old)
    assert old.rows(ITEM_HOURS, first) == before


def test_a_second_run_finds_nothing(old: OldLake) -> None:
    three_states(old)
    old.step(H0 + 2, ("a",), ("b", "c"))
    part(old.settings.work, "shards", "d")
    assert keep_up(old).sentence
    before = listing(old.settings.work)
    again = keep_up(old)
    assert (again.sentence, again.freed_bytes) == ("", 0)
    assert listing(old.settings.work) == before


def test_nor_does_it_where_the_log_of_versions_is_full(old: OldLake) -> None:
    for number in range(21):
        old.record(H0, f"{number}")
    log = old.lake.table(FILLED_HOURS).metadata.metadata_log
    assert len(log) == 20
    keep_up(old)
    assert not Path(log[0].metadata_file).exists()
    assert keep_up(old).sentence == ""


def test_a_plan_changes_nothing_and_is_what_is_done_then(old: OldLake) -> None:
    three_states(old)
    part(old.settings.work, "shards", "d")
    (old.settings.work / "scratch" / "parsed-1").mkdir(parents=True)
    orphan = Path(old.write(H0, "killed").path)
    before = listing(old.settings.work)
    plan = plan_maintenance(old.lake, old.settings, NOTHING, LATER)
    assert listing(old.settings.work) == before
    assert keep_up(old) == plan
    assert not orphan.exists()


def test_orphans_go_when_they_are_old_and_nothing_else_does(old: OldLake, tmp_path: Path) -> None:
    state = old.step(H0, ("a",))
    data = old.lake.warehouse / ITEM_HOURS.name / "data"
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "own.parquet").write_text("mine")
    files = {
        "killed": Path(old.write(H0, "killed").path),
        "young": Path(old.write(H0, "young").path),
        "notes": data / "notes.txt",
        "elsewhere": old.lake.warehouse / "own" / "data" / "x.parquet",
        "beside": old.lake.warehouse / ITEM_HOURS.name / "x.parquet",
        "torn": data.with_name("metadata") / "torn-m0.avro",
    }
    for path in files.values():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (data / "link.parquet").symlink_to(outside / "own.parquet")
    (data / "linked").symlink_to(outside)
    everything = [old.settings.work, outside]
    age(everything, hours=48)
    age([files["young"]], hours=23)
    before = old.seen(state)

    done = keep_up(old, clock=datetime.now(UTC))
    gone = {name for name, path in files.items() if not path.exists()}
    assert gone == {"killed", "torn"}
    assert {file.path for file in done.files} == {files[name] for name in gone}
    assert not files["killed"].parent.exists()
    assert (outside / "own.parquet").read_text() == "mine"
    assert (data / "link.parquet").is_symlink()
    assert old.seen(state) == before


def test_no_file_of_a_retained_snapshot_is_an_orphan(old: OldLake) -> None:
    first, second, _ = three_states(old)
    future = LATER.timestamp()
    everything = {name: frozenset(ids) for name, ids in all_snapshots(old).items()}
    assert find_orphans(old.lake, everything, future) == []
    # The test can fail: without one of them there are some.
    fewer = {**everything, ITEM_HOURS.name: everything[ITEM_HOURS.name] - {first["item_hours"]}}
    assert find_orphans(old.lake, fewer, future)
    assert second["item_hours"] in everything["item_hours"]


def test_a_lake_reached_through_a_link_keeps_its_files(old: OldLake, tmp_path: Path) -> None:
    state = old.step(H0, ("a",))
    before = old.seen(state)
    (tmp_path / "link").symlink_to(old.settings.work)
    through = OldLake(tmp_path / "link")
    assert keep_up(through).files == keep_up(old).files == []
    assert through.seen(state) == before


def test_a_copied_lake_is_refused_since_it_names_the_files_of_the_first(
    old: OldLake, tmp_path: Path
) -> None:
    three_states(old)
    shutil.copytree(old.settings.work, tmp_path / "copy")
    before = listing(tmp_path)
    with pytest.raises(HourglassError, match="moved, copied or linked"):
        keep_up(OldLake(tmp_path / "copy"))
    assert listing(tmp_path) == before


def test_where_a_needed_file_is_missing_none_is_removed(old: OldLake) -> None:
    three_states(old)
    Path(old.lake.files(ITEM_HOURS)[0].path).unlink()
    before = listing(old.settings.work)
    with pytest.raises(HourglassError, match="table item_hours: 1 file that its snapshots name is"):
        keep_up(old)
    assert listing(old.settings.work) == before


def test_hours_in_several_files_become_one_with_the_same_rows_in_the_same_order(
    old: OldLake,
) -> None:
    old.step(H0, ("z", "b"), ("a",), ("y",))
    old.step(H0 + 1, ("only",))
    old.step(H0 + 5, ("c",), ("d", "e"))
    before = [old.rows(ITEM_HOURS), old.rows(FILLED_HOURS)]
    hours = [HourRange(hour, hour + 1) for hour in (H0, H0 + 1, H0 + 5)]
    by_hour = [old.lake.arrow(ITEM_HOURS, hour) for hour in hours]
    done = keep_up(old)
    assert (done.facts["joined_files"], done.facts["joined_into"]) == (5, 2)
    assert [old.lake.arrow(ITEM_HOURS, hour) for hour in hours] == by_hour
    assert old.rows(FILLED_HOURS) == before[1]
    # Who reads by the state sees it too.
    assert len(old.lake.files(ITEM_HOURS, state=old.lake.state())) == 3


def test_what_compaction_replaced_stays_as_long_as_any_state(old: OldLake) -> None:
    state = old.step(H0, ("a",), ("b",))
    before = old.seen(state)
    keep_up(old, clock=datetime.now(UTC))
    assert old.seen(state) == before
    assert len(old.lake.files(ITEM_HOURS, state=state)) == 2
    keep_up(old)
    assert len(list((old.lake.warehouse / "item_hours" / "data").rglob("*.parquet"))) == 1


def test_hours_above_the_target_size_are_left(tmp_path: Path) -> None:
    old = OldLake(tmp_path / "work", target_mib=1)
    names = [uuid.UUID(int=random.Random(n).getrandbits(128)).hex for n in range(60_000)]
    old.step(H0, tuple(names[:30_000]), tuple(names[30_000:]))
    size = sum(file.bytes for file in old.lake.files(ITEM_HOURS))
    assert size > 1 << 20
    keep_up(old)
    assert len(old.lake.files(ITEM_HOURS)) == 2
    assert compact.fragments(old.lake, size) == []
    assert len(compact.fragments(old.lake, size + 1)) == 1


def test_tables_without_hours_become_one_file_when_they_have_more_than_a_few(
    old: OldLake,
) -> None:
    for n in range(compact.MOST_UNPARTED_FILES):
        old.account(f"{n}")
    old.record(H0, "x")
    assert keep_up(old).fragments == []
    old.account("last")
    old.record(H0, "y")
    rows = old.lake.arrow(SOURCE_FILES)
    keep_up(old)
    assert old.lake.arrow(SOURCE_FILES) == rows
    assert len(old.lake.files(SOURCE_FILES, state=old.lake.state())) == 1


def test_metadata_still_knows_the_file_it_came_from(old: OldLake) -> None:
    old.describe("a")
    for name in "bcdef":
        old.lake.append(ITEMS, old.lake.arrow(ITEMS).slice(0, 1), {"hourglass.source_sha256": name})
    keep_up(old)
    assert len(old.lake.files(ITEMS)) == 1
    assert old.lake.properties(ITEMS)["hourglass.source_sha256"] == "f"


def test_a_rewritten_file_that_reads_back_otherwise_is_not_committed(
    old: OldLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = old.step(H0, ("a",), ("b",))
    read = compact.read_file
    calls: list[str] = []

    def damaged(path: str, columns: Any) -> Any:
        calls.append(path)
        rows = read(path, columns)
        return rows if len(calls) < 3 else rows.slice(1)

    monkeypatch.setattr(compact, "read_file", damaged)
    with pytest.raises(HourglassError, match="reads back otherwise"):
        keep_up(old)
    assert old.lake.state() == state == old.lake.snapshots()


def stop_at(name: str, module: Any, monkeypatch: pytest.MonkeyPatch, after: int = 0) -> None:
    """Let a step die at its call number ``after``."""
    original: Callable[..., Any] = getattr(module, name)
    calls = iter(range(10**6))

    def dying(*args: Any, **named: Any) -> Any:
        if next(calls) >= after:
            raise KeyboardInterrupt
        return original(*args, **named)

    monkeypatch.setattr(module, name, dying)


@pytest.mark.parametrize(
    ("name", "module", "after"),
    [
        # Between and within what it does: joining files, expiry, removal of files and folders.
        ("record_filled", Lake, 0),
        ("_expire", expire, 1),
        ("unlink", Path, 2),
        ("rmtree", shutil, 0),
        pytest.param("replace", Lake, 0, marks=pytest.mark.nightly),
        pytest.param("expire", upkeep, 0, marks=pytest.mark.nightly),
        pytest.param("remove_files", upkeep, 0, marks=pytest.mark.nightly),
        pytest.param("remove_folder", upkeep, 1, marks=pytest.mark.nightly),
    ],
)
def test_killed_anywhere_readers_see_whole_states_and_a_rerun_completes(
    old: OldLake, monkeypatch: pytest.MonkeyPatch, name: str, module: Any, after: int
) -> None:
    for letter in "abcde":
        old.account(letter)
    pinned_state, *_ = three_states(old)
    last = old.step(H0 + 2, ("a",), ("b", "c"))
    for folder in "de":
        part(old.settings.work, "shards", folder)
    Path(old.write(H0, "killed").path)
    trained = pinned(pinned_state)
    seen = [old.seen(pinned_state), old.seen(last)]

    with monkeypatch.context() as patch:
        stop_at(name, module, patch, after)
        with pytest.raises(KeyboardInterrupt):
            keep_up(old, trained)
    assert old.seen(pinned_state) == seen[0]
    assert old.seen(old.lake.state()) == seen[1]
    assert not [path for path in (old.settings.work / "shards").glob("[!.]*") if not whole(path)]

    keep_up(old, trained)
    assert [old.seen(pinned_state), old.seen(old.lake.state())] == seen
    assert keep_up(old, trained).sentence == ""
    assert list((old.settings.work / "shards").iterdir()) == []
    assert len(old.lake.files(ITEM_HOURS)) == 3
    assert len(old.lake.files(SOURCE_FILES)) == 1
    assert all(len(ids) <= 2 for ids in all_snapshots(old).values())


def test_a_data_set_is_hidden_before_it_is_taken_apart(
    old: OldLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = part(old.settings.work, "shards", "d")
    taken: list[Path] = []

    def watched(path: Path, ignore_errors: bool) -> None:
        taken.append(path)

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", watched)
        keep_up(old)
    assert taken == [folder.with_name(".removed-d")]
    assert [path.name for path in folder.parent.iterdir()] == [".removed-d"]
    # What a kill leaves there is no data set any more, and goes however young it is.
    assert keep_up(old, clock=datetime.now(UTC)).facts["scratch"]["count"] == 1
    assert list(folder.parent.iterdir()) == []


def whole(folder: Path) -> bool:
    return {path.name for path in folder.iterdir()} == {"manifest.json", "part-00000.parquet"}


def test_a_step_that_was_killed_is_taken_back_first(old: OldLake) -> None:
    state = old.step(H0, ("a",))
    before = old.seen(state)
    old.commit(H0, ("half",))
    done = keep_up(old)
    assert done.undone == (ITEM_HOURS.name,)
    assert old.seen(old.lake.state()) == before
    assert old.snapshot_ids(ITEM_HOURS) == {state[ITEM_HOURS.name]}


def test_data_sets_go_when_they_are_old_and_no_model_was_trained_from_them(
    old: OldLake,
) -> None:
    work = old.settings.work
    later = {"as_of": "2016-03-14T14", "window_start": "2016-03-14T13"}
    idle = {"as_of": "2016-03-14T14", "window_start": "2016-03-14T14"}
    folders = {
        "trained": part(work, "shards", "a" * 16),
        "old": part(work, "shards", "b" * 16),
        "young": part(work, "shards", "c" * 16),
        "judging": part(work, "frozen", "d" * 16, base_dataset_id="a" * 16, **later),
        "served": part(work, "frozen", "e" * 16, base_dataset_id="a" * 16, **idle),
        "judged_old": part(work, "frozen", "f" * 16, base_dataset_id="b" * 16, **later),
        "half": part(work, "shards", f".{'a' * 16}-{'0' * 32}"),
        "half_young": part(work, "shards", f".{'a' * 16}-{'1' * 32}"),
        "own": part(work, "shards", "copy", dataset_id="a" * 16),
        "own_hidden": part(work, "shards", ".my-notes"),
        "empty": work / "shards" / "nothing",
    }
    folders["empty"].mkdir()
    (work / "frozen" / "link").symlink_to(folders["trained"])
    age(folders.values(), hours=8 * 24)
    age([folders["young"]], hours=6 * 24)
    age([folders["half_young"]], hours=23)
    trained = ModelInputs(datasets=frozenset({"a" * 16}))
    done = keep_up(old, trained, datetime.now(UTC))
    gone = {name for name, folder in folders.items() if not folder.exists()}
    assert gone == {"old", "served", "judged_old", "half"}
    assert [len(done.datasets), len(done.scratch)] == [3, 1]
    assert min(found.bytes for found in done.datasets) > 1000
    assert (work / "frozen" / "link").is_symlink()


def test_tables_of_days_are_left_as_they_are(old: OldLake) -> None:
    """Each of their commits writes whole days; five days are five files."""
    first = Hour.parse("2016-03-01T00")
    for day in range(6):
        hours = HourRange(first + 24 * day, first + 24 * day + 1)
        row = {"hour": hours.first.start, "distribution": "count", "bin": "events", "weight": 1.0}
        rows = pa.Table.from_pylist([row], PROFILES.schema)
        old.lake.rewrite_days(PROFILES, hours, rows, {}, lambda table: table["weight"].is_valid())
        old.lake.record_filled("validate", hours, FILLED_HOURS.schema.empty_table(), {}, False)
    files = old.lake.files(PROFILES)
    assert len(files) == 6
    keep_up(old)
    assert old.lake.files(PROFILES) == files


def test_scratch_of_killed_runs_goes_and_that_of_living_ones_stays(old: OldLake) -> None:
    scratch = old.settings.work / "scratch"
    names = ("parsed-1", "spark-1", "blockmgr-1", "spark-living", "own")
    for name in names:
        (scratch / name / "below").mkdir(parents=True)
        (scratch / name / "below" / "spill").write_bytes(b"x" * 100)
    (scratch / "spark.log").touch()
    outside = old.settings.work / "outside"
    outside.mkdir()
    (scratch / "parsed-1" / "link").symlink_to(outside)
    (scratch / "parsed-link").symlink_to(outside)
    age([scratch], hours=25)
    # Deep inside, as a shuffle writes it.
    age([scratch / "spark-living" / "below" / "spill"], hours=1)
    done = keep_up(old, clock=datetime.now(UTC))
    left = {"spark-living", "own", "spark.log", "parsed-link"}
    assert {path.name for path in scratch.iterdir()} == left
    assert outside.is_dir()
    assert len(done.scratch) == 3


@settings(max_examples=HISTORIES, deadline=None, phases=[Phase.generate])
@given(data=st.data())
def test_whatever_happened_every_state_in_use_reads_as_before_and_the_rest_is_gone(
    data: st.DataObject,
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        old = OldLake(Path(folder) / "work")
        states: list[State] = []
        for number in range(data.draw(st.integers(1, 7), label="steps")):
            hour = H0 + data.draw(st.integers(0, 2), label="hour")
            cut = data.draw(st.integers(1, 3), label="files")
            files = [(f"{number}-{n}",) for n in range(cut)]
            if data.draw(st.booleans(), label="killed first"):
                old.commit(hour, ("lost",))
                old.lake.undo_unfinished()
            if data.draw(st.booleans(), label="described"):
                old.describe(str(number))
            old.account(str(number))
            states.append(old.step(hour, *files))
        pins = data.draw(st.sets(st.sampled_from(range(len(states))), max_size=2), label="pins")
        first = data.draw(st.sampled_from(range(len(states))), label="first in use")
        trained = ModelInputs(
            snapshots={
                spec.name: frozenset(states[n][spec.name] or 0 for n in pins)
                for spec in (ITEM_HOURS, FILLED_HOURS, SOURCE_FILES)
            }
        )
        # `first` was just being replaced then; the last one may be replaced by compaction.
        last = len(states) - 1
        clock = old.replaced(states[first]) + KEEP if first < last else LATER
        in_use = {*range(first, last if first == last else last + 1), *pins}
        seen = {n: old.seen(states[n]) for n in in_use}
        now = old.seen(states[last])
        # Old enough for removal, whatever the clock.
        age([old.settings.work], hours=24 * 365)

        keep_up(old, trained, clock)
        assert {n: old.seen(states[n]) for n in in_use} == seen
        assert old.seen(old.lake.state()) == now
        gone = {states[n][FILLED_HOURS.name] for n in range(last) if n not in in_use}
        assert not gone & old.snapshot_ids(FILLED_HOURS)
        assert keep_up(old, trained, clock).sentence == ""


def test_no_hour_becomes_stale(tmp_path: Path, compute: Compute) -> None:
    from session_oracle import Event
    from staging import DAY, Log

    from pipeline.lake.stale_hours import stale_hours
    from pipeline.sessions.sessionize import sessionize

    log = Log(tmp_path / "work")
    start_us = DAY.index * 3_600_000_000
    log.arrive(
        Event(start_us + n * 420_000_000, f"k{n}", f"u{n % 5}", f"i{n % 3}") for n in range(60)
    )
    stop = DAY + 9
    sessionize(compute, log.lake, log.settings, HourRange(DAY, stop))
    split(log.lake)
    tables = log.tables(HourRange(DAY, stop))
    assert stale_hours(log.lake, log.settings, stop) == []
    done = maintain(log.lake, log.settings, NOTHING, LATER)
    assert done.facts["joined_files"] > done.facts["joined_into"] > 0
    assert stale_hours(log.lake, log.settings, stop) == []
    assert log.tables(HourRange(DAY, stop)) == tables
    again = sessionize(compute, log.lake, log.settings, HourRange(DAY, stop))
    assert again.missing_or_changed == again.carried_on == 0


def split(lake: Lake) -> None:
    """Put every hour of the events in two files, as several tasks would leave them."""
    from pipeline.lake.parquet_files import HourWriter

    writer = HourWriter(lake.staging(EVENTS))
    halves = []
    for file in lake.files(EVENTS):
        assert file.hour is not None
        rows = lake.arrow(EVENTS, HourRange(file.hour, file.hour + 1))
        parts = (rows.slice(0, rows.num_rows // 2), rows.slice(rows.num_rows // 2))
        halves += [writer.write(file.hour, iter([half])) for half in parts]
    hours = HourRange.covering(file.hour for file in halves if file.hour is not None)
    lake.replace(EVENTS, hours, halves, {})
    lake.record_filled("test", [], FILLED_HOURS.schema.empty_table(), {})
