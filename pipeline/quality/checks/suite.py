"""Expectation suites: YAML that people may edit, read into checked values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import UsageError
from pipeline.hours import Hour
from pipeline.quality.checks.results import Severity
from pipeline.settings.settings import Settings
from pipeline.settings.yaml_text import read_yaml
from pipeline.text.numbers import significant

SUITE_FOLDER = Path(__file__).with_name("suites")
# Enough for any limit that a person writes.
_EXACT_DIGITS = 15
_PLACEHOLDER = re.compile(r"\$([a-z][a-z0-9_]*)")


@dataclass(frozen=True)
class Check:
    """One expectation: ``expect`` is Great Expectations' own name, ``arguments`` its own words.

    ``description``, ``remedy`` and ``limit`` are for people.
    """

    name: str
    description: str
    expect: str
    severity: Severity
    remedy: str
    limit: str
    arguments: Mapping[str, Any]

    @property
    def column(self) -> str | None:
        """The column the check is about, where it is about one."""
        return self.arguments.get("column")


@dataclass(frozen=True)
class Suite:
    """The checks of one kind of frame, with every placeholder filled in."""

    name: str
    checks: tuple[Check, ...]

    def with_remedies(self, remedies: Mapping[str, str]) -> Suite:
        """The same, with more to say of how to mend what some columns show."""
        checks = []
        for check in self.checks:
            more = remedies.get(check.column or "")
            mend = ": ".join(filter(None, (check.remedy, more)))
            checks.append(replace(check, remedy=mend) if more else check)
        return replace(self, checks=tuple(checks))


class _CheckText(BaseModel):
    """One entry of the file; the keys it does not name are the expectation's arguments."""

    model_config = ConfigDict(extra="allow")

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    promise: str = Field(min_length=1)
    expect: str = Field(pattern=r"^expect_[a-z0-9_]+$")
    severity: Severity
    mend: str = ""
    limit: str = ""


class _SuiteText(BaseModel):
    model_config = ConfigDict(extra="forbid")

    suite: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    expectations: list[_CheckText] = Field(min_length=1)


def suite_values(hour: Hour, settings: Settings) -> dict[str, Any]:
    """What the placeholders of the built-in suites stand for, in one hour."""
    return {
        "hour_start": hour.start,
        "hour_end": hour.end,
        "max_id_chars": settings.ingest.max_id_chars,
        "event_types": list(settings.source.event_types) or None,
        "gap_s": settings.sessions.gap_s,
        "max_session_s": settings.sessions.max_session_hours * 3600,
    }


def load_suite(name: str, values: Mapping[str, Any], folder: Path | None = None) -> Suite:
    """Read ``<folder>/<name>.yaml``, or the built-in suite where the folder has no such file.

    A string argument such as ``$gap_s`` becomes ``values["gap_s"]``.  A check with a placeholder
    whose value is None is left out: there is nothing to hold the data to.

    Raises:
        UsageError: there is no such suite, or the file is not one, or a placeholder has no value.
    """
    if folder:
        _refuse_unused(folder)
    own = folder / f"{name}.yaml" if folder else None
    path = own if own and own.is_file() else SUITE_FOLDER / f"{name}.yaml"
    text = _read(path)
    if text.suite != name:
        raise UsageError(f"{path}: suite: {text.suite}: must be {name}, like the file's name")
    checks: list[Check] = []
    for entry in text.expectations:
        where = f"{path}: expectation {entry.name!r}"
        if any(entry.name == other.name for other in checks):
            raise UsageError(f"{where} occurs twice: give each its own name")
        arguments = entry.model_extra or {}
        wanted = [m[1] for v in arguments.values() if (m := _placeholder(v))]
        unknown = [key for key in wanted if key not in values]
        if unknown:
            names = ", ".join(f"${key}" for key in sorted(values))
            raise UsageError(f"{where}: ${unknown[0]} has no value here: use one of {names}")
        if any(values[key] is None for key in wanted):
            continue
        filled = {
            key: values[match[1]] if (match := _placeholder(value)) else value
            for key, value in arguments.items()
        }
        limit = entry.limit or limit_text(filled)
        checks.append(
            Check(
                entry.name, entry.promise, entry.expect, entry.severity, entry.mend, limit, filled
            )
        )
    return Suite(text.suite, tuple(checks))


def _refuse_unused(folder: Path) -> None:
    """Whatever would be passed over in a folder of own suites is a mistake in a name."""
    if not folder.is_dir():
        raise UsageError(f"quality.suites = {folder}: no such folder")
    built_in = sorted(file.stem for file in SUITE_FOLDER.glob("*.yaml"))
    for file in sorted(folder.glob("*.y*ml")):
        if file.suffix != ".yaml" or file.stem not in built_in:
            raise UsageError(
                f"{file}: no suite is called that: use one of {', '.join(built_in)}.yaml"
            )


def limit_text(arguments: Mapping[str, Any]) -> str:
    """Say an expectation's bounds in words, from its arguments."""
    parts = []
    low, high = arguments.get("min_value"), arguments.get("max_value")
    if low is not None:
        parts.append(f"{'above' if arguments.get('strict_min') else 'at least'} {_plain(low)}")
    if high is not None:
        parts.append(f"{'below' if arguments.get('strict_max') else 'at most'} {_plain(high)}")
    for key, words in (("value_set", "one of"), ("column_set", "with"), ("type_list", "one of")):
        if arguments.get(key):
            parts.append(f"{words} " + ", ".join(str(value) for value in arguments[key]))
    if arguments.get("mostly", 1) < 1:
        parts.append(f"in {significant(arguments['mostly'], 4)} of the rows")
    return ", ".join(parts) or "no exceptions"


def _plain(value: Any) -> str:  # noqa: ANN401 - whatever a suite file may hold
    if isinstance(value, float):
        return significant(value, _EXACT_DIGITS)
    return f"{value:,}" if isinstance(value, int) else str(value).replace("+00:00", " UTC")


def _placeholder(value: Any) -> re.Match[str] | None:  # noqa: ANN401 - any YAML value
    return _PLACEHOLDER.fullmatch(value) if isinstance(value, str) else None


def _read(path: Path) -> _SuiteText:
    try:
        content = read_yaml(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        built_in = ", ".join(sorted(file.stem for file in SUITE_FOLDER.glob("*.yaml")))
        raise UsageError(
            f"{path}: cannot read this suite ({error.strerror}): the built-in ones are {built_in}"
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not a YAML file: {error.reason}") from error
    try:
        return _SuiteText.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(key_part) for key_part in first["loc"]) or "the file"
        raise UsageError(f"{path}: {where}: {first['msg']}: see the built-in suites") from error
