"""Histories in another model's item numbers keep all that is told of the events that stay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from synthetic import AS_OF_S, Event, Known, write_dataset

from training.data.reader import Requests, read_dataset
from training.metrics.vocabulary_alignment import reencode, reencode_requests


def test_context_and_value_stay_with_their_events(tmp_path: Path) -> None:
    events = [
        Event("a", AS_OF_S - 9, "view", 1.0, {"c": "x"}),
        Event("b", AS_OF_S - 8, "buy", 2.0, {"c": "y"}),
        Event("c", AS_OF_S - 7, "view", 3.0),
        Event("a", AS_OF_S - 6, "view", 4.0, {"c": "z"}),
    ]
    rows = {"ann": events, "bob": events[1:2]}
    folder = write_dataset(
        tmp_path / "d", rows, context=("c",), users_known={"ann": Known(["old"])}
    )
    histories = read_dataset(folder).histories
    # The model knows c as its first item and a as its second, and not b.
    translated, kept = reencode(histories, np.array([1, -1, 0]))
    assert translated.item.tolist() == [2, 1, 2]
    assert translated.value.tolist() == [1, 3, 4]
    assert translated.context.tolist() == [[1], [0], [3]]
    assert translated.context_fields == histories.context_fields
    assert translated.event_types == histories.event_types
    assert translated.user_features is histories.user_features

    asked = Requests(
        np.array([0, 1]), np.array([3, 1]), np.zeros(2, np.int64), np.array([[2], [1]])
    )
    found = reencode_requests(asked, histories.offsets, kept)
    assert found.length.tolist() == [2, 0]
    assert found.context is not None
    assert found.context.tolist() == [[2], [1]]
    assert found.take(np.array([1])).context is not None
    assert found.take(slice(1, 2)).context.tolist() == [[1]]  # type: ignore[union-attr]
