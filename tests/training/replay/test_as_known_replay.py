"""A replay as known: nothing of what came later reaches a fit, a history or a count."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dataset_oracle import Frame, Known, known_events
from hypothesis import Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from known_lakes import arrival_of, arrived_before, lake_of, late_events, some_late
from session_oracle import Event, Rules
from staging import DAY, NO_SPARK, Log
from test_as_known import DATASET, PLAIN, RULES, STOP, as_known, walks
from test_in_memory_dataset import assert_same

from pipeline.dataset.as_known.delays import Delays
from pipeline.dataset.as_known.late_events import read_late_events
from pipeline.dataset.build import freeze
from pipeline.errors import HourglassError
from pipeline.hours import US_PER_HOUR, Hour, HourRange
from pipeline.lake.tables import ITEMS, USERS
from pipeline.settings.learning import EvaluationSettings, ReplaySettings
from pipeline.settings.settings import Settings
from training.data.in_memory import InMemoryDatasets, ReplayLog, read_replay_log
from training.data.reader import DataSet, read_dataset
from training.metrics.ranking import Targets
from training.replay.arms import arms_of
from training.replay.cut import cut_lines, cut_of
from training.replay.known_requests import late_rows
from training.replay.questions import Questions
from training.replay.roll import plan, read_log, roll
from training.replay.store import read_step

POP = {"name": "recent_pop", "model": "recent_pop", "parameters": {"k_h": 3}}
KNN = {"name": "item_knn", "model": "item_knn"}
FIRST = DAY + 18


def with_replay(settings: Settings, as_known: bool = True, step: str = "1h") -> Settings:
    return settings.model_copy(
        update={
            "replay": ReplaySettings(arms=(POP, KNN), as_known=as_known, step=step),  # type: ignore[arg-type]
            "evaluation": EvaluationSettings(k=5, bootstrap_samples=100, repeats="keep"),
        }
    )


def read(log: Log, settings: Settings, since: Hour, stop: int = STOP) -> ReplayLog:
    state = {**log.lake.state(), **{t.name: log.lake.snapshot(t) for t in (ITEMS, USERS)}}
    hours = HourRange(DAY, DAY + stop)
    flat = read_replay_log(log.lake, settings.dataset, hours, state)
    return replace(flat, late=read_late_events(log.lake, settings, state, hours, since))


def questions_of(flat: ReplayLog, settings: Settings, hours: HourRange) -> Questions:
    assert flat.late is not None
    rows = late_rows(flat, flat.late, settings)
    return Questions(InMemoryDatasets(flat, settings), hours, rows)


@pytest.fixture(scope="module")
def late_lake(tmp_path_factory: pytest.TempPathFactory) -> Log:
    events = late_events(walks(11), some_late(0.2, 6))
    return lake_of(tmp_path_factory.mktemp("late"), events, PLAIN, STOP, **DATASET)


def test_a_fit_learns_from_the_data_set_as_known(late_lake: Log) -> None:
    """From one log, hour by hour, what is frozen as known; and as happened it is another."""
    flat = read(late_lake, late_lake.settings, FIRST)
    cuts = InMemoryDatasets(flat, late_lake.settings)
    for as_of in (FIRST, FIRST + 1, FIRST + 5):
        folder = freeze(NO_SPARK, late_lake.lake, as_known(late_lake.settings), as_of)
        data = cuts.train(late_lake.settings.dataset, as_of)[0].data
        frozen = read_dataset(folder)
        assert frozen.manifest.unknown_events
        manifest = frozen.manifest.model_copy(update={"unknown_events": None})
        assert_same(data, replace(frozen, manifest=manifest))
        happened = read_dataset(freeze(NO_SPARK, late_lake.lake, late_lake.settings, as_of))
        assert data.manifest.n_events < happened.manifest.n_events


# What a request knows, in plain Python.


def known_to(event: Event, events: set[Event]) -> set[Event]:
    """What had happened before an event, in the order of the log, and had arrived by its hour."""
    hour = Hour(event.hour)
    return {
        other
        for other in events
        if other < event and (arrival_of(other) < hour or arrival_of(other).index == other.hour)
    }


Told = tuple[str, int, bool, float | None]


def history_by_definition(
    event: Event, events: set[Event], rules: Rules, frame: Frame, types: tuple[str, ...]
) -> tuple[list[Told], bool]:
    """Items, times, starts of sessions and dwell times before a request; whether it starts one."""
    own = {other for other in events if other.user == event.user}
    rows = sorted(
        known_events(known_to(event, own) | {event}, rules, frame, types),
        key=lambda each: each.event,
    )
    starts = first_of_session(rows)
    *before, asked = zip(rows, starts, strict=True)
    assert asked[0].event == event
    return [
        (row.event.item, row.event.time_us, start, row.dwell_s) for row, start in before
    ], asked[1]


def first_of_session(rows: list[Known]) -> list[bool]:
    seen: set[str] = set()
    return [row.session not in seen and not seen.add(row.session) for row in rows]  # type: ignore[func-returns-value]


def histories_asked(data: DataSet, targets: Targets) -> list[tuple[list[Told], bool]]:
    rows, requests = data.histories, targets.requests
    assert requests.starts is not None
    asked = []
    for user, length, starts in zip(requests.user, requests.length, requests.starts, strict=True):
        at = slice(rows.offsets[user], rows.offsets[user] + length)
        dwells = [None if np.isnan(dwell_s) else float(dwell_s) for dwell_s in rows.dwell_s[at]]
        items = data.item_ids[rows.item[at] - 1].tolist()
        times, begins = rows.time_us[at].tolist(), rows.session_start[at].tolist()
        asked.append((list(zip(items, times, begins, dwells, strict=True)), bool(starts)))
    return asked


def comparable(history: list[Told], rules: Rules) -> list[Told]:
    """As the arrays have it.  Sessions that the log names may lie side by side: then a dwell time

    is told by an event that came after the request, in data sets as happened too.
    """
    return [
        (*row[:3], None if row[3] is None or rules.given else float(np.float32(row[3])))
        for row in history
    ]


def check_requests(log: Log, hours: HourRange) -> int:
    """Each request of a step by definition; returns how many know less than what happened."""
    settings = with_replay(log.settings)
    flat = read(log, settings, hours.first, hours.stop.index - DAY.index)
    questions = questions_of(flat, settings, hours)
    if questions.test_set is None:
        return 0
    data, targets = questions.requests
    # All that happened is asked, in the order in which it did.
    frame = Frame(hours.first.index - 17, hours.first.index, hours.stop.index)
    types = settings.dataset.event_types
    rows = known_events(log.events, log.rules, frame, types)
    happened = sorted(
        (row.event for row in rows if row.event.hour >= hours.first.index),
        key=lambda event: (event.user, event),
    )
    items = data.item_ids[targets.item - 1].tolist()
    assert list(zip(items, targets.requests.now_us.tolist(), strict=True)) == [
        (event.item, event.time_us) for event in happened
    ]
    asked = histories_asked(data, targets)
    for event, (history, starts) in zip(happened, asked, strict=True):
        expected, begins = history_by_definition(event, log.events, log.rules, frame, types)
        # The dwell time of the last event is told by the request itself.
        assert comparable(history, log.rules) == comparable(expected, log.rules)
        assert starts == begins
    as_it_happened = histories_asked(questions.test_set.data, questions.to_find)
    return sum(one != other for one, other in zip(asked, as_it_happened, strict=True))


@pytest.mark.parametrize(
    ("name", "step_h", "types"),
    [
        ("plain", 1, ()),
        ("plain", 6, ("view", "beat")),
        ("passive and robots", 4, ("view",)),
        ("sessions of the log", 3, ()),
    ],
)
def test_a_request_knows_what_had_arrived(
    tmp_path: Path, name: str, step_h: int, types: tuple[str, ...]
) -> None:
    events = late_events(walks(12), some_late(0.2, 6, name))
    dataset = {**DATASET, "max_history_events": 500, "event_types": types}
    log = lake_of(tmp_path, events, RULES[name], STOP, **dataset)
    assert check_requests(log, HourRange(FIRST, FIRST + step_h)) > 5


def test_a_request_knows_what_its_person_did_under_another_id(tmp_path: Path) -> None:
    people = {f"user {n:02d}": f"person {n // 3}" for n in range(15)}
    events = late_events(walks(14), some_late(0.2, 6))
    log = lake_of(tmp_path, events, PLAIN, STOP, people, **{**DATASET, "max_history_events": 500})
    log.events = {replace(event, user=people.get(event.user, event.user)) for event in events}
    assert check_requests(log, HourRange(FIRST, FIRST + 3)) > 5


@given(data=st.data())
@hypothesis_settings(max_examples=6, phases=(Phase.explicit, Phase.generate))
def test_whatever_delays_there_are(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Any event may come at any time after, whole hours may come a day late."""
    events = walks(data.draw(st.integers(0, 10_000)), users=6, hours=20)
    delays = data.draw(st.lists(st.sampled_from([0, 0, 1, 3, 8, 24]), min_size=1, max_size=30))
    order = {event.key: place for place, event in enumerate(sorted(events))}
    events = late_events(events, lambda event: delays[order[event.key] % len(delays)])
    rules = RULES[data.draw(st.sampled_from(sorted(RULES)))]
    folder = tmp_path_factory.mktemp("lake")
    wide = {**DATASET, "max_history_events": 500, "min_item_events": 1}
    log = lake_of(folder, events, rules, 20, **wide)
    first = DAY + data.draw(st.integers(10, 16))
    check_requests(log, HourRange(first, first + data.draw(st.integers(1, 4))))


@pytest.mark.parametrize("step_h", [1, 5])
def test_popularity_is_what_had_been_counted_by_the_hour(late_lake: Log, step_h: int) -> None:
    settings = with_replay(late_lake.settings)
    flat = read(late_lake, settings, FIRST)
    questions = questions_of(flat, settings, HourRange(FIRST, FIRST + step_h))
    for hour in questions.hours:
        there = arrived_before(late_lake.events, hour)
        expected = Counter((event.hour, event.item) for event in there)
        counts = questions.popularity_at(hour).counts
        before = counts.hour < hour.index
        assert {
            (int(h), str(flat.item_ids[item])): int(n)
            for h, item, n in zip(
                counts.hour[before], counts.item[before], counts.events[before], strict=True
            )
        } == expected


def ranks_of(log: Log, settings: Settings, stop: int) -> dict[str, Any]:
    hours = HourRange(FIRST, FIRST + stop)
    arms = arms_of(settings, [])
    run = plan(log.lake, settings, hours, arms)
    roll(run, lambda: read_log(log.lake, run), arms)
    return {
        arm.name: [read_step(run.arm_folder(arm), step.first).ranks for step in run.steps]
        for arm in arms
    }


@pytest.mark.parametrize("step", ["1h", "4h"])
def test_the_popular_are_those_that_were_popular_then(late_lake: Log, step: str) -> None:
    """Recent-POP of the last three hours, hour by hour, as counted by hand."""
    settings = with_replay(late_lake.settings, step=step)
    wide = {"window": "18h", "min_item_events": 1, "min_session_events": 1}
    rules = settings.dataset.model_copy(update=wide)
    settings = settings.model_copy(update={"dataset": rules})
    found = ranks_of(late_lake, settings, 4)["recent_pop"]
    flat = read(late_lake, settings, FIRST)
    n_targets = 0
    # What an arm has never met it cannot list, however popular it has become since.
    items = {event.item for event in arrived_before(late_lake.events, FIRST)}
    for ranks in found:
        for time_us, item, rank in zip(ranks.time_us, ranks.item, ranks.rank, strict=True):
            hour = Hour(int(time_us) // US_PER_HOUR)
            there = arrived_before(late_lake.events, hour)
            counts = Counter(e.item for e in there if e.hour >= hour.index - 3 and e.item in items)
            name = str(flat.item_ids[item])
            if not counts[name] or name not in items:
                continue
            # Ties are broken by what the fit has counted, and stand against the model at worst.
            above = sum(n > counts[name] for n in counts.values())
            level = sum(n >= counts[name] for n in counts.values())
            assert above < rank <= level
            n_targets += 1
    assert n_targets > 30


def test_both_cuts_ask_the_same_and_are_kept_apart(late_lake: Log) -> None:
    known, happened = (
        ranks_of(late_lake, with_replay(late_lake.settings, each), 4) for each in (True, False)
    )
    for name in ("recent_pop", "item_knn"):
        for one, other in zip(known[name], happened[name], strict=True):
            for column in ("user", "time_us", "item", "known", "item_age_us"):
                np.testing.assert_array_equal(getattr(one, column), getattr(other, column))
        assert any(
            not np.array_equal(one.rank, other.rank)
            for one, other in zip(known[name], happened[name], strict=True)
        )
    arms = arms_of(with_replay(late_lake.settings), [])
    hours = HourRange(FIRST, FIRST + 4)
    folders = {
        plan(late_lake.lake, with_replay(late_lake.settings, each), hours, arms).folder
        for each in (True, False)
    }
    assert len(folders) == 2


def test_what_is_asked_does_not_depend_on_what_had_arrived(tmp_path: Path) -> None:
    """From an hour on nothing arrives for ten hours: the model stays, and so do the questions."""
    silent_from = (FIRST - 1).index
    events = late_events(walks(15), lambda event: 10 if event.hour >= silent_from else 0)
    short = {**DATASET, "window": "2h", "history": "1h", "min_item_events": 1}
    log = lake_of(tmp_path, events, PLAIN, STOP, **short)
    known, happened = (ranks_of(log, with_replay(log.settings, each), 5) for each in (True, False))
    asked = [len(ranks.item) for ranks in known["recent_pop"]]
    assert min(asked) > 0
    assert asked == [len(ranks.item) for ranks in happened["recent_pop"]]


def test_another_arrival_is_another_replay(late_lake: Log, tmp_path: Path) -> None:
    """The events are the same; only when they came is not."""
    settings = with_replay(late_lake.settings)
    arms, hours = arms_of(settings, []), HourRange(FIRST, FIRST + 2)
    first = plan(late_lake.lake, settings, hours, arms).folder.name
    other = lake_of(
        tmp_path, {replace(event, file=event.file) for event in late_lake.events}, PLAIN, STOP,
        **DATASET,
    )  # fmt: skip
    assert plan(other.lake, settings, hours, arms).folder.name == first
    source = settings.source.model_copy(update={"arrival": "dt=%Y-%m-%d"})
    elsewhere = settings.model_copy(update={"source": source})
    assert plan(other.lake, elsewhere, hours, arms).folder.name != first


def test_where_nothing_is_late_both_cuts_find_the_same(tmp_path: Path) -> None:
    log = lake_of(tmp_path, late_events(walks(13), lambda _: 0), PLAIN, STOP, **DATASET)
    known, happened = (
        ranks_of(log, with_replay(log.settings, each, "3h"), 6) for each in (True, False)
    )
    for name, steps in known.items():
        for one, other in zip(steps, happened[name], strict=True):
            np.testing.assert_array_equal(one.rank, other.rank)


def test_sessions_of_other_events_are_told(late_lake: Log) -> None:
    flat = read(late_lake, late_lake.settings, FIRST)
    assert flat.late is not None
    fewer = flat.late.events.slice(0, flat.late.events.num_rows - 1)
    damaged = replace(
        flat.late, events=fewer, user=flat.late.user[:-1], time_us=flat.late.time_us[:-1],
        known_us=flat.late.known_us[:-1],
    )  # fmt: skip
    with pytest.raises(HourglassError, match="run `hourglass backfill`"):
        late_rows(flat, damaged, late_lake.settings)


def run_command(log: Log, *arguments: str) -> dict[str, Any]:
    from test_replay_command import run

    settings = with_replay(log.settings)
    hours = ("--from", str(FIRST), "--to", str(FIRST + 3))
    said: dict[str, Any] = json.loads(run(settings, *hours, *arguments, as_json=True))
    said["text"] = (settings.path("replay") / Path(said["folder"]).name / "table.md").read_text()
    return said


def test_the_table_says_the_cut_and_how_much_came_late(late_lake: Log) -> None:
    said = run_command(late_lake)
    events = [event for event in late_lake.events if event.hour < (FIRST + 3).index]
    late = [event for event in events if arrival_of(event).index > event.hour]
    n_events = len(events)
    assert said["cut"] == "as known"
    assert said["delays"] == {
        "events": n_events, "late": len(late), "loaded_events": 0, "loaded_hours": 0,
    }  # fmt: skip
    share = f"{len(late):,} of {n_events:,} events ({len(late) / n_events:.2%}) came late."
    assert share in said["text"]
    assert "Cut as known: " in said["text"]
    # Nothing is left to do: the run itself knows how much was late.
    assert run_command(late_lake)["delays"] == said["delays"]
    other = run_command(late_lake, "--as-happened")
    assert (other["cut"], "delays" in other) == ("as happened", False)
    assert "Cut as happened: " in other["text"]
    assert other["folder"] != said["folder"]
    assert other["n_targets"] == said["n_targets"]


def test_hours_that_were_loaded_afterwards_are_told() -> None:
    lines = cut_lines(cut_of(True, Delays(120, 10, 100, 1)))
    assert lines[1:3] == [
        "10 of 120 events (8.33%) came late.",
        "1 hour was loaded afterwards, with 100 events: most of what happened in such an hour "
        "arrived more than 24 h after it. Nothing says when it was first there, so it counts as "
        "known when it happened.",
    ]
