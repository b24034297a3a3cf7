"""What the guide says of Airflow is what the Airflow that is installed knows."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
from pathlib import Path

import pytest
import yaml
from workplace import ROOT, workplace

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TEXTS = [*PAGES, *sorted((ROOT / "dags").glob("*.py")), ROOT / "dags" / "airflow.env"]
TEXTS += [ROOT / "docker" / "compose.yaml"]
PARSE = """
import contextlib, io, json, sys
from airflow.cli.cli_parser import get_parser
parser, refusals = get_parser(), []
for words in json.loads(sys.argv[1]):
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            parser.parse_args(words)
    except SystemExit:
        refusals.append([words, said.getvalue()])
print("REFUSALS" + json.dumps(refusals))
"""


def commands(text: str) -> list[list[str]]:
    """The arguments of `dags/airflow.sh` that a text names, in a block of commands or in a line."""
    joined = re.sub(r"\\\\?\n\s*", " ", text)
    named = re.findall(r"dags/airflow\.sh ([a-z][^`\n]*)", joined)
    # In a line of prose the command ends with its quotes.
    return [shlex.split(line) for line in named]


def test_commands_are_found_in_blocks_and_in_lines() -> None:
    block = "dags/airflow.sh backfill create \\\\\n  --x '{\"a\": 1}'\n"
    text = f"`dags/airflow.sh dags list` and\n\n{block}"
    assert commands(text) == [["dags", "list"], ["backfill", "create", "--x", '{"a": 1}']]


def test_airflow_takes_the_commands_of_the_guide(tmp_path: Path) -> None:
    named = [words for path in TEXTS for words in commands(path.read_text(encoding="utf-8"))]
    whole = [
        words for words in named if len(words) > 2 and words[0] in ("dags", "backfill", "tasks")
    ]
    assert len(whole) > 5
    place = workplace(tmp_path, AIRFLOW_HOME=str(tmp_path / "airflow"))
    done = place.run("python", "-c", PARSE, json.dumps(whole))
    assert "REFUSALS" in done.stdout, done.stdout
    assert json.loads(done.stdout.partition("REFUSALS")[2]) == []


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_settings_of_airflow_exist(path: Path) -> None:
    package = importlib.util.find_spec("airflow")
    assert package is not None and package.submodule_search_locations
    folder = Path(package.submodule_search_locations[0])
    known = yaml.safe_load((folder / "config_templates" / "config.yml").read_text(encoding="utf-8"))
    text = path.read_text(encoding="utf-8")
    named = re.findall(r"\bAIRFLOW__([A-Z_]+?)__([A-Z_]+)", text)
    named += re.findall(r"\[([a-z_]+)\] ([a-z_]+)", text)
    unknown = [
        (section, option)
        for section, option in named
        if option.lower() not in known.get(section.lower(), {"options": {}})["options"]
    ]
    assert unknown == []
