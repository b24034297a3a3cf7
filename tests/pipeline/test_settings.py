from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.settings.settings import Settings, load_settings, merge


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("HOURGLASS_"):
            monkeypatch.delenv(name)


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "hourglass.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(tmp_path: Path, text: str) -> str:
    with pytest.raises(UsageError) as caught:
        load_settings(written(tmp_path, text))
    said = str(caught.value)
    assert "\n" not in said
    assert said.startswith(f"{tmp_path / 'hourglass.yaml'}: ")
    return said.removeprefix(f"{tmp_path / 'hourglass.yaml'}: ")


def test_without_a_file_all_is_default(tmp_path: Path) -> None:
    assert load_settings(None) == Settings()
    empty = load_settings(written(tmp_path, ""))
    assert empty.model_dump() == Settings().model_dump()
    assert empty.file == tmp_path / "hourglass.yaml"


def test_the_file_sets_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    settings = load_settings(
        written(tmp_path, "work: /data/w\nsource: {name: delimited, delimiter: ';'}\n")
    )
    assert settings.source.name == "delimited"
    assert settings.source.delimiter == ";"
    assert settings.source.encoding == "utf-8"
    assert settings.resolved_warehouse == Path("/data/w/lake")
    assert settings.resolved_catalog_uri == "sqlite:////data/w/lake/catalog.db"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sorce: {}", "unknown key 'sorce' (did you mean 'source'?): all keys stand in pipeline"),
        ("source: {delimeter: ';'}", "unknown key 'source.delimeter' (did you mean 'delimiter'?)"),
        (
            "source: {columns: {user: u}}",
            "unknown key 'source.columns.user' (did you mean 'user_id'?): all keys",
        ),
        ("source: {columns: {zzz: u}}", "unknown key 'source.columns.zzz': there are event_time"),
        ("models: [{fiel: hrnn}]", "unknown key 'models.0.fiel' (did you mean 'file'?): all keys"),
        (
            "replay: {arms: [{modell: a}]}",
            "unknown key 'replay.arms.0.modell' (did you mean 'model",
        ),
        ("work: a\nwork: b", "key 'work' stands twice, in lines 1 and 2: keep one of them"),
        (
            "source: {name: a}\nwork: w\nsource:\n  path: b",
            "key 'source' stands twice, in lines 1 and 3: keep one",
        ),
        (
            "models:\n- name: a\n  parameters:\n    loss: x\n    loss: y",
            "key 'models.0.parameters.loss' stands twice, in lines 4 and 5",
        ),
        ("work: 's3://bucket/lake'", "work = 's3://bucket/lake': must be a path on this machine"),
        ("source: {path: 'hdfs://n/x'}", "source.path = 'hdfs://n/x': must be a path on this"),
        ("source: {items_path: 'gs://n/x'}", "source.items_path = 'gs://n/x': must be a path on"),
        ("work: ~", "work = None: a path is needed (~ alone is YAML's word for nothing: write '~'"),
        ("quality: {suites: 'http://n/x'}", "quality.suites = 'http://n/x': must be a path on"),
        ("warehouse: 'abfss://c@n/x'", "warehouse = 'abfss://c@n/x': must be a path on this"),
        ("ingest: {max_skew_s: -1}", "ingest.max_skew_s = -1: "),
        ("dataset: {window: 10 hours}", "dataset.window = '10 hours': '10 hours' is not a dura"),
        ("source: {delimiter: ab}", "source.delimiter = 'ab': "),
        ("source: {time_unit: minutes}", "source.time_unit = 'minutes': "),
        ("gate: {max_block_drop: 2}", "gate.max_block_drop = 2: "),
        ("sessions: 5", "sessions = 5: "),
        ("[a, b]", "the settings must be a mapping of sections"),
        ("just words", "the settings must be a mapping of sections"),
        ("a: [1", "not a YAML file: "),
        ("a: b: c", "not a YAML file: "),
    ],
)
def test_a_wrong_file_is_told_in_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    assert refusal(tmp_path, text).startswith(said)


def test_a_file_that_is_not_there_or_not_text_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.yaml: cannot read the settings: No such file"):
        load_settings(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match=r"binary\.yaml: not a YAML file"):
        load_settings(tmp_path / "binary.yaml")


def test_the_environment_beats_the_file_key_by_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, "spark: {master: 'local[2]', driver_memory: 3g}\nwork: here\n")
    monkeypatch.setenv("HOURGLASS_SPARK__MASTER", "local[7]")
    monkeypatch.setenv("HOURGLASS_SESSIONS__GAP_S", "1800")
    monkeypatch.setenv("HOURGLASS_WORK", "/there")
    settings = load_settings(path)
    assert settings.spark.master == "local[7]"
    assert settings.spark.driver_memory == "3g"
    assert settings.sessions.gap_s == 1800
    assert settings.work == Path("/there")


def test_a_wrong_environment_variable_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOURGLASS_SESSIONS__GAP_S", "soon")
    with pytest.raises(UsageError, match=r"sessions\.gap_s = 'soon'"):
        load_settings(None)


def test_a_misspelt_environment_variable_below_a_section_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOURGLASS_SESSIONS__GAPS", "1800")
    with pytest.raises(UsageError, match=r"unknown key 'sessions\.gaps'"):
        load_settings(None)


def test_a_wrong_value_names_where_it_comes_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOURGLASS_SESSIONS__GAP_S", "soon")
    path = written(tmp_path, "sessions: {gap_s: 5}\n")
    with pytest.raises(UsageError, match=r"^HOURGLASS_SESSIONS__GAP_S: sessions\.gap_s = 'soon'"):
        load_settings(path)


def test_home_is_where_a_tilde_leads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    text = (
        "work: ~/lake\nwarehouse: '~'\nquality: {suites: ~}\nsource: {path: 'file:///raw/a%20b'}\n"
    )
    settings = load_settings(written(tmp_path, text))
    assert settings.work == tmp_path / "lake"
    assert settings.resolved_warehouse == tmp_path
    assert settings.source.path == Path("/raw/a b")
    assert settings.quality.suites is None


def test_the_command_line_beats_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, "source: {name: delimited, header: false}\n")
    settings = load_settings(path, {"source": {"name": "json_lines"}})
    assert settings.source.name == "json_lines"
    assert settings.source.header is False


def test_settings_cannot_be_changed_by_accident() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings(None).source.name = "other"  # type: ignore[misc]


def test_a_digest_follows_its_sections_and_no_other() -> None:
    plain = load_settings(None)
    other = load_settings(None, {"sessions": {"gap_s": 60}})
    assert plain.digest("source", "ingest") == other.digest("source", "ingest")
    assert plain.digest("sessions") != other.digest("sessions")


NESTED = st.recursive(
    st.dictionaries(st.sampled_from("abc"), st.integers(), max_size=3),
    lambda below: st.dictionaries(st.sampled_from("abc"), below | st.integers(), max_size=3),
    max_leaves=8,
)


def leaves(tree: dict[str, Any], at: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    found: dict[tuple[str, ...], Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            found |= leaves(value, (*at, key))
        else:
            found[(*at, key)] = value
    return found


@given(NESTED, NESTED)
def test_merging_keeps_every_upper_value_and_what_it_does_not_hide(
    base: dict[str, Any], over: dict[str, Any]
) -> None:
    merged = merge(base, over)
    upper, result = leaves(over), leaves(merged)
    # An empty mapping says nothing.
    assert {at: v for at, v in upper.items() if v != {}}.items() <= result.items()
    for at, value in leaves(base).items():
        if not any(at[: len(o)] == o or o[: len(at)] == at for o in upper):
            assert result[at] == value


def test_merging_changes_neither_side() -> None:
    base, over = {"a": {"b": 1, "c": 2}}, {"a": {"b": 3}, "d": {}}
    assert merge(base, over) == {"a": {"b": 3, "c": 2}, "d": {}}
    assert base == {"a": {"b": 1, "c": 2}}
    assert over == {"a": {"b": 3}, "d": {}}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            "sessions: {passive_types: beat}",
            r"sessions.passive_types = 'beat': write a list: \[beat\]",
        ),
        ("source: {event_types: view}", r"source.event_types = 'view': write a list: \[view\]"),
        ("sessions: {passive_types: ['']}", r"sessions.passive_types.0 = '': "),
        (
            "sessions: {passive_types: [beet]}\nsource: {event_types: [view, beat]}",
            r"settings.yaml: sessions.passive_types: 'beet' is none of source.event_types \(view, ",
        ),
        (
            "sessions: {passive_types: [view]}\nsource: {name: delimited}",
            r"all events are of the type 'view' \(source.default_event_type\)",
        ),
        ("source: {explode: ''}", r"source.explode = '': "),
        (
            "source: {path: logs, people_path: logs/people}",
            r"settings.yaml: source: people_path logs/people lies in path logs, ",
        ),
    ],
)
def test_what_can_never_be_meant_is_refused(tmp_path: Path, content: str, sentence: str) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(content)
    with pytest.raises(UsageError, match=sentence):
        load_settings(path)


def test_passive_types_of_logs_that_have_types_pass(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(
        "sessions: {passive_types: [view]}\nsource: {name: delimited, columns: {event_type: kind}}"
    )
    assert load_settings(path).sessions.passive_types == ("view",)
