"""Logs on which attention, memories and gates of time must show their effect (SPEC S3, S7-S9)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from synthetic import AS_OF_S, write_dataset

from pipeline.array_types import Bools
from training.data.reader import DataSet, Requests, read_dataset
from training.models import build
from training.models.parts.base import Model

HOUR_S, DAY_S = 3600.0, 86400.0
Event = tuple[str, float]
Log = dict[str, list[Event]]
LEARN: dict[str, Any] = {
    "width": 32,
    "negatives": 0,
    "validation_share": 0.0,
    "device": "cpu",
    "dropout": 0.0,
    "input_dropout": 0.0,
}


def parts(folder: Path, users: Log, n_test: int, vocabulary: list[str]) -> tuple[DataSet, DataSet]:
    """The first ``n_test`` users are asked, the others are learned from."""
    names = list(users)
    base = write_dataset(
        folder / "base", {name: users[name] for name in names[n_test:]}, vocabulary=vocabulary
    )
    test = write_dataset(folder / "test", {name: users[name] for name in names[:n_test]}, base=base)
    return read_dataset(base), read_dataset(test)


def fitted(name: str, data: DataSet, seed: int, **parameters: object) -> Model:
    model = build(name, {**LEARN, **parameters})
    model.fit(data, seed, lambda progress: None)
    return model


def hit_share(model: Model, test: DataSet, is_asked: Callable[[str, int], bool]) -> float:
    """Hits at 1 on the test targets whose item and position in the history are asked for."""
    histories = test.histories
    length = np.arange(len(histories.item)) - histories.offsets[histories.user_of_event]
    ids = [test.item_ids[item - 1] for item in histories.item]
    asked = [is_asked(*each) for each in zip(ids, length, strict=True)]
    return hit_share_of(model, test, np.array(asked))


def hit_share_of(model: Model, test: DataSet, asked: Bools) -> float:
    """Hits at 1 on those events, each asked for at the moment it happened."""
    event = np.flatnonzero(asked)
    best = model.score(test.histories, Requests.before(test.histories, event)).argmax(axis=1) + 1
    return float(np.mean(best == test.histories.item[event]))


def ordered_pairs_log(folder: Path, n_users: int = 120, seed: int = 1) -> tuple[DataSet, DataSet]:
    """S3: two letters, then what their order decides: after ab another answer than after ba."""
    rng = np.random.default_rng(seed)
    letters = [f"l{letter}" for letter in range(6)]
    answers = {}
    for pair in [(a, b) for a in letters for b in letters if a != b]:
        answers[pair] = f"a{len(answers):02d}"
    users: Log = {}
    for user in range(n_users):
        items: list[str] = []
        for _ in range(8):
            first, second = rng.choice(letters, 2, replace=False)
            items += [first, second, answers[first, second]]
        users[f"u{user:03d}"] = [
            (item, AS_OF_S - 40_000 + 60.0 * step) for step, item in enumerate(items)
        ]
    return parts(folder, users, n_users // 4, [*letters, *answers.values()])


N_TOPICS, COMMON, PAUSES = 10, 0.5, 0.65


def topics_log(
    folder: Path, pause_before: str, n_users: int = 240, seed: int = 1
) -> tuple[DataSet, DataSet]:
    """S7: every other event names the user's topic, which an hour's pause draws anew.

    One topic is common, so that whoever knows of a pause bets on it, and whoever does not bets on
    the topic that was.  Pauses lie before events of noise or before those that name a topic: what
    T-GRU forgets is what it knew before the event that it reads.
    """
    rng = np.random.default_rng(seed)
    topics = [f"t{topic}" for topic in range(N_TOPICS)]
    noise = [f"n{item}" for item in range(5)]
    share = np.full(N_TOPICS, (1 - COMMON) / (N_TOPICS - 1))
    share[0] = COMMON
    users: Log = {}
    for user in range(n_users):
        time_s, topic, events = AS_OF_S - 80 * DAY_S, int(rng.choice(N_TOPICS, p=share)), []
        for step in range(30):
            is_noise = step % 2 == 0
            if is_noise == (pause_before == "noise") and rng.random() < PAUSES:
                time_s += float(rng.uniform(1.5, 20)) * HOUR_S
                topic = int(rng.choice(N_TOPICS, p=share))
            else:
                time_s += float(rng.uniform(20, 600))
            events.append((str(rng.choice(noise)) if is_noise else topics[topic], time_s))
        users[f"u{user:03d}"] = events
    return parts(folder, users, n_users // 4, [*topics, *noise])


N_SLOTS, N_DAYS = 6, 6


def slots_log(
    folder: Path, n_users: int = 300, seed: int = 1, clicks_on_habits: bool = False
) -> tuple[DataSet, DataSet]:
    """S8: every four hours an item of the day before at the same hour, and clicks at random.

    ``clicks_on_habits``: on the items that are habits of somebody, so that an item does not tell
    what it was: whoever counts can tell habits from other items by their places otherwise.
    """
    rng = np.random.default_rng(seed)
    habits = [f"h{item:02d}" for item in range(40)]
    noise = habits if clicks_on_habits else [f"n{item:02d}" for item in range(10)]
    users: Log = {}
    for user in range(n_users):
        own = rng.choice(habits, N_SLOTS, replace=False)
        begin_s = AS_OF_S - (N_DAYS + 2) * DAY_S + float(rng.uniform(0, DAY_S))
        events: list[Event] = []
        for day in range(N_DAYS):
            events += [
                (str(own[slot]), begin_s + day * DAY_S + slot * 4 * HOUR_S)
                for slot in range(N_SLOTS)
            ]
            # At full ten minutes, like the habits, never at the same moment.
            extra = rng.choice(np.flatnonzero(np.arange(144) % 24), rng.integers(6), replace=False)
            events += [
                (str(rng.choice(noise)), begin_s + day * DAY_S + 600.0 * int(at)) for at in extra
            ]
        users[f"u{user:03d}"] = sorted(events, key=lambda event: event[1])
    return parts(folder, users, n_users // 4, list(dict.fromkeys([*habits, *noise])))


def after_a_day(test: DataSet) -> Bools:
    """The events of `slots_log` that repeat what the day before had at their hour."""
    histories = test.histories
    user = histories.user_of_event
    age_us = histories.time_us - histories.time_us[histories.offsets[user]]
    moment_us = 1_000_000  # clicks at random are ten minutes away from any slot
    is_slot = (age_us + moment_us) % int(4 * HOUR_S * 1e6) < 2 * moment_us
    is_repeat = np.append(False, np.diff(histories.item) == 0)  # of the item just seen
    return is_slot & (age_us > DAY_S * 1e6 - moment_us) & ~is_repeat


def pairs_log(folder: Path, n_keys: int, n_users: int, seed: int = 1) -> tuple[DataSet, DataSet]:
    """S9: pairs of a key and its value, twice each; then questions on keys.

    The answer to the question of key k is the value of the key that the value of k names.  Values
    are drawn anew for every user; that value v names key v, and question q asks for key q, is not.
    """
    rng = np.random.default_rng(seed)
    keys, values, questions = (
        [f"{kind}{item:02d}" for item in range(n_keys)] for kind in ("k", "v", "q")
    )
    users: Log = {}
    for user in range(n_users):
        around = rng.permutation(n_keys)  # one cycle: no chain comes back after two values
        value_of = dict(zip(around, np.roll(around, -1), strict=True))
        items: list[str] = []
        for key in [*rng.permutation(n_keys), *rng.permutation(n_keys)]:
            items += [keys[key], values[value_of[key]]]
        for key in rng.permutation(n_keys):
            items += [questions[key], values[value_of[value_of[key]]]]
        users[f"u{user:03d}"] = [
            (item, AS_OF_S - 40_000 + 60.0 * step) for step, item in enumerate(items)
        ]
    return parts(folder, users, n_users // 4, [*keys, *values, *questions])
