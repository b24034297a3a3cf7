"""Context, metadata and cold items in data sets: as told before T, and nothing told later."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from session_oracle import HOUR_US, US, Event
from staging import DAY, DAY_US, Log

from pipeline.dataset import build
from pipeline.dataset.build import freeze, freeze_test_set
from pipeline.dataset.manifest import read_manifest
from pipeline.dataset.write import write_table
from pipeline.errors import HourglassError
from pipeline.hours import HourRange
from pipeline.lake.tables import ITEMS, USERS, TableSpec
from pipeline.sessions.sessionize import sessionize
from pipeline.settings.settings import Settings
from pipeline.settings.tables import DatasetSettings
from pipeline.spark.compute import Compute
from training.data.reader import DataSet, Features, read_dataset

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# Context of two hours, a window of four, two hours after T.
T, STOP = 6, 8
RULES = {
    "window": "4h",
    "history": "2h",
    "min_item_events": 3,
    "context": ("device", "country"),
    "cold_items": True,
}
ITEMS_KNOWN = {
    "item 0": {"categories": ["news", "short"], "numbers": [("words", 100.0)]},
    "item 1": {"categories": ["news"], "numbers": [("words", 300.0)]},
    "item 2": {"categories": ["sport", "short"]},
    "cold, seen": {"categories": ["news"]},
    "cold, unseen": {"categories": ["sport"], "numbers": [("words", 200.0)]},
    "gone": {"categories": ["sport"], "available_to": DAY.start},
}
PLANTED = {
    "not yet": {"categories": ["news", "planted"], "available_from": (DAY + T).start},
    "later": {
        "categories": ["planted"],
        "available_from": (DAY + T).start + timedelta(hours=1),
    },
}
USERS_KNOWN = {f"user {n}": {"categories": [["de", "fi"][n % 2]]} for n in range(6)}


def a_log() -> set[Event]:
    """Six users, three events an hour each; what is told of the device changes over time."""
    events = set()
    for user in range(6):
        for hour in range(STOP):
            device = "pager" if hour < T - 4 else "phone" if user < 4 else "desk"
            if hour >= T:
                device = "tv" if user else "fridge"
            context = (("country", "fi"), ("device", device))
            for nth in range(3):
                at_us = DAY_US + hour * HOUR_US + (user * 60 + nth) * US
                item = f"item {(user + hour + nth) % 3}"
                told = context if nth else context[1:]
                events.add(Event(at_us, f"{user} {hour} {nth}", f"user {user}", item, context=told))
    for hour in (1, 4, 7):
        at_us = DAY_US + hour * HOUR_US + 1800 * US
        events.add(Event(at_us, f"cold {hour}", "user 0", "cold, seen"))
    return events


def with_metadata(log: Log, spec: TableSpec, rows: dict[str, dict[str, Any]]) -> None:
    key = spec.schema.names[0]
    content = [{**dict.fromkeys(spec.schema.names), **row, key: name} for name, row in rows.items()]
    log.lake.overwrite(spec, "true", pa.Table.from_pylist(content, spec.schema), {})


def with_rules(log: Log, **changed: object) -> Settings:
    rules = DatasetSettings(**{**log.settings.dataset.model_dump(), **changed})
    return log.settings.model_copy(update={"dataset": rules})


@pytest.fixture(scope="module")
def log(compute: Compute, tmp_path_factory: pytest.TempPathFactory) -> Log:
    made = Log(tmp_path_factory.mktemp("lake"), **RULES)
    made.arrive(a_log())
    sessionize(compute, made.lake, made.settings, HourRange(DAY, DAY + STOP))
    with_metadata(made, ITEMS, {**PLANTED, **ITEMS_KNOWN})
    with_metadata(made, USERS, USERS_KNOWN)
    return made


@pytest.fixture(scope="module")
def base(compute: Compute, log: Log) -> Path:
    return freeze(compute, log.lake, log.settings, DAY + T)


@pytest.fixture(scope="module")
def part(compute: Compute, log: Log, base: Path) -> DataSet:
    hours = HourRange(DAY + T, DAY + STOP)
    return read_dataset(freeze_test_set(compute, log.lake, log.settings, base, hours))


def fields_of(data: DataSet) -> dict[str, tuple[str, ...]]:
    return {field.name: field.values for field in data.manifest.context_fields}


def told_context(data: DataSet) -> dict[tuple[str, int], list[str | None]]:
    """The context of each event in words, by user and time."""
    h = data.histories
    values = list(fields_of(data).values())
    return {
        (user, time_us): [
            known[code - 1] if code else None for known, code in zip(values, codes, strict=True)
        ]
        for user, time_us, codes in zip(
            h.user_ids[h.user_of_event], h.time_us.tolist(), h.context.tolist(), strict=True
        )
    }


def tokens(features: Features | None, row: int) -> list[str]:
    assert features is not None
    found = features.token[features.offsets[row] : features.offsets[row + 1]]
    return sorted(features.token_names[found])


def test_context_is_coded_by_what_the_window_told(base: Path, log: Log) -> None:
    data = read_dataset(base)
    assert fields_of(data) == {"device": ("phone", "desk"), "country": ("fi",)}
    said = {(event.user, event.time_us): dict(event.context) for event in log.events}
    found = told_context(data)
    assert {key[1] < DAY_US + 2 * HOUR_US for key in found} == {True, False}
    for key, (device, country) in found.items():
        expected = said[key]["device"]
        # Before the window there were pagers, which nobody may learn from.
        assert device == (None if expected == "pager" else expected)
        assert country == said[key].get("country")


def test_cold_items_come_last_and_nothing_is_learned_from_them(base: Path) -> None:
    data = read_dataset(base)
    assert data.item_ids.tolist()[3:] == ["cold, seen", "cold, unseen"]
    assert (data.item_events > 0).tolist() == [True] * 3 + [False] * 2
    assert data.manifest.n_cold_items == 2
    assert set(data.histories.item.tolist()) == {1, 2, 3}
    assert set(data.popularity.item.tolist()) == {1, 2, 3}


def test_features_of_items_and_users(base: Path) -> None:
    data = read_dataset(base)
    rows = {item: tokens(data.item_features, row) for row, item in enumerate(data.item_ids)}
    assert rows == {
        "item 0": ["category:news", "category:short"],
        "item 1": ["category:news"],
        "item 2": ["category:short", "category:sport"],
        "cold, seen": ["category:news"],
        "cold, unseen": ["category:sport"],
    }
    items, users = data.item_features, data.user_features
    assert items is not None
    assert users is not None
    assert items.number_names.tolist() == ["words"]
    place = {item: row for row, item in enumerate(data.item_ids)}
    found = [items.numbers[place[item], 0] for item in ("item 0", "item 1", "item 2")]
    assert found == pytest.approx([-(1.5**0.5), 1.5**0.5, 0])
    assert [tokens(users, row) for row in range(3)] == [
        ["category:de"],
        ["category:fi"],
        ["category:de"],
    ]


def test_a_test_part_speaks_the_terms_of_its_data_set(part: DataSet, base: Path) -> None:
    old = read_dataset(base)
    assert part.manifest.context_fields == old.manifest.context_fields
    of_window = part.histories.context[part.histories.is_target]
    assert set(of_window[:, 0].tolist()) == {0}  # nobody had a television or a fridge before
    assert set(of_window[:, 1].tolist()) == {0, 1}
    assert (part.folder / "item_features.parquet").read_bytes() == (
        old.folder / "item_features.parquet"
    ).read_bytes()
    assert [tokens(part.user_features, row) for row in range(2)] == [
        ["category:de"],
        ["category:fi"],
    ]
    assert part.item_events.tolist() == old.item_events.tolist()


def test_cold_items_are_targets_of_a_test_part(part: DataSet) -> None:
    counts = Counter(part.item_ids[part.histories.item[part.histories.is_target] - 1])
    assert counts["cold, seen"] == 1


def test_what_is_told_later_changes_nothing(compute: Compute, base: Path, tmp_path: Path) -> None:
    """A lake that ends at T, with no metadata of what becomes available later."""
    past = Log(tmp_path, **RULES)
    past.arrive(event for event in a_log() if event.time_us < DAY_US + T * HOUR_US)
    sessionize(compute, past.lake, past.settings, HourRange(DAY, DAY + T))
    with_metadata(past, ITEMS, ITEMS_KNOWN)
    with_metadata(past, USERS, USERS_KNOWN)
    again = freeze(compute, past.lake, past.settings, DAY + T)
    assert again.name == base.name
    for path in again.glob("[!.]*.parquet"):
        assert path.read_bytes() == (base / path.name).read_bytes(), path.name
    assert (again / "manifest.json").read_bytes() == (base / "manifest.json").read_bytes()


def test_what_is_told_before_is_part_of_the_name(
    compute: Compute, log: Log, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def named(settings: Settings, items: dict[str, Any], users: dict[str, Any]) -> str:
        with_metadata(log, ITEMS, items)
        with_metadata(log, USERS, users)
        with suppress(InterruptedError):
            freeze(compute, log.lake, settings, DAY + T)
        return made.pop()

    def note(went_in: dict[str, Any]) -> str:
        made.append(digest(went_in))
        return made[-1]

    def stop(*_: object) -> None:
        raise InterruptedError

    made: list[str] = []
    digest = build._digest
    monkeypatch.setattr(build, "_digest", note)
    monkeypatch.setattr(build, "_fitted", stop)
    other = {"categories": ["news"]}
    names = [
        named(log.settings, {**ITEMS_KNOWN, "item 2": other}, USERS_KNOWN),
        named(log.settings, ITEMS_KNOWN, {**USERS_KNOWN, "user 2": other}),
        named(with_rules(log, text_tokens=True), ITEMS_KNOWN, USERS_KNOWN),
        named(with_rules(log, context=("country", "device")), ITEMS_KNOWN, USERS_KNOWN),
        named(log.settings, {**ITEMS_KNOWN, **PLANTED}, USERS_KNOWN),
    ]
    assert len({*names, base.name}) == len(names)
    assert names[-1] == base.name


def test_extending_keeps_codes_and_appends(compute: Compute, log: Log, base: Path) -> None:
    old = read_dataset(base)
    settings = with_rules(log, max_context_values=3)
    new = read_dataset(freeze(compute, log.lake, settings, DAY + STOP, base))
    # There is room for one more device, and fridges are rarer.
    assert fields_of(new) == {"device": ("phone", "desk", "tv"), "country": ("fi",)}
    assert new.item_ids.tolist()[:5] == old.item_ids.tolist()
    assert new.item_ids.tolist()[5:] == ["later", "not yet"]
    assert old.item_features is not None
    assert new.item_features is not None
    known = len(old.item_features.token_names)
    assert new.item_features.token_names.tolist()[:known] == old.item_features.token_names.tolist()
    assert new.item_features.token_names.tolist()[known:] == ["category:planted"]
    assert new.manifest.item_numbers == old.manifest.item_numbers


def test_made_again_every_file_has_the_same_bytes(
    compute: Compute, spark: SparkSession, log: Log, tmp_path: Path
) -> None:
    """Shards, vocabulary, popularity, features, manifest, lineage: of a data set and a test part.

    By whichever engine; of Spark, a shard's rows come to its writer from as many tasks as there are
    partitions.
    """
    hours = HourRange(DAY + T, DAY + STOP)
    by_spark = Compute(lambda: spark, from_mib=0)
    made = []
    for folder, engine, number in (("in process", compute, "2"), ("by Spark", by_spark, "7")):
        work = tmp_path / folder
        rules = {"events_per_shard": 100, "support_passes": "fixed_point"}
        settings = with_rules(log, **rules).model_copy(update={"work": work})
        before = spark.conf.get("spark.sql.shuffle.partitions")
        spark.conf.set("spark.sql.shuffle.partitions", number)
        try:
            base = freeze(engine, log.lake, settings, DAY + T)
            freeze_test_set(engine, log.lake, settings, base, hours)
        finally:
            spark.conf.set("spark.sql.shuffle.partitions", str(before))
        made.append({p.relative_to(work): p.read_bytes() for p in work.rglob("*") if p.is_file()})
    assert made[0].keys() == made[1].keys()
    names = [path.name for path in made[0]]
    assert names.count("part-00001.parquet") == 2, "only one shard"
    assert names.count("item_features.parquet") == names.count("manifest.json") == 2
    assert len(read_manifest(base).steps) == 7, "but one pass of the support filter"
    assert [path for path, content in made[0].items() if made[1][path] != content] == []


def test_one_file_is_the_same_however_its_rows_came(tmp_path: Path) -> None:
    rows = pa.table({"user_id": ["a", "b", "c", "d"], "item": [[1, 2], [], [1], None]})
    noted = rows.replace_schema_metadata({"made by": "another"})
    pieces = pa.concat_tables([noted.slice(0, 1), noted.slice(1, 2), noted.slice(3)])
    for name, table in (("whole", rows), ("pieces", pieces)):
        write_table(table, tmp_path / name)
    assert (tmp_path / "whole").read_bytes() == (tmp_path / "pieces").read_bytes()


def test_a_context_field_that_no_event_has(compute: Compute, log: Log) -> None:
    settings = with_rules(log, context=("device", "browser"))
    with pytest.raises(
        HourglassError, match="field 'browser': those that occur are country, device"
    ):
        freeze(compute, log.lake, settings, DAY + T)


def test_without_the_settings_there_is_no_context_and_no_cold_item(
    compute: Compute, log: Log, base: Path
) -> None:
    settings = with_rules(log, context=(), cold_items=False)
    data = read_dataset(freeze(compute, log.lake, settings, DAY + T))
    old = read_dataset(base)
    assert data.folder != old.folder
    assert data.histories.context.shape == (len(data.histories.item), 0)
    assert data.item_ids.tolist() == old.item_ids.tolist()[:3]
    assert data.manifest.n_cold_items == 0
    assert data.histories.item.tolist() == old.histories.item.tolist()
