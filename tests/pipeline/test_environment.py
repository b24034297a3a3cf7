from __future__ import annotations

from typing import Any

import pytest

from pipeline.errors import UsageError
from pipeline.settings.environment import environment_values, variable_names
from pipeline.settings.settings import Settings


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("HOURGLASS_SESSION__GAP_S", "HOURGLASS_SESSIONS__GAP_S"),
        ("HOURGLASS_SPRAK__MASTER", "HOURGLASS_SPARK__MASTER"),
        ("HOURGLASS_SESSIONS_GAP_S", "HOURGLASS_SESSIONS__GAP_S"),
        ("HOURGLASS_WROK", "HOURGLASS_WORK"),
        ("HOURGLASS_SOURCE__COLUMNS__USER", "HOURGLASS_SOURCE__COLUMNS__USER_ID"),
        ("HOURGLASS_SOURCE__COLUMNS__USER_ID__X", "HOURGLASS_SOURCE__COLUMNS__USER_ID"),
        ("hourglass_wrok", "HOURGLASS_WORK"),
    ],
)
def test_a_misspelt_variable_is_named_with_a_guess(name: str, meant: str) -> None:
    with pytest.raises(UsageError) as caught:
        environment_values(Settings, {"HOME": "/", name: "1"})
    assert str(caught.value).startswith(f"{name}: unknown key ")
    assert f"(did you mean {meant!r}?)" in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        "HOURGLASS_CONFIG",
        "HOURGLASS_DATASETS",
        "HOURGLASS_RECORD_KEY",
        "HOURGLASS_TEST_KILLS",
        "HOURGLASS_DB_SERVICE_HOST",
        "HOURGLASS_DB_SERVICE_PORT_HTTP",
        "HOURGLASS_PORT",
        "HOURGLASS_DB_PORT_5432_TCP_ADDR",
        "HOURGLASSES",
        "GLASS_WORK",
    ],
)
def test_variables_that_are_no_settings_set_nothing(name: str) -> None:
    assert environment_values(Settings, {name: "anything"}) == {}


@pytest.mark.parametrize(
    ("name", "text", "values"),
    [
        ("WORK", "/w", {"work": "/w"}),
        ("SOURCE__EVENT_TYPES", "view, cart", {"source": {"event_types": ["view", "cart"]}}),
        ("SOURCE__EVENT_TYPES", "view", {"source": {"event_types": ["view"]}}),
        ("SOURCE__EVENT_TYPES", "", {"source": {"event_types": []}}),
        ("SOURCE__EVENT_TYPES", '["a,b"]', {"source": {"event_types": ["a,b"]}}),
        ("DATASET__CONTEXT", "page,device", {"dataset": {"context": ["page", "device"]}}),
        ("CANDIDATE", "hrnn", {"candidate": "hrnn"}),
        ("CANDIDATE", "hrnn,pop", {"candidate": ["hrnn", "pop"]}),
        ("MODELS", '["pop"]', {"models": ["pop"]}),
        ("SOURCE", '{"name": "x"}', {"source": {"name": "x"}}),
        (
            "SOURCE__COLUMNS__CONTEXT__PAGE",
            "5",
            {"source": {"columns": {"context": {"page": "5"}}}},
        ),
        ("INGEST__MAX_LATENESS", "5h", {"ingest": {"max_lateness": "5h"}}),
    ],
    ids=range(12),
)
def test_texts_become_what_the_settings_need(name: str, text: str, values: dict[str, Any]) -> None:
    assert environment_values(Settings, {f"HOURGLASS_{name}": text}) == values


def test_a_key_of_a_section_beats_the_section() -> None:
    given = {"HOURGLASS_SPARK__MASTER": "a", "HOURGLASS_SPARK": '{"master": "b", "x": 1}'}
    assert environment_values(Settings, given) == {"spark": {"master": "a", "x": 1}}


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("MODELS", "pop,hrnn", 'JSON is wanted, like \'["pop", '),
        ("MODELS", '{"a": 1}', "JSON is wanted, like '["),
        ("SOURCE", "name", "JSON is wanted, like '{"),
        ("SOURCE", "[1]", "JSON is wanted, like '{"),
        ("SOURCE__EVENT_TYPES", '["view"', 'JSON is wanted, like \'["view", "cart"]\''),
        ("SOURCE", '{"name": "a", "name": "b"}', "key 'name' stands twice: keep one of them"),
    ],
    ids=range(6),
)
def test_a_text_that_is_not_what_is_needed_is_one_sentence(name: str, text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        environment_values(Settings, {f"HOURGLASS_{name}": text})
    assert str(caught.value).startswith(f"HOURGLASS_{name} = {text!r}: {said}")


def test_every_setting_has_a_variable() -> None:
    names = set(variable_names(Settings))
    assert {"HOURGLASS_WORK", "HOURGLASS_SOURCE__COLUMNS__USER_ID"} <= names
    for name in names:
        try:
            environment_values(Settings, {name: "1"})
        except UsageError as error:
            assert "JSON is wanted" in str(error)
