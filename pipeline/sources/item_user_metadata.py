"""What is known of items and users: rows for the tables ``items`` and ``users``."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pipeline.sources.base import Refusal
from pipeline.sources.delimited import column_index
from pipeline.sources.fields import is_storable, number_text, read_iso8601, read_number
from pipeline.sources.json_records.readers import NumberText, json_decoder
from pipeline.sources.lines import Line

IdColumn = Literal["item_id", "user_id"]
ReadRow = Callable[[str], dict[str, Any]]

MOST_CHARS = 1 << 20
_CSV_DELIMITERS = (",", ";")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# The .item and .user files write these counts and years as tokens.
_NUMBER_TOKENS = frozenset({"age", "release_year"})
_JSON_KEYS = frozenset({"categories", "numbers", "text", "available_from", "available_to"})


class MetadataLine(NamedTuple):
    """A line of a file of items or users: its row, if it is one, and what is wrong with it.

    A row with a fault repeats an item of an earlier line.
    """

    number: int
    row: dict[str, Any] | None
    fault: str | None


class BadLineError(Exception):
    """What is wrong with one line; who reads them adds which line it is."""


def read_metadata(
    path: Path, lines: Iterator[Line], id_column: IdColumn, trim: bool = False
) -> Iterator[MetadataLine]:
    """Every line of a file of items or users.

    Rows have the keys item_id (or user_id), categories, numbers, text, available_from and
    available_to.  ``categories`` is a list of texts, ``numbers`` a dict of floats, ``text`` a text
    or None, and the two times are aware datetimes or None.  The file is JSON lines with these keys
    (all but the first optional, times in ISO 8601), or delimited with a typed header (``.item``),
    by tabs or as a CSV file by commas or semicolons; ``price:float`` is a number, ``price`` a
    category.  ``trim``: as ``source.trim`` says of the ids of events.

    Raises:
        HourglassError: the file cannot be read, or its header lacks the id.
    """
    first = next(lines, None)
    if first is None:
        return
    if first.text.lstrip().startswith("{"):
        lines = chain([first], lines)
        read_row = _json_row_reader(id_column, trim)
    else:
        read_row = _typed_row_reader(first.text, id_column, path)
    identities: set[str] = set()
    for line in lines:
        try:
            if line.reason:
                raise BadLineError(line.reason)
            row = read_row(line.text)
            identity = row[id_column] = row[id_column].strip() if trim else row[id_column]
            if not identity or identity.isspace():
                raise BadLineError(f"no {id_column}")
        except BadLineError as error:
            yield MetadataLine(line.number, None, str(error))
            continue
        again = (
            f"{id_column} {identity!r} is there a second time" if identity in identities else None
        )
        identities.add(identity)
        yield MetadataLine(line.number, row, again)


def _typed_row_reader(header: str, id_column: IdColumn, path: Path) -> ReadRow:
    columns, split = header_reader(header, id_column, path)
    id_at = [name for name, _ in columns].index(id_column)

    def read(line: str) -> dict[str, Any]:
        fields = split(line)
        row = _empty_row(id_column, fields[id_at])
        for (name, kind), text in zip(columns, fields, strict=True):
            if name != id_column and text:
                _add_typed(row, name, kind, text)
        return row

    return read


def header_reader(
    header: str, id_column: str, path: Path
) -> tuple[list[tuple[str, str]], Callable[[str], list[str]]]:
    """The columns below a header, by name and type, and what splits a line into their fields.

    The delimiter, a tab, comma or semicolon, is the one by which ``id_column`` is a column.  The
    second value raises :class:`BadLineError` of a line that has other fields.

    Raises:
        HourglassError: no column, or more than one, is called ``id_column``.
    """
    split = _by_tabs
    for delimiter in () if id_column in _names(_by_tabs(header)) else _CSV_DELIMITERS:
        by_delimiter = partial(_by_csv, delimiter)
        with suppress(BadLineError):
            if id_column in _names(by_delimiter(header)):
                split = by_delimiter
                break
    typed = [name.strip().partition(":") for name in split(header)]
    columns = [(name, kind) for name, _, kind in typed]
    remedy = f"call the column that identifies its rows {id_column}"
    column_index([name for name, _ in columns], id_column, str(path), remedy)

    def fields_of(line: str) -> list[str]:
        fields = split(line)
        if not any(fields[len(columns) :]):
            # As of records: some writers end lines in delimiters that the header does not have.
            del fields[len(columns) :]
        if len(fields) != len(columns):
            raise BadLineError(f"{len(fields)} fields where {len(columns)} were expected")
        return fields

    return columns, fields_of


def _by_tabs(line: str) -> list[str]:
    return line.split("\t")


def _by_csv(delimiter: str, line: str) -> list[str]:
    """The fields of a line of a CSV file, in which a quote does not go on over lines."""
    try:
        return next(csv.reader([line], delimiter=delimiter, strict=True), [""])
    except csv.Error as error:
        raise BadLineError(f"not a line of a CSV file: {error}") from error


def _names(columns: list[str]) -> list[str]:
    return [name.strip().partition(":")[0] for name in columns]


def _add_typed(row: dict[str, Any], name: str, kind: str, text: str) -> None:
    if kind == "float" or name in _NUMBER_TOKENS:
        number = read_number(text)
        if number is not None:
            row["numbers"][name] = number
        elif kind == "float":
            raise BadLineError(f"{name} = {text!r} is not a finite number")
    elif kind == "token_seq" and "title" in name:
        row["text"] = text
    elif kind == "token_seq":
        row["categories"] += text.split()
    else:
        row["categories"].append(f"{name}={text}")


def _json_row_reader(id_column: IdColumn, trim: bool) -> ReadRow:
    read_object = json_line_reader(_JSON_KEYS | {id_column})

    def read(line: str) -> dict[str, Any]:
        content = read_object(line)
        if trim and isinstance(identity := content.get(id_column), NumberText):
            content[id_column] = number_text(identity)
        return _json_row(content, id_column)

    return read


def json_line_reader(keys: frozenset[str]) -> Callable[[str], dict[str, Any]]:
    """What reads a line that is a JSON object with none but these keys, or raises its fault."""
    decode = json_decoder().decode

    def read(line: str) -> dict[str, Any]:
        try:
            content = decode(line)
        except (ValueError, RecursionError) as error:
            raise BadLineError("not valid JSON") from error
        if not isinstance(content, dict):
            raise BadLineError("not a JSON object")
        unknown = sorted(content.keys() - keys)
        if unknown:
            raise BadLineError(f"unknown key {unknown[0]!r}")
        return content

    return read


def _json_row(content: dict[str, Any], id_column: IdColumn) -> dict[str, Any]:
    row = _empty_row(id_column, plain_text(content.get(id_column, ""), id_column))
    categories, numbers = content.get("categories") or [], content.get("numbers") or {}
    if not isinstance(categories, list) or not isinstance(numbers, dict):
        raise BadLineError("categories must be a list and numbers an object")
    row["categories"] = [plain_text(category, "categories") for category in categories]
    for name, value in numbers.items():
        if value is None:
            continue
        number = None if isinstance(value, bool) else read_number(str(value))
        if number is None:
            raise BadLineError(f"numbers.{name} = {value!r} is not a finite number")
        row["numbers"][plain_text(name, "numbers")] = number
    if content.get("text") is not None:
        row["text"] = plain_text(content["text"], "text")
    for key in ("available_from", "available_to"):
        if content.get(key) is not None:
            time_us = read_iso8601(plain_text(content[key], key))
            if isinstance(time_us, Refusal):
                raise BadLineError(f"{key} = {content[key]!r} is not an ISO 8601 time")
            row[key] = _EPOCH + timedelta(microseconds=time_us)
    return row


def plain_text(value: object, key: str) -> str:
    """A text or number of JSON as it is written; raises the fault of anything else."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise BadLineError(f"{key} = {value!r} is not a text")
    if not is_storable(str(value)):
        raise BadLineError(f"{key} holds a NUL or half a surrogate pair")
    return str(value)


def _empty_row(id_column: IdColumn, identity: str) -> dict[str, Any]:
    return {
        id_column: identity,
        "categories": [],
        "numbers": {},
        "text": None,
        "available_from": None,
        "available_to": None,
    }
