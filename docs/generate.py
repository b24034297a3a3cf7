"""The tables of the reference pages, made from the code.

A page of ``docs/`` holds ``<!-- generated: settings -->`` where its table belongs;
``docs/hooks.py`` puts the table there when the site is built.  Whatever has no meaning written in
the code raises: an undocumented key, option or table cannot reach the site.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from pipeline.lake.tables import ALL_TABLES, TableSpec
from pipeline.quality.checks.suite import SUITE_FOLDER, limit_text
from pipeline.settings.field_types import Duration
from pipeline.settings.settings import Settings
from pipeline.settings.source import SourceSettings
from pipeline.settings.yaml_text import read_yaml
from pipeline.simulator import SCENARIOS
from pipeline.sources.known_logs import KNOWN_LOGS
from pipeline.sources.known_logs.as_settings import generic_format, section_of
from training.cli.main import app
from training.gate.reasons import CHECKS, OF_NO_CANDIDATE, REASONS, REASONS_BY_STEP
from training.models import MODEL_NAMES, parameters_class

MARKER = re.compile(r"^<!-- generated: ([a-z ]+) -->$", re.MULTILINE)
# Options that stand before or after any command.
_GLOBAL_OPTIONS = "options of every command"
_NAMES = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    Path: "path",
    dict: "mapping",
}
_ENTRY_KEYS = ("name", "promise", "expect", "severity", "mend", "limit")


class UndocumentedError(Exception):
    """A key, option, table or expectation whose meaning is written nowhere."""


@dataclasses.dataclass(frozen=True)
class Key:
    """One key of the settings."""

    name: str
    type: str
    default: str
    meaning: str


def expand(markdown: str) -> str:
    """A page with its generated tables in the place of their markers.

    Raises:
        KeyError: a marker names no generated table.
        UndocumentedError: a part of the code has no meaning written.
    """
    return MARKER.sub(lambda match: GENERATED[match[1]](), markdown)


# Settings


def settings_keys(model: type[BaseModel] = Settings) -> dict[str, list[Key]]:
    """The keys of each section by its name, "" for those at the top.

    Raises:
        UndocumentedError: a key has no description.
    """
    sections: dict[str, list[Key]] = {"": []}
    _add_section(sections, model, "")
    return sections


def _add_section(sections: dict[str, list[Key]], model: type[BaseModel], path: str) -> None:
    keys = sections.setdefault(path, [])
    for name, field in model.model_fields.items():
        below = _section_of(field.annotation)
        where = f"{path}.{name}" if path else name
        if below is not None:
            _add_section(sections, below, where)
        if below is None or field.description:
            keys.append(_key(name, where, field))


def _section_of(annotation: object) -> type[BaseModel] | None:
    for kind in (annotation, *get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def _key(name: str, where: str, field: FieldInfo) -> Key:
    if not field.description:
        raise UndocumentedError(f"setting {where}: give its Field a description")
    return Key(name, _type_text(field), _default_text(field), field.description)


def _type_text(field: FieldInfo) -> str:
    annotated: Any = field.annotation
    if field.metadata:
        annotated = Annotated[(annotated, *field.metadata)]
    bounds = [
        f"{words} {getattr(item, name):,}"
        for item in field.metadata
        for name, words in (("ge", "at least"), ("gt", "above"), ("le", "at most"), ("lt", "below"))
        if getattr(item, name, None) is not None
    ]
    return ", ".join([_kind_text(annotated), *bounds])


def _kind_text(kind: Any) -> str:  # noqa: ANN401 - whatever may annotate a setting
    origin, inner = get_origin(kind), get_args(kind)
    if kind == Duration:
        return "duration, like 10h or 7d"
    if origin is Annotated:
        return _kind_text(inner[0])
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in inner)
    if origin in (Union, UnionType):
        chosen = [_kind_text(part) for part in inner if part is not NoneType]
        return " or ".join([*chosen, *(["null"] if NoneType in inner else [])])
    if origin is tuple:
        return "list of entries" if _section_of(inner[0]) else f"list of {_kind_text(inner[0])}"
    return _NAMES[origin or kind]


def _default_text(field: FieldInfo) -> str:
    if field.is_required():
        return "must be given"
    if field.default is PydanticUndefined:
        value = field.get_default(call_default_factory=True)
        return ", ".join(f"`{entry.name}`" for entry in value)
    return _value_text(field.default)


def _value_text(value: object) -> str:
    if value is None:
        return "null"
    if value == "":
        return "empty"
    if value in ((), {}):
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value}`"


def _settings() -> str:
    parts = []
    for path, keys in settings_keys().items():
        if path:
            text = _help_text(_model_at(path).__doc__, f"settings section {path}")
            parts.append(f"## {path}\n\n{text}\n")
        parts.append(
            _table(
                ("key", "type", "default", "meaning"),
                [(f"`{key.name}`", key.type, key.default, _sentence(key.meaning)) for key in keys],
            )
        )
    return "\n".join(parts)


def _model_at(path: str) -> type[BaseModel]:
    model: type[BaseModel] = Settings
    for name in path.split("."):
        below = _section_of(model.model_fields[name].annotation)
        if below is None:
            raise KeyError(path)
        model = below
    return model


# Commands


def commands() -> Mapping[str, Any]:
    """Typer's commands by name, in the order in which `hourglass --help` lists them."""
    group: Any = typer.main.get_command(app)
    return {name: command for name, command in group.commands.items() if not command.hidden}


def _commands() -> str:
    parts = []
    for name, command in commands().items():
        text = _help_text(command.help, f"command {name}")
        rows = [_option_row(name, option) for option in command.params]
        usage = f"hourglass {name}" + (" [OPTIONS]" if rows else "")
        parts.append(f"## {name}\n\n{text}\n\n```text\n{usage}\n```\n")
        if rows:
            parts.append(_table(("option", "default", "meaning"), rows))
    return "\n".join(parts)


def _global_options() -> str:
    group: Any = typer.main.get_command(app)
    rows = [_option_row(_GLOBAL_OPTIONS, option) for option in group.params]
    return _table(("option", "default", "meaning"), rows)


def _option_row(command: str, option: Any) -> tuple[str, str, str]:  # noqa: ANN401 - Typer's own
    names = " / ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    if not option.help:
        raise UndocumentedError(f"{command}: {names}: give this option a help text")
    if option.required:
        default = "must be given"
    elif option.is_flag:
        default = f"`{option.opts[0]}`" if option.default and option.secondary_opts else "off"
    elif option.default in (None, (), []):
        default = ""
    else:
        default = f"`{option.default}`"
    repeat = " May be repeated." if option.multiple and "repeat" not in option.help else ""
    return names, default, _sentence(option.help) + repeat


def _help_text(text: str | None, name: str) -> str:
    if not text:
        raise UndocumentedError(f"{name}: give it a docstring")
    body = re.split(r"\n\s*(?:Args|Raises|Returns):\n", inspect.cleandoc(text))[0].strip()
    # What begins with a name is an entry of a list.
    listed = re.sub(r"^(?=``\w+``(?:, ``\w+``)*: )", "\n- ", body, flags=re.MULTILINE)
    return _escaped(listed.replace("``", "`"))


# Tables


def _tables() -> str:
    parts = []
    for spec in ALL_TABLES:
        if not spec.row:
            raise UndocumentedError(f"table {spec.name}: say in its TableSpec what a row is")
        parts.append(f"## {spec.name}\n\n{spec.row}\n\n{_partition(spec)}\n")
        rows = [(f"`{column.name}`", f"`{column.type}`") for column in spec.schema]
        parts.append(_table(("column", "type"), rows))
    return "\n".join(parts)


def _partition(spec: TableSpec) -> str:
    return f"Partitioned by {spec.partition}." if spec.partition else "Not partitioned."


# Expectations


def suites() -> dict[str, list[Mapping[str, Any]]]:
    """The entries of each built-in suite, placeholders and all."""
    content = {
        file.stem: read_yaml(file.read_text(encoding="utf-8"), str(file))
        for file in sorted(SUITE_FOLDER.glob("*.yaml"))
    }
    return {name: suite["expectations"] for name, suite in content.items()}


def _expectations() -> str:
    parts = []
    for name, entries in suites().items():
        rows = [_expectation_row(name, entry) for entry in entries]
        parts.append(f"## {name}\n")
        parts.append(_table(("expectation", "severity", "promise", "limit", "remedy"), rows))
    return "\n".join(parts)


def _expectation_row(suite: str, entry: Mapping[str, Any]) -> tuple[str, ...]:
    name, description = entry.get("name"), entry.get("promise")
    if not name or not description:
        raise UndocumentedError(f"suite {suite}: {name or entry}: write what it promises")
    arguments = {key: value for key, value in entry.items() if key not in _ENTRY_KEYS}
    column = f"`{arguments['column']}`: " if "column" in arguments else ""
    limit = column + _escaped(entry.get("limit") or limit_text(arguments))
    severity = entry["severity"]
    return (
        f"`{name}`",
        f"**{severity}**" if severity == "critical" else severity,
        _sentence(description),
        limit,
        _sentence(entry.get("mend", "")),
    )


def _scenarios() -> str:
    rows = [
        (f"`{name}`", _sentence(scenario.happens), scenario.catch, _sentence(scenario.because))
        for name, scenario in SCENARIOS.items()
    ]
    return _table(("scenario", "what happens", "must raise", "because"), rows)


# Reasons


def _reasons(*steps: str) -> Callable[[], str]:
    def rows() -> str:
        codes = [item for step in steps for item in REASONS_BY_STEP[step].items()]
        return _table(("code", "meaning"), [(f"`{code}`", _sentence(text)) for code, text in codes])

    return rows


def _blocks_of_no_candidate() -> str:
    rows = [(f"`{code}`", _sentence(REASONS[code])) for code in sorted(OF_NO_CANDIDATE)]
    return _table(("code", "meaning"), rows)


def _checks() -> str:
    return _table(("check", "asks whether"), [(f"`{name}`", text) for name, text in CHECKS.items()])


# Parameters of the models


def parameter_classes() -> dict[str, type]:
    """The parameters' class of each model type, by the name that `system:` takes."""
    return {name: parameters_class(name) for name in MODEL_NAMES}


def _parameters() -> str:
    parts = []
    headings: dict[type, str] = {}
    for name, leaf in parameter_classes().items():
        for kind in reversed(leaf.__mro__[:-1]):
            if kind in headings:
                continue
            headings[kind] = name if kind is leaf else kind.__name__.removesuffix("Parameters")
            parts.append(f"## {headings[kind]}\n")
            parts.append(_parameter_text(kind, name))
            above = [headings[base] for base in kind.__mro__[1:-1]]
            if above:
                links = ", ".join(f"[{each}](#{each.lower()})" for each in above)
                parts.append(f"And the parameters of {links}.\n")
    return "\n".join(parts)


def _parameter_text(kind: type, name: str) -> str:
    defaults = {field.name: _parameter_default(field) for field in dataclasses.fields(kind)}
    own = [field for field in inspect.get_annotations(kind) if field in defaults]
    text = "" if (kind.__doc__ or "").startswith(f"{kind.__name__}(") else kind.__doc__
    if not own:
        return (f"{_help_text(text, name)}\n\n" if text else "") + "None of its own.\n"
    if not text:
        raise UndocumentedError(f"parameters of {name}: give {kind.__name__} a docstring")
    rows = [(f"`{field}`", defaults[field]) for field in own]
    return f"{_help_text(text, name)}\n\n{_table(('parameter', 'default'), rows)}"


def _parameter_default(field: dataclasses.Field[Any]) -> str:
    if callable(field.default_factory):
        return _value_text(field.default_factory())
    return _value_text(field.default)


# Markdown


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|")


def _sentence(text: str) -> str:
    """A meaning as the code has it, with a capital, and safe in Markdown."""
    return _escaped(text[:1].upper() + text[1:])


def _escaped(text: str) -> str:
    """Text in which no character but a backtick means anything to Markdown."""
    parts = text.split("`")
    return "`".join(
        part if inside % 2 else re.sub(r"([*<>\[\]_])", r"\\\1", part)
        for inside, part in enumerate(parts)
    )


# Sources


def _known_logs() -> str:
    rows = [
        (
            f"`{name}`",
            _help_text(log.about, f"known log {name}"),
            f"`{log.pattern}`",
            f"`{generic_format(log)}`" if section_of(log) else "by its name alone",
        )
        for name, log in sorted(KNOWN_LOGS.items())
    ]
    return _table(("source.name", "a record is", "files", "other settings"), rows)


#: The fields of an event, as the table of known logs calls them.
_FED_FIELDS = {
    "event_time": "time",
    "user_id": "user",
    "item_id": "item",
    "event_type": "type",
    "value": "value",
    "event_key": "key",
    "given_session": "session",
}


def _columns_of_known_logs() -> str:
    rows = []
    for name, log in sorted(KNOWN_LOGS.items()):
        columns = log.columns
        fed = {field: _column_text(getattr(columns, field)) for field in _FED_FIELDS}
        if columns.event_type is None:
            source = log.source(SourceSettings(name=name), log.pattern)
            fed["event_type"] = f"always {_default_type(source)}"
        context = ", ".join(f"{_escaped(key)} `{path}`" for key, path in columns.context.items())
        rows.append((f"`{name}`", *fed.values(), context))
    return _table(("source.name", *_FED_FIELDS.values(), "context"), rows)


def _column_text(column: str | tuple[str, ...] | None) -> str:
    names = (column,) if isinstance(column, str) else column or ()
    return ", ".join(f"`{name}`" for name in names)


def _default_type(source: Any) -> str:  # noqa: ANN401 - whatever reads a known log
    return str(getattr(source, "records", source).default_event_type)


GENERATED: Mapping[str, Callable[[], str]] = {
    "settings": _settings,
    "commands": _commands,
    "options of every command": _global_options,
    "known logs": _known_logs,
    "columns of known logs": _columns_of_known_logs,
    "tables": _tables,
    "expectations": _expectations,
    "scenarios": _scenarios,
    "reasons of the gate": _reasons("gate", "slices"),
    "reasons of the monitor": _reasons("monitor"),
    "reasons of retraining": _reasons("stale"),
    "reasons of what is live": _reasons("what is live"),
    "blocks of no candidate": _blocks_of_no_candidate,
    "checks of the gate": _checks,
    "parameters": _parameters,
}
