"""Each known log as settings of its own format, which read the same."""

from __future__ import annotations

import json

import pytest
import yaml

from pipeline.errors import UsageError
from pipeline.settings.source import SourceSettings
from pipeline.sources import SOURCE_NAMES, source_for
from pipeline.sources.known_logs import KNOWN_LOGS
from pipeline.sources.known_logs.as_settings import generic_format, section_of
from training.cli import main as cli

#: Read as other lines, or with a delimiter of two characters.
BY_NAME_ALONE = {
    *("mind", "mind_history", "diginetica", "diginetica_purchases", "netflix", "movielens_dat")
}
#: Types stand in its header.
TYPED = {"movielens"}


@pytest.mark.parametrize("name", sorted(KNOWN_LOGS))
def test_the_settings_read_as_the_name_does(name: str) -> None:
    log = KNOWN_LOGS[name]
    section = section_of(log)
    assert (generic_format(log) is None) == (name in BY_NAME_ALONE)
    assert (section is None) == (name in BY_NAME_ALONE | TYPED)
    if section is None:
        return
    generic = source_for(SourceSettings(**section))
    by_name = source_for(SourceSettings(name=name))
    assert generic.name == generic_format(log)
    # How its files' names tell the arrival is no matter of lines.
    assert generic.rules() == {k: v for k, v in by_name.rules().items() if k != "file_hour"}
    assert (generic.pattern, generic.has_header) == (by_name.pattern, by_name.has_header)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("snowplow", "remove the setting, or name the source 'delimited': hourglass source --name "
         "snowplow prints the settings to begin with"),
        ("segment", "or name the source 'json_lines': hourglass source --name segment prints"),
        ("ga4", "or name the source 'parquet': hourglass source --name ga4 prints"),
        ("movielens", "remove the setting, or name the source 'delimited'"),
        ("mind", "remove the setting; nothing else reads such files"),
        ("access_log", "remove the setting; nothing else reads such files"),
        ("parquet", "fixes it: remove the setting"),
    ],
)  # fmt: skip
def test_what_is_fixed_says_which_source_leaves_it_open(name: str, remedy: str) -> None:
    settings = SourceSettings(name=name, delimiter=";", header=False)
    with pytest.raises(UsageError) as refused:
        source_for(settings)
    assert f"is set, but source {name!r} fixes it: remove the setting" in str(refused.value)
    assert remedy in str(refused.value)
    assert str(refused.value).endswith(remedy) or "prints" in remedy


def test_the_settings_of_a_log_are_printed(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["source", "--name", "snowplow"]) == 0
    text = capfd.readouterr().out
    section = yaml.safe_load(text)["source"]
    assert section["name"] == "delimited"
    assert section["columns"]["item_id"] == "page_urlpath"
    assert source_for(SourceSettings(**section)).rules() == (
        source_for(SourceSettings(name="snowplow")).rules()
    )
    assert cli.run(["source", "--name", "snowplow", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["source"] == section


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("mind", "no settings say what source 'mind' does: nothing else reads such files"),
        ("movielens", "the names in its header have types (rating:float)"),
        ("delimited", "source 'delimited' has no settings of its own"),
        ("imdb", "'imdb' is not a source: use one of"),
    ],
)
def test_what_no_settings_say_is_told(
    name: str, complaint: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["source", "--name", name]) == 2
    assert complaint in capfd.readouterr().err
    assert (name in SOURCE_NAMES) == (name != "imdb")
