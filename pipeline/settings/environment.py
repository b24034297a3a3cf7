"""Settings from ``HOURGLASS_*`` variables; one that no setting is called by is an error.

``HOURGLASS_SPARK__MASTER`` is ``spark.master``.  A list of words may be written ``view,cart``;
sections and other lists are JSON.
"""

from __future__ import annotations

import json
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from pipeline.errors import UsageError, suggest
from pipeline.settings.former_keys import present_path, with_present_names

PREFIX = "HOURGLASS_"
_BETWEEN = "__"
#: Variables of ours that are no settings.
NO_SETTINGS = frozenset(
    {
        "HOURGLASS_CONFIG",
        "HOURGLASS_DATASETS",
        "HOURGLASS_FORK_SERVER_IDLE_S",
        "HOURGLASS_RECORD_KEY",
    }
)
_OF_TESTS = "HOURGLASS_TEST_"
# Kubernetes gives every container the addresses of its services: of one called hourglass-db,
# HOURGLASS_DB_SERVICE_HOST, HOURGLASS_DB_PORT_5432_TCP_ADDR and others.
_OF_KUBERNETES = re.compile(
    r".*_SERVICE_(HOST|PORT(_[A-Z0-9_]+)?)|HOURGLASS(_[A-Z0-9_]+)?_PORT"
    r"(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?"
)


@dataclass(frozen=True)
class Variable:
    """One variable that is meant as a setting: its name, where the setting stands, its text."""

    name: str
    path: tuple[str, ...]
    text: str


def setting_variables(environment: Mapping[str, str]) -> list[Variable]:
    """Variables that are meant as settings, sections before what stands in them."""
    variables = [
        Variable(name, tuple(name[len(PREFIX) :].lower().split(_BETWEEN)), text)
        for name, text in environment.items()
        if name.upper().startswith(PREFIX) and not _is_no_setting(name.upper())
    ]
    return sorted(variables, key=lambda variable: (len(variable.path), variable.name))


def environment_values(settings: type[BaseModel], environment: Mapping[str, str]) -> dict[str, Any]:
    """What the environment sets, nested like the content of a settings file.

    Raises:
        UsageError: a variable names no setting, or its text is not what the setting needs.
    """
    values: dict[str, Any] = {}
    for variable in setting_variables(environment):
        kind = _kind_at(settings, present_path(variable.path))
        if kind is None:
            names = [text.removeprefix(PREFIX) for text in variable_names(settings)]
            hint = suggest(variable.name.upper().removeprefix(PREFIX), names)
            hint = hint.replace("mean '", f"mean '{PREFIX}")
            raise UsageError(
                f"{variable.name}: unknown key {'.'.join(variable.path)!r}{hint}: all keys stand "
                "in pipeline/settings/, and two underscores lead from a section to its key"
            )
        section = values
        for key in variable.path[:-1]:
            section = section.setdefault(key, {})
        section[variable.path[-1]] = _value(variable, kind)
    return with_present_names(values, "environment")


def variable_of(path: Sequence[str | int], environment: Mapping[str, str]) -> str | None:
    """The variable that sets what stands at a path, or a section around it."""
    where = tuple(map(str, path))
    names = [
        variable.name
        for variable in setting_variables(environment)
        if where[: len(variable.path)] == present_path(variable.path)
    ]
    return names[-1] if names else None


def variable_names(section: type[BaseModel], before: str = PREFIX) -> Iterator[str]:
    """Names of the variables of all settings."""
    for name, field in section.model_fields.items():
        kind = _without_none(field.annotation)
        yield f"{before}{name.upper()}"
        if _is_section(kind):
            yield from variable_names(kind, f"{before}{name.upper()}{_BETWEEN}")


def _is_no_setting(name: str) -> bool:
    return (
        name in NO_SETTINGS
        or name.startswith(_OF_TESTS)
        or _OF_KUBERNETES.fullmatch(name) is not None
    )


def _kind_at(section: type[BaseModel], path: tuple[str, ...]) -> Any:  # noqa: ANN401 - a type
    """The type of the setting at a path; None where there is none."""
    field = section.model_fields.get(path[0])
    if field is None:
        return None
    kind, rest = _without_none(field.annotation), path[1:]
    if not rest:
        return kind
    if _is_section(kind):
        return _kind_at(kind, rest)
    if get_origin(kind) is dict and len(rest) == 1 and rest[0]:
        return get_args(kind)[1]
    return None


def _is_section(kind: Any) -> bool:  # noqa: ANN401 - a type
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _without_none(kind: Any) -> Any:  # noqa: ANN401 - a type
    """``X`` of ``X | None``, without what is annotated."""
    if get_origin(kind) is Annotated:
        return _without_none(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        kinds = [each for each in get_args(kind) if each is not type(None)]
        return _without_none(kinds[0]) if len(kinds) == 1 else kind
    return kind


def _value(variable: Variable, kind: Any) -> Any:  # noqa: ANN401 - a type, and any content
    """The text, or the JSON or the list of words that it stands for."""
    text = variable.text.strip()
    either = get_origin(kind) in (Union, types.UnionType)
    kinds = [_without_none(each) for each in get_args(kind)] if either else [kind]
    of_list = [each for each in kinds if get_origin(each) is tuple]
    if of_list:
        if text.startswith("["):
            return _json(variable, list, '["view", "cart"]')
        if either and "," not in text:
            return variable.text
        if _without_none(get_args(of_list[0])[0]) is str:
            return [word.strip() for word in text.split(",")] if text else []
        return _json(variable, list, '["pop", {"file": "hrnn"}]')
    if _is_section(kind) or get_origin(kind) is dict:
        return _json(variable, dict, '{"key": "value"}')
    return variable.text


def _json(variable: Variable, kind: type, example: str) -> Any:  # noqa: ANN401 - any content
    try:
        content = json.loads(variable.text, object_pairs_hook=_each_once)
    except (ValueError, RecursionError) as error:
        wanted = str(error) if isinstance(error, _TwiceError) else _wanted(example)
        raise UsageError(f"{variable.name} = {variable.text!r}: {wanted}") from error
    if not isinstance(content, kind):
        raise UsageError(f"{variable.name} = {variable.text!r}: {_wanted(example)}")
    return content


def _wanted(example: str) -> str:
    return f"JSON is wanted, like '{example}'"


class _TwiceError(ValueError):
    """A key of a JSON object stands twice."""


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _TwiceError(f"key {twice!r} stands twice: keep one of them")
    return content
