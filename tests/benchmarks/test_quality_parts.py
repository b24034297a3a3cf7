"""That the quality benchmark learns from the past alone and asks what it says it asks."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.quality.logs import US_PER_S, Coded, Log, films, log_of, yoochoose
from benchmarks.quality.parts import US_PER_HOUR, Parts, parts_of, split_by_time
from benchmarks.quality.ranking import rule
from pipeline.errors import HourglassError
from pipeline.hours import HOUR_S, Hour
from training.data.reader import DataSet, Histories
from training.metrics.ranking import find_targets
from training.protocols.datasets import catalogue_of, training_set
from training.protocols.metadata import MetadataTable, features_of

NOON_S = Hour.parse("2016-03-14T12").index * 3600


def log(*events: tuple[str, str, float], is_session: bool = False) -> Log:
    """Events (user, item, seconds after noon)."""
    users, items, seconds = zip(*events, strict=True)
    return log_of(
        Coded.of(np.array(users, object)),
        Coded.of(np.array(items, object)),
        np.array([round((NOON_S + s) * US_PER_S) for s in seconds], np.int64),
        gap_s=None if is_session else HOUR_S,
    )


def frozen(events: Log, min_item_events: int) -> DataSet:
    catalogue = catalogue_of(events, min_item_events, HOUR_S)
    return training_set(events, catalogue, Hour.parse("2016-03-14T20"))


def told(data: DataSet) -> dict[str, list[str]]:
    """Each user's items."""
    histories = data.histories
    return {
        user: [
            data.item_ids[item - 1]
            for item in histories.item[histories.offsets[row] : histories.offsets[row + 1]]
        ]
        for row, user in enumerate(histories.user_ids)
    }


def test_sessions_end_after_an_hour_of_silence_and_the_last_event_has_no_dwell_time() -> None:
    events = log(("ann", "a", 0), ("ann", "b", 3599), ("ann", "c", 3599 + 3600), ("bob", "a", 5))
    data = frozen(events, 1)
    assert data.histories.session_start.tolist() == [True, False, True, True]
    assert data.histories.dwell_s.tolist()[0] == 3599
    assert np.isnan(data.histories.dwell_s[1:]).all()
    assert data.histories.dwell_bin.tolist() == [0, 0, 0, 0]  # one dwell time alone has no width


def test_a_session_without_its_first_click_begins_with_the_next() -> None:
    events = log(("ann", "rare", 0), ("ann", "b", 10), ("bob", "b", 0), ("bob", "b", 4000))
    data = frozen(events, 2)
    assert told(data) == {"ann": ["b"], "bob": ["b", "b"]}
    assert data.histories.session_start.tolist() == [True, True, True]


def test_named_sessions_go_on_through_silence() -> None:
    events = log(("s1", "a", 0), ("s1", "b", 7000), is_session=True)
    data = frozen(events, 1)
    assert data.histories.session_start.tolist() == [True, False]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from("uvwx"),
            st.sampled_from("abcde"),
            st.integers(0, 80).map(lambda half_hours: half_hours * 1800),
        ),
        min_size=4,
        max_size=60,
    ),
    st.floats(0.3, 0.9),
)
def test_nothing_at_or_after_t_is_learned_and_every_known_event_from_t_on_is_asked(
    rows: list[tuple[str, str, int]], share: float
) -> None:
    whole = log(*[(user, item, float(second)) for user, item, second in rows])
    begins = int(np.quantile(whole.time_us, share, method="lower")) // US_PER_HOUR
    before = whole.time_us < begins * US_PER_HOUR
    if not before.any() or not np.isin(whole.item[~before], whole.item[before]).any():
        return
    parts = split_by_time(whole, share, 1)
    known = set(whole.item_ids[whole.item[before]])
    assert parts.train.manifest.as_of == Hour(begins)
    assert (parts.train.histories.time_us < begins * US_PER_HOUR).all()
    assert set(parts.train.item_ids) == known
    late = [(u, i, t) for u, i, t in zip(whole.user_ids[whole.user], whole.item_ids[whole.item],
            whole.time_us, strict=True)
            if t >= begins * US_PER_HOUR]  # fmt: skip
    assert parts.left_out_events == sum(item not in known for _, item, _ in late)
    assert _asked(parts) == Counter(event for event in late if event[1] in known)


def _asked(parts: Parts) -> Counter[tuple[str, str, int]]:
    histories = parts.test.histories
    position = find_targets(histories, rule("keep")).position
    return Counter(
        (
            histories.user_ids[histories.user_of_event[at]],
            parts.test.item_ids[histories.item[at] - 1],
            int(histories.time_us[at]),
        )
        for at in position
    )


def test_test_users_bring_their_history_as_context() -> None:
    events = log(("ann", "a", 0), ("ann", "b", 100), ("ann", "a", 90_000), ("bob", "b", 0))
    parts = parts_of(events.take(events.time_us < events.time_us.max()), events, Hour.parse(
        "2016-03-15T12"))  # fmt: skip
    assert told(parts.test) == {"ann": ["a", "b", "a"]}
    assert parts.test.histories.n_context.tolist() == [2]


def test_popularity_is_counted_by_hour_and_the_training_part_ends_at_t() -> None:
    events = log(("ann", "a", 0), ("ann", "a", 60), ("bob", "a", 7200))
    as_of = Hour.parse("2016-03-14T14")
    parts = parts_of(events.take(events.time_us < events.time_us.max()), events, as_of)
    assert parts.train.popularity.events.tolist() == [2]
    assert parts.train.popularity.hour_index.tolist() == [as_of.index - 2]
    assert parts.test.manifest.as_of == as_of + 1
    assert parts.test.popularity.hour_index.tolist() == [as_of.index]


def test_the_files_of_yoochoose_are_split_as_they_are(tmp_path: Path) -> None:
    folder = tmp_path / "yoochoose"
    folder.mkdir()
    header = "SessionId\tItemId\tTime\n"
    (folder / "clicks_train_full.txt").write_text(
        header
        + "1\t10\t1396437466.94\n1\t11\t1396437500.5\n2\t11\t1396437500.5\n2\t12\t1396437502\n"
    )
    (folder / "clicks_test.txt").write_text(
        header + "1\t10\t1396860669.277\n1\t99\t1396860670\n1\t10\t1396860671\n1\t12\t1396860672\n"
    )
    learned, asked = yoochoose(tmp_path)
    parts = parts_of(learned, asked, Hour(int(asked.time_us.min()) // US_PER_HOUR))
    assert sorted(parts.train.item_ids) == ["10", "11", "12"]
    assert parts.left_out_events == 1
    assert told(parts.test) == {"clicks_test-1": ["10", "10", "12"]}
    assert _targets(parts.test.histories, "keep") == [1, 2]
    assert _targets(parts.test.histories, "drop") == [2]


def _targets(histories: Histories, repeats: str) -> list[int]:
    given_rule = rule("keep" if repeats == "keep" else "drop", within_session=True)
    return find_targets(histories, given_rule).position.tolist()


def test_a_folder_without_the_log_is_told(tmp_path: Path) -> None:
    with pytest.raises(HourglassError, match=r"0 files are named \*_train_full"):
        yoochoose(tmp_path)


def test_numbers_are_standardised_by_the_rows_that_are_learned_from() -> None:
    known = MetadataTable(
        np.array(["x", "y", "z"], object),
        [["red"], ["blue", "red"], []],
        {"n": np.array([1.0, 3.0, 9.0])},
    )
    ids = np.array(["z", "unknown", "y", "x"], object)
    features = features_of(known, ids, np.array([False, False, True, True]))
    assert features.numbers[:, 0].tolist() == [7.0, 0.0, 1.0, -1.0]
    assert features.token_names.tolist() == ["blue", "red"]
    assert features.offsets.tolist() == [0, 0, 0, 2, 3]
    assert features.token.tolist() == [0, 1, 1]


@pytest.mark.real
def test_every_film_is_described(datasets_dir: Path) -> None:
    known = films(datasets_dir)
    assert len(known.ids) == 1682
    assert "Animation" in known.tokens[0]
    assert known.numbers["year"][0] == 1995
