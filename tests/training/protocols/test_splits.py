"""Each split against a slow reference; and nothing of what follows is told to anybody."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from small_logs import log, random_log, rows_of

from pipeline.hours import DAY_H, US_PER_HOUR
from training.metrics.answers import answers_of
from training.models import build
from training.protocols.events import Log
from training.protocols.protocol import Data, Protocol
from training.protocols.questions import Exam, exam_of, questions_of
from training.protocols.splits import Halves, split_log

DAY_US = DAY_H * US_PER_HOUR
LOG = Data(format="inter")
SPLITS: dict[str, dict[str, Any]] = {
    "last day": {"kind": "last_days", "days": 1},
    "last week": {"kind": "last_days", "days": 3, "validation_days": 2},
    "time share": {"kind": "time_share", "share": 0.8},
    "time share, learned users": {"kind": "time_share", "share": 0.8, "new_users": False},
    "random users": {"kind": "random_users", "learned": 0.6, "tested": 0.3},
    "last sessions": {"kind": "last_sessions", "share": 0.2},
    "leave last out": {"kind": "leave_last_out"},
    "half given": {"kind": "half_given", "users": 5},
}


def protocol(split: dict[str, Any], targets: str = "next", **preparation: Any) -> Protocol:
    is_list = split["kind"] == "half_given"
    return Protocol.model_validate(
        {
            "id": "T", "paper": "none", "title": "a test",
            "data": {"x": {"format": "inter"}},
            "preparation": preparation,
            "split": split,
            "questions": {
                "targets": "list" if is_list else targets,
                "repeats": "keep",
                "k": [3],
                "next_n": [] if is_list else [1, 4],
                "metrics": ["set_recall"],
            },
            "models": {},
        }
    )  # fmt: skip


def halves(events: Log, name: str) -> Halves:
    return split_log(events, protocol(SPLITS[name]).split)


def targets_of(split: Halves) -> list[tuple[str, str, int]]:
    return rows_of(split.tested.take(split.is_target))


def sessions_of(events: Log) -> list[list[tuple[str, str, int]]]:
    by_session = defaultdict(list)
    for session, row in zip(events.session, rows_of(events), strict=True):
        by_session[session].append(row)
    return list(by_session.values())


@pytest.mark.parametrize("seed", range(5))
def test_sessions_go_whole_to_the_side_of_their_end(seed: int) -> None:
    events = random_log(seed)
    last_us = int(events.time_us.max())
    sessions = sessions_of(events)
    day = halves(events, "last day")
    assert targets_of(day) == [e for s in sessions if s[-1][2] >= last_us - DAY_US for e in s]
    assert rows_of(day.learned) == [e for s in sessions if s[-1][2] < last_us - DAY_US for e in s]
    week = halves(events, "last week")
    assert targets_of(week) == [e for s in sessions if s[-1][2] >= last_us - 3 * DAY_US for e in s]
    assert rows_of(week.learned) == [
        e for s in sessions if s[-1][2] < last_us - 5 * DAY_US for e in s
    ]
    share = halves(events, "time share")
    begins_us = np.quantile(events.time_us, 0.8, method="lower")
    assert targets_of(share) == [e for s in sessions if s[-1][2] > begins_us for e in s]
    assert rows_of(share.learned) == [e for s in sessions if s[-1][2] <= begins_us for e in s]


def test_users_of_whom_nothing_was_learned_may_be_left_out() -> None:
    events = log(*[("old", "a", float(second)) for second in range(8)],
                 ("old", "a", 99_999), ("new", "a", 99_999))  # fmt: skip
    assert {user for user, *_ in targets_of(halves(events, "time share"))} == {"old", "new"}
    learned = halves(events, "time share, learned users")
    assert {user for user, *_ in targets_of(learned)} == {"old"}


@pytest.mark.parametrize("seed", range(5))
def test_users_are_on_one_side_only(seed: int) -> None:
    split = halves(random_log(seed, users=20), "random users")
    learned = {user for user, *_ in rows_of(split.learned)}
    tested = {user for user, *_ in rows_of(split.tested)}
    assert (len(learned), len(tested)) == (12, 6)
    assert not learned & tested
    assert split.is_target.all()


@pytest.mark.parametrize("seed", range(5))
def test_each_users_last_sessions_are_asked(seed: int) -> None:
    events = random_log(seed)
    split = halves(events, "last sessions")
    by_user = defaultdict(list)
    for session in sessions_of(events):
        by_user[session[0][0]].append(session)
    wanted, learned = [], []
    for sessions in by_user.values():
        n = max(1, round(len(sessions) * 0.2))
        learned += [event for session in sessions[:-n] for event in session]
        if len(sessions) > 1:
            wanted += [event for session in sessions[-n:] for event in session]
    assert sorted(targets_of(split)) == sorted(wanted)
    assert sorted(rows_of(split.learned)) == sorted(learned)


def test_the_last_event_of_each_user_is_asked() -> None:
    events = log(("a", "x", 0), ("a", "y", 1), ("a", "x", 2), ("b", "z", 0), ("c", "x", 0),
                 ("c", "z", 9))  # fmt: skip
    split = halves(events, "leave last out")
    assert [row[:2] for row in targets_of(split)] == [("a", "x"), ("c", "z")]
    assert [row[:2] for row in rows_of(split.learned)] == [("a", "x"), ("a", "y"), ("c", "x")]


@pytest.mark.parametrize("seed", range(5))
def test_the_second_half_is_asked_of_drawn_users(seed: int) -> None:
    events = random_log(seed)
    split = halves(events, "half given")
    by_user = defaultdict(list)
    for row in rows_of(split.tested):
        by_user[row[0]].append(row)
    assert len(by_user) == 5
    wanted = [row for rows in by_user.values() for row in rows[(len(rows) + 1) // 2 :]]
    assert targets_of(split) == wanted
    assert not {user for user, *_ in rows_of(split.learned)} & set(by_user)


# What is told


def scores_of(exam: Exam) -> tuple[np.ndarray, np.ndarray]:
    """Scores of each request by two models: one that looks at the request, one that does not."""
    scores = []
    for name in ("item_knn", "pop"):
        model = build(name, {})
        model.fit(exam.train, 0, lambda _: None)
        scores.append(model.score(exam.test.histories, exam.questions.requests))
    return scores[0], scores[1]


@pytest.mark.parametrize("name", SPLITS)
def test_no_target_is_learned_from_and_what_follows_changes_no_score(name: str) -> None:
    events = random_log(3)
    chosen = protocol(SPLITS[name])
    before = exam_of(events, chosen, LOG)
    split = split_log(events, chosen.split)
    is_target = np.zeros(len(events), np.bool_)
    wanted = set(targets_of(split))
    is_target[:] = [row in wanted for row in rows_of(events)]
    # The last event of a tested user becomes another one: nobody may see that before it happens.
    last = int(np.flatnonzero(is_target & (np.diff(events.user, append=-1) != 0))[0])
    item = events.item.copy()
    item[last] = (item[last] + 1) % len(events.item_ids)
    planted = Log(**{**vars(events), "item": item})
    after = exam_of(planted, chosen, LOG)
    assert np.array_equal(before.train.histories.item, after.train.histories.item)
    assert np.array_equal(before.train.item_ids, after.train.item_ids)
    assert len(before.questions.requests) == len(after.questions.requests)
    for one, other in zip(scores_of(before), scores_of(after), strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("name", SPLITS)
def test_targets_are_those_of_the_split_on_items_that_were_learned(name: str) -> None:
    events = random_log(4, items=80)
    chosen = protocol(SPLITS[name])
    exam = exam_of(events, chosen, LOG)
    split = split_log(events, chosen.split)
    learned = {item for _, item, _ in rows_of(split.learned)}
    assert set(exam.train.item_ids) == learned
    assert exam.left_out == sum(item not in learned for _, item, _ in targets_of(split))
    histories, requests = exam.test.histories, exam.questions.requests
    asked = [
        (user, exam.test.item_ids[item - 1], int(now_us))
        for user, item, now_us in zip(
            histories.user_ids[requests.user], exam.questions.item, requests.now_us, strict=True
        )
    ]
    known = [row for row in targets_of(split) if row[1] in learned]
    if SPLITS[name]["kind"] == "half_given":
        wanted = set(targets_of(split))
        told = {row[0] for row in rows_of(split.tested) if row not in wanted and row[1] in learned}
        known = list({row[0]: row for row in reversed(known) if row[0] in told}.values())[::-1]
        assert asked == known
        return
    firsts = {}
    for row in rows_of(split.tested):
        if row[1] in learned:
            firsts.setdefault(row[0], row)
    assert sorted(asked) == sorted(row for row in known if firsts[row[0]] != row)
    assert (requests.length > 0).all()


def test_windows_are_asked_once_each_within_themselves() -> None:
    events = log(*[(user, f"i{at % 7}", float(at)) for user in "abcdefgh" for at in range(20)],
                 gap_s=None)  # fmt: skip
    chosen = protocol(SPLITS["random users"], gap_s=None, window_events=8, window_step=4)
    exam = exam_of(events, chosen, LOG)
    requests = exam.questions.requests
    # 20 events of each tested user, less the first, which follows nothing.
    n_users = len({str(user).split("/")[0] for user in exam.test.histories.user_ids})
    assert len(requests) == n_users * 19
    assert requests.length.max() == 7
    assert requests.length[requests.length < 4].tolist() == [1, 2, 3] * n_users


def test_pairs_are_the_distinct_items_that_come_next_in_the_session() -> None:
    events = random_log(6, items=4)
    for targets in ("next", "within_session"):
        chosen = protocol(SPLITS["time share"], targets)
        exam = exam_of(events, chosen, LOG)
        histories, (questions, place) = exam.test.histories, questions_of(
            exam.test, chosen.questions
        )  # fmt: skip
        for at, (user, length) in enumerate(
            zip(questions.requests.user, questions.requests.length, strict=True)
        ):
            event = histories.offsets[user] + length
            stop = event + 1
            while stop < histories.offsets[user + 1] and stop < event + 4:
                if targets == "within_session" and histories.session_start[stop]:
                    break
                stop += 1
            coming = histories.item[event:stop].tolist()
            pairs = questions.row == at
            assert questions.later[pairs].tolist() == list(dict.fromkeys(coming))
            assert place[pairs].tolist() == [coming.index(i) for i in dict.fromkeys(coming)]


def test_the_figures_of_a_list_of_one_next_item_are_those_of_its_rank() -> None:
    exam = exam_of(random_log(7), protocol(SPLITS["time share"]), LOG)
    model = build("item_knn", {})
    model.fit(exam.train, 0, lambda _: None)
    n_items = len(exam.test.item_ids)
    replies = answers_of(
        model, exam.test.histories, exam.questions, n_items, [3], has_chances=False
    )
    nearest = exam.index == 0
    assert np.array_equal(replies.hits[3][nearest], replies.rank <= 3)
