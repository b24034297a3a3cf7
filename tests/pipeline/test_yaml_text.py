from __future__ import annotations

import pytest
import yaml

from pipeline.errors import UsageError
from pipeline.settings.yaml_text import read_yaml


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("a: 1\nb: [1, {c: 2}, {c: 3}]", id="the same key in two mappings"),
        pytest.param("a: &x {b: 1}\nc: *x\nd: *x", id="aliases"),
        pytest.param("a: &x {b: 1}\nc: {<<: *x, b: 2}", id="a merge that is overridden"),
        pytest.param("1: a\n'1': b", id="a number and a text"),
        pytest.param("a: &x [*x]", id="a list that holds itself"),
    ],
)
def test_content_is_what_yaml_says(text: str) -> None:
    assert repr(read_yaml(text, "f")) == repr(yaml.safe_load(text))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("a: 1\n\na: 2", "f: key 'a' stands twice, in lines 1 and 3: ", id="top"),
        pytest.param("{a: 1, a: 1}", "f: key 'a' stands twice, in line 1: keep one", id="one line"),
        pytest.param("x:\n- b: {c: 1,\n  c: 2}", "f: key 'x.0.b.c' stands twice, in lines 2 and 3",
                     id="deep"),
        pytest.param("a: 1\n? a\n: 2", "f: key 'a' stands twice, in lines 1 and 2", id="marked"),
        pytest.param("a: 1\n'a': 2", "f: key 'a' stands twice, in lines 1 and 2", id="quoted"),
        pytest.param("a: 1\n---\nb: 2", "f: not a YAML file: expected a single", id="two"),
        pytest.param("a: 2024-13-45", "f: not a YAML file: month must be in", id="no date"),
        pytest.param("p: hush: x", "f: not a YAML file: mapping values are not allowed here in "
                     "line 1, column 8", id="no mapping"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_sentence_without_the_lines_themselves(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_yaml(text, "f")
    assert str(caught.value).startswith(said)
    assert "hush" not in str(caught.value)
