"""The texts of an object of JSON, by path."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from pipeline.sources.fields import number_text
from pipeline.sources.paths import PAIR_KEY, Part, has_keys, parts_of

#: What an object holds.
Value = Any
Object = dict[str, Value]
ReadField = Callable[[Object], str | None]
MakeReader = Callable[[str | None], ReadField]

NAN = "NaN"
_STRING_OR_CONSTANT = re.compile(r'"(?:[^"\\]|\\.)*"|NaN|-?Infinity')


class NumberText(str):
    """A fraction as JSON writes it, which a text of the same characters is not."""

    __slots__ = ()


def _constant(text: str) -> NumberText | None:
    return None if text == NAN else NumberText(text)


def json_decoder() -> json.JSONDecoder:
    """A decoder that keeps fractions as they are written.

    What JSON lacks and Python's own writer writes costs no record: NaN is nothing, as in tables,
    and infinity a text, which is no number to anybody.
    """
    return json.JSONDecoder(parse_float=NumberText, parse_constant=_constant)


def without_constants(line: str) -> str:
    """The same record as JSON has it: ``null`` for NaN, infinity as a text."""

    def replaced(match: re.Match[str]) -> str:
        text = match[0]
        if text.startswith('"'):
            return text
        return "null" if text == NAN else f'"{text}"'

    return _STRING_OR_CONSTANT.sub(replaced, line)


def field_reader(path: str | None) -> ReadField:
    """A function from a record to the text at a path (see :mod:`pipeline.sources.paths`).

    It answers "" where the record has nothing there (or null), None where it has a list or an
    object.  A key that itself has dots is there too, at the top level.
    """
    if path is None:
        return lambda _record: ""
    if has_keys(path):
        return _keyed_reader(path, parts_of(path))
    first, *below = path.split(".")

    def read(record: Object) -> str | None:
        if below and path in record:
            value = record[path]
        else:
            value = record.get(first)
            for key in below:
                if not isinstance(value, dict):
                    return ""
                value = value.get(key)
        return _text_of(value)

    return read


def _keyed_reader(path: str, parts: list[Part]) -> ReadField:
    def read(record: Object) -> str | None:
        if path in record:
            return _text_of(record[path])
        value: Value = record
        for text, name, keys in parts:
            if not isinstance(value, dict):
                return ""
            if text in value:
                value = value[text]
                continue
            value = value.get(name)
            for key in keys:
                value = _with_key(value, key)
        return _text_of(value)

    return read


def _with_key(value: Value, key: str) -> Value:
    """What an object has at a key, or the last of the pairs of a list that has it; else None."""
    if isinstance(value, dict):
        return value.get(key)
    if isinstance(value, list):
        for pair in reversed(value):
            if isinstance(pair, dict) and _text_of(pair.get(PAIR_KEY)) == key:
                return pair
    return None


def _text_of(value: Value) -> str | None:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else None


def identity_reader(read: ReadField) -> ReadField:
    """A reader of an id: ``7.0`` and ``7e0``, as numbers, are the id ``7``."""

    def read_identity(record: Object) -> str | None:
        text = read(record)
        return number_text(text) if text.__class__ is NumberText else text

    return read_identity


def filled_reader(read: ReadField, otherwise: str) -> ReadField:
    """The same reader, with another text where it has nothing."""

    def read_filled(record: Object) -> str | None:
        text = read(record)
        return otherwise if text == "" else text

    return read_filled
