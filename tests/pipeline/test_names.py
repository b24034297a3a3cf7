"""Ids and names that become part of a path."""

from __future__ import annotations

import pytest

from pipeline.errors import UsageError
from pipeline.settings.folders import plain_name

PATHS = {
    "above": "../x",
    "two points": "..",
    "point": ".",
    "nothing": "",
    "absolute": "/etc/passwd",
    "within": "a/b",
    "hidden": ".tmp",
    "option": "-x",
    "line": "a\nb",
    "end of line": "a\n",
    "shell": "x; touch pwned",
    "nul": "a\0b",
    "pattern": "a*",
}


@pytest.mark.parametrize("text", PATHS.values(), ids=PATHS.keys())
def test_what_is_no_plain_name_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"--dataset .* is not an id"):
        plain_name("--dataset", text)


@pytest.mark.parametrize("text", ["hrnn-0123456789ab", "2016-03-14T13-x.json", "_a", "d..1"])
def test_plain_names_pass(text: str) -> None:
    assert plain_name("--dataset", text) == text
