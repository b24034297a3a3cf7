"""The simulated log against its own truth."""

import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.errors import UsageError
from pipeline.hours import Hour, HourRange
from pipeline.settings.simulator import SimulatorSettings
from pipeline.settings.source import SourceSettings
from pipeline.simulator import SimulationSummary, simulate
from pipeline.sources import ParsedEvent, Refusal, source_for
from pipeline.sources.item_user_metadata import MOST_CHARS, read_metadata
from pipeline.sources.lines import read_lines

HOUR_US = 3_600_000_000
START = Hour.parse("2026-01-05T00")
SMALL = SimulatorSettings(users=300, items_per_day=60, hours=12)


@dataclass
class Simulated:
    landing: Path
    truth: Path
    summary: SimulationSummary

    def table(self, name: str) -> pd.DataFrame:
        return pd.read_parquet(self.truth / f"{name}.parquet")

    def people(self) -> pd.DataFrame:
        """Clicks of people with the item's and the user's truth beside each."""
        events = self.table("events").query("fault != 'robot'")
        with_items = events.merge(self.table("items"), on="item_id", validate="many_to_one")
        return with_items.merge(self.table("users"), on="user_id", validate="many_to_one")

    def records(self) -> list[tuple[Hour, ParsedEvent | Refusal]]:
        """Every record of the landing zone as a pipeline would read it."""
        source = source_for(SourceSettings(name="simulator"))
        records = []
        for path in sorted(self.landing.glob(source.pattern)):
            parse = source.parser(None, path.name)
            hour = source.arrival_hour(str(path))
            assert hour is not None
            for line in read_lines(path):
                outcome = Refusal(line.reason) if line.reason else parse(line.text)
                records.append((hour, outcome))
        return records


def run(
    folder: Path, settings: SimulatorSettings, first: Hour = START, hours: int | None = None
) -> Simulated:
    stop = START + (hours or settings.hours)
    summary = simulate(settings, folder / "landing", folder / "truth", HourRange(first, stop))
    return Simulated(folder / "landing", folder / "truth", summary)


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Simulated:
    """Two days with every fault, often enough to count."""
    settings = SimulatorSettings(
        users=1500, hours=48, late_rate=0.1, duplicate_rate=0.05, malformed_rate=0.05
    )
    return run(tmp_path_factory.mktemp("world"), settings)


class TestFiles:
    def test_the_same_seed_gives_the_same_bytes(self, tmp_path: Path) -> None:
        first, second = (run(tmp_path / name, SMALL) for name in "ab")
        assert digests(first.landing) == digests(second.landing)
        assert digests(first.truth) == digests(second.truth)
        other = run(tmp_path / "c", SMALL.model_copy(update={"seed": 1}))
        assert set(digests(other.landing).values()).isdisjoint(digests(first.landing).values())

    def test_no_clock_is_written_into_the_files(self, world: Simulated) -> None:
        stored = (world.landing / "2026-01-05T13" / "events-00.jsonl.gz").read_bytes()
        assert stored[4:8] == bytes(4)

    def test_a_longer_simulation_continues_a_shorter_one(self, tmp_path: Path) -> None:
        whole = run(tmp_path / "whole", SMALL, hours=30)
        parts = run(tmp_path / "parts", SMALL, hours=7)
        parts = run(tmp_path / "parts", SMALL, first=START + 7, hours=30)
        assert digests(parts.landing) == digests(whole.landing)
        assert digests(parts.truth) == digests(whole.truth)

    def test_there_is_a_file_for_every_hour_and_nothing_half_written(
        self, world: Simulated
    ) -> None:
        names = [path.relative_to(world.landing).as_posix() for path in world.landing.rglob("*.*")]
        hours = [str(START + hour) for hour in range(48)]
        assert sorted(names) == [f"{hour}/events-00.jsonl.gz" for hour in hours] + ["items.jsonl"]

    def test_an_hour_may_be_spread_over_files(self, tmp_path: Path) -> None:
        one = run(tmp_path / "one", SMALL)
        three = run(tmp_path / "three", SMALL.model_copy(update={"files_per_hour": 3}))
        assert three.summary.files == 36
        assert three.records() == one.records()
        assert (three.landing / "2026-01-05T03" / "events-02.jsonl.gz").is_file()

    def test_hours_outside_the_world_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="the simulated world begins at 2026-01-05T00"):
            run(tmp_path, SMALL, first=START - 1)


class TestFaults:
    def test_the_landing_zone_holds_what_the_truth_counts(self, world: Simulated) -> None:
        robots = set(world.table("users").query("robot").user_id)
        found = {str(START + hour): Counter() for hour in range(48)}
        seen = set()
        for hour, outcome in world.records():
            of_hour = found[str(hour)]
            of_hour["records"] += 1
            if isinstance(outcome, Refusal):
                of_hour["malformed"] += 1
                continue
            if outcome.event_key in seen:
                of_hour["duplicate"] += 1
            elif outcome.user_id in robots:
                of_hour["robot"] += 1
            elif outcome.event_time_us // HOUR_US < hour.index:
                of_hour["late"] += 1
            else:
                of_hour["clean"] += 1
            seen.add(outcome.event_key)
        counted = json.loads((world.truth / "faults.json").read_text())
        assert {hour: dict(counts) for hour, counts in found.items()} == {
            hour: {fault: n for fault, n in counts.items() if n} for hour, counts in counted.items()
        }
        totals = sum(found.values(), Counter())
        assert world.summary.records == totals.pop("records")
        assert world.summary.faults == dict(totals)

    def test_rates_are_kept(self, world: Simulated) -> None:
        events = world.table("events")
        people = events.query("fault != 'robot'")
        records = world.table("records").fault.value_counts()
        assert (people.fault == "late").mean() == pytest.approx(0.1, abs=0.01)
        assert records["duplicate"] / len(events) == pytest.approx(0.05, abs=0.006)
        assert records["malformed"] / len(events) == pytest.approx(0.05, abs=0.006)
        assert (events.fault == "robot").mean() == pytest.approx(0.02, abs=0.006)

    def test_every_record_is_labelled_where_it_lies(self, world: Simulated) -> None:
        records = world.table("records")
        for name, of_file in records.groupby("file"):
            lines = list(read_lines(world.landing / name))
            assert [line.number for line in lines] == of_file.line.tolist()
            whole = of_file[of_file.fault != "malformed"]
            texts = {line.number: line.text for line in lines}
            ids = [json.loads(texts[number])["id"] for number in whole.line]
            assert ids == whole.event_id.tolist()

    def test_whole_records_tell_the_truth(self, world: Simulated) -> None:
        truth = world.table("events").set_index("event_id")
        times_us = truth.event_time.astype("datetime64[us, UTC]").astype("int64")
        rows = zip(times_us, truth.user_id, truth.item_id, strict=True)
        told = dict(zip(truth.index, rows, strict=True))
        arrived = set()
        for _, outcome in world.records():
            if isinstance(outcome, ParsedEvent):
                row = (outcome.event_time_us, outcome.user_id, outcome.item_id)
                assert row == told[outcome.event_key]
                arrived.add(outcome.event_key)
        assert arrived == set(truth.index[truth.arrival.notna()])
        assert set(truth.fault[truth.arrival.isna()]) == {"late"}

    def test_without_rates_the_log_is_clean(self, tmp_path: Path) -> None:
        rates = ("late_rate", "duplicate_rate", "malformed_rate", "robot_rate")
        clean = run(tmp_path, SMALL.model_copy(update=dict.fromkeys(rates, 0.0)))
        records = clean.records()
        assert all(isinstance(outcome, ParsedEvent) for _, outcome in records)
        assert all(outcome.event_time_us // HOUR_US == hour.index for hour, outcome in records)
        assert len({outcome.event_key for _, outcome in records}) == len(records)
        assert len(records) == len(clean.table("events")) == clean.summary.faults["clean"]

    def test_robots_never_fall_silent(self, world: Simulated) -> None:
        robots = world.table("events").query("fault == 'robot'").sort_values("event_time")
        gaps = robots.groupby("user_id").event_time.diff().dropna()
        assert gaps.max() < pd.Timedelta(hours=1)


class TestReading:
    def test_dwell_times_have_the_moments_of_their_gamma(self, world: Simulated) -> None:
        dwell_s = world.table("events").query("fault != 'robot'").dwell_s.dropna().to_numpy()
        shape, scale_s = 1.5, 60.0
        tolerance_s = 4 * np.sqrt(shape) * scale_s / np.sqrt(len(dwell_s))
        assert dwell_s.mean() == pytest.approx(shape * scale_s, abs=tolerance_s)
        assert dwell_s.var() == pytest.approx(shape * scale_s**2, rel=0.06)

    def test_true_sessions_are_those_of_the_one_hour_rule(self, world: Simulated) -> None:
        events = world.table("events").query("fault != 'robot'")
        events = events.sort_values(["user_id", "event_time"])
        gap = events.groupby("user_id").event_time.diff()
        starts = gap.isna() | (gap >= pd.Timedelta(hours=1))
        assert (starts == (events.position == 0)).all()
        inner = events[~starts]
        previous_dwell_s = events.dwell_s.shift()[~starts]
        assert np.allclose(gap[~starts].dt.total_seconds(), previous_dwell_s, atol=2e-6)
        assert (inner.session_start < inner.event_time).all()

    def test_no_item_is_read_before_it_is_published(self, world: Simulated) -> None:
        people = world.people()
        assert (people.born <= people.event_time).all()
        path = world.summary.items_path
        lines = read_metadata(path, read_lines(path, "utf-8", MOST_CHARS), "item_id")
        rows = [line.row for line in lines if line.row is not None]
        published = {row["item_id"]: row["available_from"] for row in rows}
        born = world.table("items").set_index("item_id").born
        assert {item: pd.Timestamp(time) for item, time in published.items()} == born.to_dict()

    def test_popularity_lives_for_hours(self, world: Simulated) -> None:
        people = world.people()
        hour = (people.event_time - people.event_time.min()) // pd.Timedelta(hours=1)

        def top(first: int) -> set[str]:
            window = people.item_id[(hour >= first) & (hour < first + 4)]
            return set(window.value_counts().index[:20])

        soon = np.mean([len(top(h) & top(h + 4)) for h in range(0, 40, 4)])
        next_day = np.mean([len(top(h) & top(h + 24)) for h in range(0, 20, 4)])
        assert soon > 6
        assert next_day < 3

    def test_exposure_decides(self, world: Simulated) -> None:
        rank = world.people().front_page_rank.dropna()
        per_place = [(rank <= 10).sum() / 10, rank.between(41, 50).sum() / 10]
        assert per_place[0] > 3 * per_place[1]

    def test_taste_decides(self, world: Simulated) -> None:
        people = world.people()
        rng = np.random.default_rng(0)
        shuffled = rng.permutation(len(people))
        vectors = np.stack(people.vector)
        by_chance = (np.stack(people.taste) * vectors[shuffled]).sum(axis=1)
        assert np.allclose((np.stack(people.taste) * vectors).sum(axis=1), people.affinity)
        assert people.affinity.mean() > by_chance.mean() + 0.25

        items = world.table("items")
        users = world.table("users").query("not robot")
        affinity = np.stack(users.taste) @ np.stack(items.vector).T
        clicks = pd.crosstab(people.user_id, people.item_id).reindex(
            index=users.user_id, columns=items.item_id, fill_value=0
        )
        assert np.corrcoef(affinity.ravel(), clicks.to_numpy().ravel())[0, 1] > 0.05

    def test_taste_without_weight_does_not_decide(self, tmp_path: Path) -> None:
        indifferent = SMALL.model_copy(
            update={"taste_strength": 0.0, "session_strength": 0.0, "related_share": 0.0}
        )
        people = run(tmp_path, indifferent, hours=24).people()
        shuffled = np.random.default_rng(0).permutation(len(people))
        by_chance = (np.stack(people.taste) * np.stack(people.vector)[shuffled]).sum(axis=1)
        assert abs(people.affinity.mean() - by_chance.mean()) < 0.06

    def test_the_next_click_follows_the_story(self, world: Simulated) -> None:
        people = world.people().sort_values(["user_id", "event_time"])
        inside = people.position > 0
        same_story = (people.story == people.story.shift())[inside]
        next_part = (people.part - people.part.shift())[inside][same_story]
        assert 0.3 < same_story.mean() < 0.6
        assert (next_part == 1).mean() == pytest.approx(
            next_part.value_counts(normalize=True).max()
        )

    def test_first_order_transitions_beat_recent_popularity(self, world: Simulated) -> None:
        """Recall@20 of the next item in the session, learned on day one, asked on day two."""
        people = world.people().sort_values("event_time")
        hour = ((people.event_time - people.event_time.min()) // pd.Timedelta(hours=1)).to_numpy()
        item = people.item_id.to_numpy()
        before = people.groupby(["user_id", "session_start"]).item_id.shift().to_numpy()
        follows: dict[str, Counter[str]] = {}
        recent: list[Counter[str]] = [Counter() for _ in range(50)]
        hits, asked = Counter(), 0
        for now in range(48):
            rows = np.flatnonzero(hour == now)
            popular = [i for i, _ in sum(recent[max(now - 10, 0) : now], Counter()).most_common(20)]
            for row in rows if now >= 24 else []:
                if isinstance(before[row], str):
                    known = [i for i, _ in follows.get(before[row], Counter()).most_common(20)]
                    asked += 1
                    hits["popular"] += item[row] in popular
                    hits["transitions"] += item[row] in [*known, *popular][:20]
            for row in rows:
                recent[now][item[row]] += 1
                if isinstance(before[row], str):
                    follows.setdefault(before[row], Counter())[item[row]] += 1
        assert asked > 2000
        assert hits["transitions"] > 1.3 * hits["popular"]

    def test_some_users_read_longer(self, world: Simulated) -> None:
        people = world.people()
        length = people.groupby(["user_id", "session_start"]).size().reset_index(name="events")
        length = length.merge(world.table("users"), on="user_id", suffixes=("", "_true"))
        usual = length.session_events.min()
        binge = length.session_events > usual
        assert length.events[binge].mean() > 2 * length.events[~binge].mean()
        assert length.events[~binge].mean() == pytest.approx(usual, rel=0.1)

    def test_days_have_a_rhythm(self, world: Simulated) -> None:
        per_hour = world.people().event_time.dt.hour.value_counts().sort_index()
        assert per_hour.loc[12:18].mean() > 2 * per_hour.loc[0:5].mean()
