"""What README and docs show works as it stands, and the reference pages leave nothing out."""

from __future__ import annotations

import ast
import gzip
import inspect
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
import typer
import yaml
from pydantic import BaseModel, Field

from docs import generate, hooks
from pipeline.hours import Hour, HourRange
from pipeline.lake.lake import Lake
from pipeline.lake.tables import ALL_TABLES, SESSIONS, TableSpec
from pipeline.quality.checks.suite import SUITE_FOLDER, load_suite, suite_values
from pipeline.settings.learning import ModelSettings
from pipeline.settings.settings import Settings, load_settings
from pipeline.simulator import SCENARIOS
from pipeline.sources.known_logs import KNOWN_LOGS
from pipeline.workspace import CommandContext
from training.cli import main as cli
from training.fit.model_configs import resolve
from training.gate.reasons import CHECKS, REASONS
from training.models.hrnn import HrnnParameters
from training.replay.arms import arms_of
from training.tuning.space import space_of

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md")))
}
# Without the former names of commands, which work but are not written about.
COMMANDS: dict[str, Any] = {
    name: command
    for name, command in typer.main.get_command(cli.app).commands.items()  # type: ignore[attr-defined]
    if not command.hidden
}
TUTORIAL = "docs/tutorial.md"
ARCHITECTURE = "docs/architecture.md"
# Programs of others; all other lines of a console are checked.
OTHERS = ("pip ", "pre-commit ")


@cache
def expanded(page: str) -> str:
    """A page as the site has it."""
    return generate.expand(PAGES[page])


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGES[page], re.DOTALL | re.MULTILINE)


def settings_examples() -> Iterator[Any]:
    for page in PAGES:
        if page == "CONTRIBUTING.md":
            continue  # its examples are of models and suites
        for number, text in enumerate(blocks(page, "yaml"), start=1):
            yield pytest.param(text, id=f"{page}-{number}")


def settings_of(tmp_path: Path, text: str) -> Settings:
    (tmp_path / "hourglass.yaml").write_text(text, encoding="utf-8")
    return load_settings(tmp_path / "hourglass.yaml")


def console_lines() -> Iterator[Any]:
    for page in PAGES:
        for text in blocks(page, "console"):
            for line in text.splitlines():
                if line and not line.startswith(OTHERS):
                    yield pytest.param(line, id=f"{page}: {line}")


@pytest.mark.parametrize("text", settings_examples())
def test_every_example_of_settings_is_valid(tmp_path: Path, text: str) -> None:
    settings = settings_of(tmp_path, text)
    given = yaml.safe_load(text)
    assert set(given) <= set(settings.model_fields_set)
    for model in given.get("models", ()):
        if not (isinstance(model, str) and "/" in model):
            assert resolve(next(m for m in settings.models if m.name in str(model))).system


def test_the_settings_of_own_logs_name_their_columns(tmp_path: Path) -> None:
    for page in ("README.md", TUTORIAL):
        (own,) = blocks(page, "yaml")
        settings = settings_of(tmp_path, own)
        assert settings.source.columns.user_id == "customer"
        assert settings.source.event_types == ("view", "cart", "buy")


def test_models_are_those_that_the_examples_mean(tmp_path: Path) -> None:
    models, tune = blocks("docs/models.md", "yaml")
    listed = settings_of(tmp_path, models).models
    assert [resolve(model).system for model in listed[:2]] == ["recent_pop", "hrnn_trend"]
    assert [resolve(model).name for model in listed[3:]] == ["wide", "quick"]
    space = space_of("hrnn", vars(HrnnParameters()), settings_of(tmp_path, tune).tune.space)
    assert space["width"] == (64, 128, 256)
    (lines,) = blocks("docs/hourly-loop.md", "yaml")
    looped = settings_of(tmp_path, lines)
    assert [resolve(model).init_from for model in looped.models] == [
        *("none", "self", "champion", "none"),
    ]
    assert set(looped.candidates) <= {model.name for model in looped.models}
    (arms,) = blocks("docs/replay.md", "yaml")
    rolled = arms_of(settings_of(tmp_path, arms), [])
    assert [arm.settings.mode for arm in rolled[2:]] == ["continued", "offline", "offline"]


@pytest.mark.parametrize("line", console_lines())
def test_every_command_line_is_one_that_the_parser_takes(line: str) -> None:
    words = shlex.split(line.split(" | ", maxsplit=1)[0], comments=True)
    program = words[0].removeprefix(".venv/bin/")
    if program == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
        assert set(words[1:2]) <= set(targets)
        return
    assert program == "hourglass"
    arguments = [word for word in words[1:] if word not in ("--json", "--debug")]
    if arguments[0] == "--config":
        arguments = arguments[2:]
    command = COMMANDS[arguments[0]]
    assert command.make_context(arguments[0], arguments[1:]).command is command


def test_the_tutorials_settings_read_the_tutorials_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "landing" / "2026-11-21T13"
    folder.mkdir(parents=True)
    log = "ts;customer;sku;action;price;ua_class;geo\n1795266000000;c1;s1;buy;9.5;phone;CH\n"
    (folder / "clicks.csv.gz").write_bytes(gzip.compress(log.encode()))
    (text,) = blocks(TUTORIAL, "yaml")
    own = text.replace("/data/landing", str(tmp_path / "landing"))
    (tmp_path / "hourglass.yaml").write_text(own, encoding="utf-8")
    assert cli.run(["backfill", "--plan"]) == 0
    assert "1 file would be taken in first, 2026-11-21T13/clicks.csv" in capfd.readouterr().out
    assert cli.run(["where"]) == 0
    out = capfd.readouterr().out
    page = tmp_path / "work/shop/reports/report.html"
    assert f"report: {page} (not made yet: run hourglass report)" in out
    assert "data_docs/index.html (not made yet: run hourglass validate)" in out
    page.parent.mkdir(parents=True)
    page.touch()
    assert cli.run(["where"]) == 0
    assert f"report: {page}\n" in capfd.readouterr().out


def test_another_program_reads_sessions_per_hour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "work" / "simulator" / "lake"
    lake = Lake(f"sqlite:///{folder}/catalog.db", folder)
    hour = Hour.parse("2026-01-05T03")
    start = datetime(2026, 1, 5, 2, 10, tzinfo=UTC)
    # Two sessions closed in the hour, of two events and of one.
    rows = [("a", 0, start), ("a", 1, start + timedelta(minutes=5)), ("b", 0, start)]
    table = pa.Table.from_pylist(
        [
            {"hour": hour.start, "session_id": session, "position": position, "event_time": time}
            for session, position, time in rows
        ],
        schema=SESSIONS.schema,
    )
    lake.overwrite(SESSIONS, "true", table, {})
    assert lake.arrow(SESSIONS, HourRange(hour, hour + 1)).num_rows == 3
    (program,) = blocks(TUTORIAL, "python")
    printed = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "TZ": "Asia/Tokyo"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert re.search(r"2026-01-05 03:00:00\S* +│ +2 │", printed), printed


# The reference


def section(page: str, heading: str) -> str:
    """What stands below a heading of the second level, up to the next one."""
    match = re.search(
        rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", expanded(page), re.DOTALL | re.MULTILINE
    )
    assert match, f"{page} has no heading {heading!r}"
    return match[1]


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_the_reference_has_every_command_and_option(name: str) -> None:
    text = section("docs/reference/commands.md", name)
    for option in COMMANDS[name].params:
        for spelling in (*option.opts, *option.secondary_opts):
            assert f"`{spelling}`" in text


def test_the_reference_has_every_key_of_the_settings() -> None:
    schema = Settings.model_json_schema()
    page = "docs/reference/settings.md"
    n_keys = 0

    def follow(node: dict[str, Any], path: str) -> None:
        nonlocal n_keys
        for name, entry in node["properties"].items():
            where = f"{path}.{name}" if path else name
            below = entry.get("$ref") or entry.get("items", {}).get("$ref")
            if below:
                follow(schema["$defs"][below.rpartition("/")[2]], where)
            else:
                text = section(page, path) if path else expanded(page).split("\n## ")[0]
                assert re.search(rf"^\| `{name}` \| [^|]+ \| [^|]+ \| ", text, re.MULTILINE), where
                n_keys += 1

    follow(schema, "")
    assert n_keys > 100


def test_the_reference_says_what_feeds_each_field_of_a_known_log() -> None:
    text = expanded("docs/reference/sources.md")
    for name, log in KNOWN_LOGS.items():
        (row,) = re.findall(rf"^\| `{name}` \| `[^\n]*$", text, re.MULTILINE)
        cells = [cell.strip() for cell in row.split("|")]
        columns = log.columns
        for path in (columns.item_id, columns.value, *columns.key_columns, columns.given_session):
            assert path is None or f"`{path}`" in row
        assert cells[5] == (f"`{columns.event_type}`" if columns.event_type else cells[5])
        assert cells[5].startswith("always ") == (columns.event_type is None)
        assert all(f"{key}".replace("_", r"\_") in cells[9] for key in columns.context)
        assert all(f"`{path}`" in cells[9] for path in columns.context.values())


@pytest.mark.parametrize("spec", ALL_TABLES, ids=lambda spec: spec.name)
def test_the_reference_has_every_table_and_column(spec: TableSpec) -> None:
    text = section("docs/reference/tables.md", spec.name)
    assert re.findall(r"^\| `(\w+)`", text, re.MULTILINE) == spec.schema.names


@pytest.mark.parametrize("file", sorted(SUITE_FOLDER.glob("*.yaml")), ids=lambda file: file.stem)
def test_the_reference_has_every_expectation(file: Path) -> None:
    text = section("docs/reference/expectations.md", file.stem)
    names = re.findall(r"^  - name: (\w+)", file.read_text(encoding="utf-8"), re.MULTILINE)
    assert re.findall(r"^\| `(\w+)`", text, re.MULTILINE) == names


def test_every_reason_check_and_scenario_is_explained() -> None:
    pages = "".join(expanded(f"docs/{name}.md") for name in ("gate", "reference/reasons"))
    listed = set(re.findall(r"^\| `(\w+)` \|", pages, re.MULTILINE))
    assert set(REASONS) | set(CHECKS) <= listed
    faults = re.findall(r"^\| `(\w+)` \|", expanded("docs/data-quality.md"), re.MULTILINE)
    assert set(SCENARIOS) <= set(faults)


def test_every_model_type_has_its_parameters() -> None:
    page = "docs/reference/parameters.md"
    for name, kind in generate.parameter_classes().items():
        own = set(inspect.get_annotations(kind))
        assert own <= set(re.findall(r"^\| `(\w+)` \|", section(page, name), re.MULTILINE))


def test_what_is_not_documented_stops_the_site(monkeypatch: pytest.MonkeyPatch) -> None:
    class Section(BaseModel):
        documented: int = Field(1, description="what it is")
        bare: int = 2

    with pytest.raises(generate.UndocumentedError, match="setting bare: "):
        generate.settings_keys(Section)
    nameless = TableSpec("nameless", pa.schema([("hour", pa.int64())]), None)
    monkeypatch.setattr(generate, "ALL_TABLES", (nameless,))
    with pytest.raises(generate.UndocumentedError, match="table nameless: "):
        generate.expand("<!-- generated: tables -->")


def test_a_marker_that_names_nothing_stops_the_site() -> None:
    with pytest.raises(KeyError, match="nonsense"):
        generate.expand("<!-- generated: nonsense -->")


@pytest.mark.parametrize(
    "tag",
    [
        '<script src="https://cdn.example/x.js">',
        "<link rel=stylesheet href=https://fonts.example/a.css>",
        '<img alt="" src="http://images.example/a.png">',
    ],
    ids=["script", "font", "image"],
)
def test_a_page_that_loads_from_another_host_stops_the_site(tag: str) -> None:
    page = SimpleNamespace(file=SimpleNamespace(src_uri="gate.md"))
    own = '<script src="assets/x.js"></script><a href="https://example.org/">a link</a>'
    assert hooks.on_post_page(own, page) == own
    with pytest.raises(ValueError, match=r"gate\.md loads from another host: <"):
        hooks.on_post_page(own + tag, page)


# The pages together


def slug(heading: str) -> str:
    """The anchor of a heading, as Python-Markdown's table of contents has it."""
    plain = re.sub(r"[`*\\]", "", heading)
    return re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower())


def links_of(name: str) -> list[str]:
    text = re.sub(r"^```.*?^```", "", expanded(name), flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"\]\(([^)\s]+)\)", text)


def anchors_of(page: Path) -> list[str]:
    text = expanded(page.resolve().relative_to(ROOT).as_posix())
    return [slug(heading) for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)]


@pytest.mark.parametrize("name", sorted(PAGES))
def test_links_between_pages_resolve(name: str) -> None:
    broken = []
    for link in links_of(name):
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / name).parent / path if path else ROOT / name
        if not target.exists() or (anchor and anchor not in anchors_of(target)):
            broken.append(link)
    assert broken == []


def test_the_sites_menu_has_every_page() -> None:
    menu = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    listed = re.findall(r"[\w/-]+\.md", str(menu))
    assert sorted(f"docs/{page}" for page in listed) == sorted(
        set(PAGES) - {"README.md", "CONTRIBUTING.md"}
    )


@pytest.mark.parametrize("name", sorted(PAGES))
def test_every_path_that_a_page_names_exists(name: str) -> None:
    folders = "benchmarks|dags|docker|docs|pipeline|sql|tests|training"
    paths = re.findall(rf"`((?:{folders})/[\w./-]*)`", PAGES[name])
    assert [path for path in paths if not (ROOT / path).exists()] == []


# What is told of a file beside others, or made by whoever installs.
NO_PAGES = {"table.md"}
NO_FILES = {"docker/.env"}


def broken_references(text: str, folder: Path) -> list[str]:
    """Pages, their anchors and files of this project that a text names and that do not exist."""
    broken = []
    for path, anchor in re.findall(r"(?<![\w./-])([\w./-]+\.md)\b(?:#([\w-]+))?", text):
        places = [place for place in (ROOT / path, folder / path, DOCS / path) if place.exists()]
        if path not in NO_PAGES and not places:
            broken.append(path)
        elif anchor and anchor not in anchors_of(places[0]):
            broken.append(f"{path}#{anchor}")
    folders = "benchmarks|dags|docker|docs|pipeline|sql|tests|training"
    named = re.findall(rf"(?<![\w./-])((?:{folders})/[\w./-]*\w/?)(?![\w{{}}<*])", text)
    broken += [path for path in named if not (path in NO_FILES or (ROOT / path).exists())]
    return sorted(set(broken))


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("see docs/gate.md#the-record-chain, docs/tutorial.md.", []),
        ("sql/<name>.sql, dags/*.py and `training/configs`", []),
        ("see docs/gates.md", ["docs/gates.md"]),
        ("see docs/gate.md#the-chain", ["docs/gate.md#the-chain"]),
        ("as tests/test_nothing.py shows", ["tests/test_nothing.py"]),
    ],
)
def test_a_reference_to_what_is_not_there_is_seen(text: str, broken: list[str]) -> None:
    assert broken_references(text, DOCS) == broken


def test_every_page_and_file_that_the_code_names_exists() -> None:
    suffixes = {".env", ".html", ".py", ".sh", ".sql", ".yaml"}
    folders = ("benchmarks", "dags", "docker", "pipeline", "sql", "training")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*")]
    broken = {
        path.relative_to(ROOT).as_posix(): names
        for path in (ROOT / "Makefile", *sorted(files))
        if (path.suffix in suffixes or path.name in ("Makefile", "Dockerfile"))
        and (names := broken_references(path.read_text(encoding="utf-8"), path.parent))
    }
    assert broken == {}


def test_every_command_that_the_code_names_exists() -> None:
    text = "".join(
        path.read_text(encoding="utf-8")
        for folder in ("dags", "pipeline", "training")
        for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix in (".html", ".py", ".sh", ".yaml")
    )
    named = set(re.findall(r"\bhourglass ([a-z]+)", text)) - {"watch"}  # a former name
    assert len(named) > 15
    assert named <= set(COMMANDS)


def test_the_examples_of_contributing_are_valid(tmp_path: Path) -> None:
    model, expectation = blocks("CONTRIBUTING.md", "yaml")
    (tmp_path / "ours.yaml").write_text(model, encoding="utf-8")
    assert resolve(ModelSettings(file=str(tmp_path / "ours.yaml"))).parameters["width"] == 64
    built_in = (SUITE_FOLDER / "hours.yaml").read_text(encoding="utf-8")
    (tmp_path / "hours.yaml").write_text(built_in + expectation, encoding="utf-8")
    (tmp_path / "ours.yaml").unlink()
    now = datetime(2026, 1, 1, tzinfo=UTC)
    values = suite_values(Hour.of(now), Settings())
    check = load_suite("hours", values, tmp_path).checks[-1]
    assert (check.severity, check.limit) == ("critical", "at most 0.9")
    for text in blocks("CONTRIBUTING.md", "python"):
        ast.parse(text)


def test_the_command_of_contributing_prints_its_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (text,) = [b for b in blocks("CONTRIBUTING.md", "python") if "@app.command()" in b]
    names: dict[str, Any] = {"app": typer.Typer(), "typer": typer, "CommandContext": CommandContext}
    exec(text, names)  # noqa: S102 - of this project's own page
    now = datetime(2026, 1, 1, tzinfo=UTC)
    ctx = CommandContext(Settings(work=tmp_path), now, as_json=True)
    names["where"](SimpleNamespace(obj=ctx))
    assert json.loads(capsys.readouterr().out) == {"report": str(tmp_path / "reports")}


def test_the_walks_through_the_code_name_functions_that_exist() -> None:
    walks = re.findall(r"`((?:pipeline|training)/[\w/]+\.py): (\w+)\(\)`", PAGES[ARCHITECTURE])
    assert len(walks) > 30
    for path, name in walks:
        text = (ROOT / path).read_text(encoding="utf-8")
        assert re.search(rf"^(def|class) {name}\b", text, re.MULTILINE), f"{path}: {name}"
