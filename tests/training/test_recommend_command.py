"""What `--as-of` may be."""

from __future__ import annotations

import pytest

from pipeline.errors import UsageError
from training.cli.recommend import time_of


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2016-03-14T13", "2016-03-14T13:00:00+00:00"),
        ("2016-03-14T13:45", "2016-03-14T13:45:00+00:00"),
        ("2016-03-14T13:45:10Z", "2016-03-14T13:45:10+00:00"),
        ("2016-03-14T13:45+02:00", "2016-03-14T11:45:00+00:00"),
    ],
)
def test_a_time_is_an_hour_or_lies_within_one(text: str, at: str) -> None:
    assert time_of(text).isoformat() == at


@pytest.mark.parametrize("text", ["", "now", "2016-03-14", "13:45", "2016-03-14T25:00"])
def test_anything_else_is_no_time(text: str) -> None:
    with pytest.raises(UsageError, match="is not a time: write it like 2016-03-14T13"):
        time_of(text)
