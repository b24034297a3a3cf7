"""Each scenario's effect, counted from the files that it wrote."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import pandas as pd
import pytest

from pipeline.errors import UsageError
from pipeline.hours import Hour, HourRange
from pipeline.settings.simulator import ScenarioName, SimulatorSettings
from pipeline.settings.source import SourceSettings
from pipeline.simulator import SCENARIOS, simulate
from pipeline.sources import ParsedEvent, Refusal, source_for

START = Hour.parse("2026-01-05T00")
FROM, LENGTH, HOURS = START + 12, 3, 18
FAULT = HourRange(FROM, FROM + LENGTH)
# No other fault: whatever is counted is the scenario's.
WORLD = SimulatorSettings(
    users=1200,
    items_per_day=60,
    late_rate=0,
    duplicate_rate=0,
    malformed_rate=0,
    robot_rate=0.02,
    scenario_from=str(FROM),
    scenario_hours=LENGTH,
)
Record = dict[str, Any]


@dataclass
class Log:
    """The files of a simulation, read as plain JSON lines."""

    folder: Path

    @cached_property
    def files(self) -> dict[str, bytes]:
        paths = sorted((self.folder / "landing").glob("*/*.gz"))
        return {p.relative_to(self.folder / "landing").as_posix(): p.read_bytes() for p in paths}

    @cached_property
    def by_arrival(self) -> dict[Hour, list[Record]]:
        found: dict[Hour, list[Record]] = {START + h: [] for h in range(HOURS)}
        for name, content in self.files.items():
            lines = gzip.decompress(content).splitlines()
            found[Hour.parse(name[:13])] += [json.loads(line) for line in lines]
        return found

    def arrived(self, hours: HourRange = FAULT) -> list[Record]:
        return [record for hour in hours for record in self.by_arrival[hour]]

    def truth(self) -> pd.DataFrame:
        return pd.read_parquet(self.folder / "truth" / "events.parquet")


def simulated(folder: Path, scenario: str | None, seed: int = 0) -> Log:
    settings = WORLD.model_copy(update={"scenario": scenario, "seed": seed})
    hours = HourRange(START, START + HOURS)
    simulate(settings, folder / "landing", folder / "truth", hours)
    return Log(folder)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str | None], Log]:
    made: dict[str | None, Log] = {}

    def of(scenario: str | None) -> Log:
        if scenario not in made:
            made[scenario] = simulated(tmp_path_factory.mktemp(scenario or "usual"), scenario)
        return made[scenario]

    return of


LogOf = Callable[[str | None], Log]


def time_of(record: Record) -> datetime:
    return datetime.fromisoformat(record["ts"])


def share(records: list[Record], has: Callable[[Record], bool]) -> float:
    return sum(map(has, records)) / len(records)


def by_id(records: list[Record]) -> dict[str, Record]:
    return {record["id"]: record for record in records}


class TestAllScenarios:
    def test_every_name_of_the_settings_is_described(self) -> None:
        assert set(SCENARIOS) == set(get_args(ScenarioName))
        assert all(name == scenario.name for name, scenario in SCENARIOS.items())

    @pytest.mark.parametrize("name", SCENARIOS)
    def test_the_hours_before_are_byte_for_byte_the_same(self, name: str, log: LogOf) -> None:
        usual, faulty = log(None).files, log(name).files
        before = [file for file in usual if Hour.parse(file[:13]) < FROM]
        assert len(before) == 12
        assert [file for file in before if faulty[file] != usual[file]] == []
        assert faulty != usual

    @pytest.mark.parametrize("name", SCENARIOS)
    def test_the_same_seed_gives_the_same_bytes(
        self, name: str, log: LogOf, tmp_path: Path
    ) -> None:
        assert simulated(tmp_path, name).files == log(name).files

    def test_another_seed_gives_others(self, log: LogOf, tmp_path: Path) -> None:
        assert simulated(tmp_path, "late_delivery", seed=1).files != log("late_delivery").files

    @pytest.mark.parametrize("name", ["real_spike", "late_delivery", "repeating_producer"])
    def test_a_longer_simulation_continues_a_shorter_one(
        self, name: str, log: LogOf, tmp_path: Path
    ) -> None:
        settings = WORLD.model_copy(update={"scenario": name})
        for first, stop in ((0, 14), (14, HOURS)):
            hours = HourRange(START + first, START + stop)
            simulate(settings, tmp_path / "landing", tmp_path / "truth", hours)
        assert Log(tmp_path).files == log(name).files

    @pytest.mark.parametrize("name", SCENARIOS)
    def test_the_truth_labels_what_lies_in_the_files(self, name: str, log: LogOf) -> None:
        records = pd.read_parquet(log(name).folder / "truth" / "records.parquet")
        for file, content in log(name).files.items():
            of_file = records[records.file == file].sort_values("line")
            ids = [json.loads(line)["id"] for line in gzip.decompress(content).splitlines()]
            assert ids == of_file.event_id.tolist()

    def test_a_scenario_without_a_first_hour_is_refused(self, tmp_path: Path) -> None:
        world = WORLD.model_copy(update={"scenario": "real_night", "scenario_from": None})
        with pytest.raises(UsageError, match=r"real_night has no first hour.*--scenario-from"):
            simulate(world, tmp_path, tmp_path, HourRange(START, START + 1))

    def test_a_scenario_before_the_world_is_refused(self, tmp_path: Path) -> None:
        world = WORLD.model_copy(update={"scenario": "real_night", "scenario_from": str(START - 1)})
        with pytest.raises(UsageError, match="before the simulated world begins at 2026-01-05T00"):
            simulate(world, tmp_path, tmp_path, HourRange(START, START + 1))


class TestLoadTimes:
    def test_every_record_has_one_of_about_0_8_seconds(self, log: LogOf) -> None:
        loads = [r["load_s"] for r in log(None).arrived(HourRange(START, START + HOURS))]
        assert len(loads) > 3000
        assert sum(loads) / len(loads) == pytest.approx(0.8, abs=0.03)
        assert 0 < min(loads) < max(loads) < 5

    def test_they_are_the_value_of_the_event(self, log: LogOf) -> None:
        parse = source_for(SourceSettings(name="simulator")).parser(None, "events-00.jsonl.gz")
        record = log(None).arrived()[0]
        event = parse(json.dumps(record))
        assert isinstance(event, ParsedEvent)
        assert event.value == record["load_s"]


class TestWhatTheTrackerTells:
    def test_missing_field_loses_the_user_of_three_in_ten(self, log: LogOf) -> None:
        usual, faulty = log(None), log("missing_field")
        assert share(faulty.arrived(), lambda r: "user" not in r) == pytest.approx(0.3, abs=0.04)
        assert all("user" in r for r in faulty.arrived(HourRange(FAULT.stop, FAULT.stop + 3)))
        assert by_id(faulty.arrived()).keys() == by_id(usual.arrived()).keys()
        assert set(faulty.truth().fault) == {"clean", "robot", "scenario"}

    def test_missing_context_has_no_device(self, log: LogOf) -> None:
        usual = by_id(log(None).arrived())
        for record in log("missing_context").arrived():
            assert record == {k: v for k, v in usual[record["id"]].items() if k != "device"}

    def test_wrong_unit_is_a_thousand_times_too_large(self, log: LogOf) -> None:
        usual = by_id(log(None).arrived())
        for record in log("wrong_unit").arrived():
            load_s = usual[record["id"]]["load_s"]
            assert record["load_s"] == pytest.approx(1000 * load_s, abs=1)
            assert record | {"load_s": load_s} == usual[record["id"]]

    def test_wrong_time_unit_is_refused_by_the_source(self, log: LogOf) -> None:
        usual = by_id(log(None).arrived())
        parse = source_for(SourceSettings(name="simulator")).parser(None, "events-00.jsonl.gz")
        for record in log("wrong_time_unit").arrived():
            time = time_of(usual[record["id"]])
            assert record["ts"] == int(time.timestamp() * 1000)
            outcome = parse(json.dumps(record))
            assert isinstance(outcome, Refusal) or outcome.event_time_us < 0

    @pytest.mark.parametrize(("name", "hours"), [("shifted_clock", -3), ("fast_clock", 3)])
    def test_one_of_two_clocks_is_off(self, name: str, hours: int, log: LogOf) -> None:
        usual = by_id(log(None).arrived())
        off = set()
        for record in log(name).arrived():
            before = usual[record["id"]]
            moved = time_of(record) - time_of(before)
            assert moved in (timedelta(0), timedelta(hours=hours))
            assert record | {"ts": before["ts"]} == before
            off.add((record["user"], moved != timedelta(0)))
        assert len(off) == len(dict(off))
        assert sum(wrong for _, wrong in off) / len(off) == pytest.approx(0.5, abs=0.1)

    def test_new_event_type_is_one_click_in_ten(self, log: LogOf) -> None:
        faulty = log("new_event_type")
        assert share(faulty.arrived(), lambda r: r["type"] == "share") == pytest.approx(
            0.1, abs=0.03
        )
        assert all(r["type"] != "share" for r in faulty.arrived(HourRange(START, FROM)))


class TestHowItIsDelivered:
    def test_doubled_batch_brings_the_same_lines_an_hour_later(self, log: LogOf) -> None:
        usual, faulty = log(None).files, log("doubled_batch").files
        again = {name: content for name, content in faulty.items() if "again" in name}
        assert again == {
            f"{hour + 1}/events-00-again.jsonl.gz": usual[f"{hour}/events-00.jsonl.gz"]
            for hour in FAULT
        }
        assert {name: c for name, c in faulty.items() if name not in again} == usual

    def test_stuck_producer_keeps_all_until_the_end(self, log: LogOf) -> None:
        usual, faulty = log(None), log("stuck_producer")
        stopped = FROM.start + timedelta(minutes=20)
        kept = [r for r in usual.arrived() if time_of(r) < stopped]
        held = [r for r in usual.arrived() if time_of(r) >= stopped]
        assert faulty.arrived() == kept
        released = faulty.by_arrival[FAULT.stop]
        assert [r for r in released if time_of(r) < FAULT.stop.start] == held
        assert len(released) == len(held) + len(usual.by_arrival[FAULT.stop])
        assert faulty.by_arrival[FAULT.stop + 1] == usual.by_arrival[FAULT.stop + 1]

    def test_silent_drop_loses_half_of_the_users(self, log: LogOf) -> None:
        usual, faulty = log(None), log("silent_drop")
        left = {r["user"] for r in faulty.arrived()}
        assert faulty.arrived() == [r for r in usual.arrived() if r["user"] in left]
        assert len(left) / len({r["user"] for r in usual.arrived()}) == pytest.approx(0.5, abs=0.1)
        truth = faulty.truth()
        assert set(truth[truth.arrival.isna()].fault) == {"scenario"}
        after = HourRange(FAULT.stop, FAULT.stop + 3)
        assert faulty.arrived(after) == usual.arrived(after)

    def test_late_delivery_loses_nothing(self, log: LogOf) -> None:
        usual, faulty = by_id(log(None).arrived()), log("late_delivery")
        delays_h = []
        for hour, records in faulty.by_arrival.items():
            for record in records:
                happened = Hour.of(time_of(record))
                delays_h.append((hour.index - happened.index, happened in FAULT))
        late = [hours for hours, in_fault in delays_h if in_fault and hours]
        assert {hours for hours, in_fault in delays_h if not in_fault} == {0}
        assert set(late) <= {1, 2, 3}
        assert len(late) / len(usual) == pytest.approx(0.15, abs=0.03)
        # Three hours after the fault everything is there.
        every = HourRange(START, START + HOURS)
        assert by_id(faulty.arrived(every)) == by_id(log(None).arrived(every))


class TestWhoClicks:
    def test_repeating_producer_sends_one_click_with_new_ids_and_times(self, log: LogOf) -> None:
        usual, faulty = log(None), log("repeating_producer")
        known = by_id(usual.arrived(HourRange(START, START + HOURS)))
        made_up = [r for r in faulty.arrived() if r["id"] not in known]
        ((user, item),) = {(r["user"], r["item"]) for r in made_up}
        assert any((r["user"], r["item"]) == (user, item) for r in usual.by_arrival[FROM])
        assert len({r["id"] for r in made_up}) == len({r["ts"] for r in made_up}) == len(made_up)
        assert len(made_up) / len(faulty.arrived()) == pytest.approx(1 / 3, abs=0.03)
        truth = faulty.truth().set_index("event_id")
        assert set(truth.loc[[r["id"] for r in made_up]].fault) == {"scenario"}

    def test_bot_flood_is_twice_the_usual_traffic(self, log: LogOf) -> None:
        usual, faulty = log(None), log("bot_flood")
        robots = {f"u{n:06d}" for n in range(WORLD.users + 2, WORLD.users + 32)}
        flood = [r for r in faulty.arrived() if r["user"] in robots]
        assert {r["user"] for r in flood} == robots
        assert len({r["item"] for r in flood}) == 5
        assert len(flood) / len(usual.arrived()) == pytest.approx(2, abs=0.1)
        rest = Counter(r["user"] for r in faulty.arrived() if r["user"] not in robots)
        assert rest == Counter(r["user"] for r in usual.arrived())

    def test_real_spike_is_of_many_people(self, log: LogOf) -> None:
        usual, faulty = log(None), log("real_spike")
        assert len(faulty.arrived()) / len(usual.arrived()) == pytest.approx(1.5, abs=0.05)
        ((star, clicks),) = Counter(r["item"] for r in faulty.arrived()).most_common(1)
        assert clicks / len(faulty.arrived()) == pytest.approx(0.35, abs=0.03)
        readers = Counter(r["user"] for r in faulty.arrived() if r["item"] == star)
        assert len(readers) > 0.7 * clicks
        assert readers.most_common(1)[0][1] <= LENGTH + 1
        assert "scenario" not in set(faulty.truth().fault)

    def test_real_night_has_a_fifth_fewer_sessions(self, log: LogOf) -> None:
        def sessions(of: Log) -> int:
            truth = of.truth().query("fault != 'robot'")
            first, stop = pd.Timestamp(FROM.start), pd.Timestamp(FAULT.stop.start)
            begun = truth[(truth.session_start >= first) & (truth.session_start < stop)]
            return len(begun.groupby(["user_id", "session_start"]))

        assert sessions(log("real_night")) / sessions(log(None)) == pytest.approx(0.8, abs=0.06)
        assert {r["user"] for r in log("real_night").arrived()} <= {
            r["user"] for r in log(None).arrived()
        }
