"""What Great Expectations answered, in words: what it saw, examples, why it could not look."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import TYPE_CHECKING, Any

from pipeline.text.numbers import significant
from pipeline.text.wording import counted

if TYPE_CHECKING:
    from great_expectations.core.expectation_validation_result import ExpectationValidationResult
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

_MAX_EXAMPLE_CHARS = 120
_EXACT_DIGITS = 15


def configuration_of(result: ExpectationValidationResult) -> ExpectationConfiguration:
    """The expectation that a result answers; every one that we ran has one."""
    if result.expectation_config is None:
        raise ValueError("a validation result does not name its expectation")
    return result.expectation_config


def observed_text(result: ExpectationValidationResult) -> str:
    """What Great Expectations saw, in words."""
    answer: Mapping[str, Any] = result.result or {}
    if "fact" in answer:
        return str(answer["fact"])
    if "unexpected_count" in answer:
        bad, rows = answer["unexpected_count"], answer["element_count"]
        empty = answer.get("missing_count") or 0
        shown = f"{bad:,} of {_rows(rows)}" if bad else _rows(rows)
        return f"{shown}; {empty:,} without a value" if empty else shown
    fault = _fault(result.exception_info)
    if fault:
        return f"it could not be checked, {fault}"
    details = answer.get("details") or {}
    missing = (details.get("mismatched") or {}).get("missing")
    if missing:
        return "there is no column " + ", ".join(missing)
    value = answer.get("observed_value")
    column = configuration_of(result).kwargs.get("column")
    if isinstance(value, list):
        return counted(len(value), "column")
    return f"{column} is {figure_text(value)}" if column else _rows(int(value or 0))


def figure_text(value: object) -> str:
    """A value that was observed, short."""
    if value is None:
        return "empty"
    if isinstance(value, float):
        return significant(value)
    return _example(value)


def _rows(n: int) -> str:
    return f"{n:,} row{'' if n == 1 else 's'}"


def examples_of(result: ExpectationValidationResult) -> tuple[str, ...]:
    """A few distinct offending values as text, absent ones left out."""
    values = (result.result or {}).get("partial_unexpected_list", ())
    return tuple(dict.fromkeys(_example(value) for value in values if value is not None))


def _fault(info: Mapping[str, Any] | None) -> str:
    """The message of a failed computation; Great Expectations nests it one level, or not."""
    for section in (info or {}, *(v for v in (info or {}).values() if isinstance(v, Mapping))):
        if section.get("raised_exception") and section.get("exception_message"):
            lines = str(section["exception_message"]).strip().splitlines()
            return lines[0].rstrip(".") if lines else "no reason given"
    return ""


def _example(value: object) -> str:
    """One offending value as short text; control characters are shown, not sent."""
    plain = isinstance(value, float) and isfinite(value)
    written = significant(value, _EXACT_DIGITS) if plain else str(value)  # type: ignore[arg-type]
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in written)
    return text if len(text) <= _MAX_EXAMPLE_CHARS else text[:_MAX_EXAMPLE_CHARS] + "…"
