"""Logs of JSON lines: one object a line, its fields found by dotted paths."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from pipeline.hours import Hour
from pipeline.settings.settings import ColumnSettings
from pipeline.sources.base import (
    STRAY_RETURN,
    Ignored,
    ParsedEvent,
    Parser,
    Refusal,
    hour_of_folder,
    hour_or_none,
    rules_of,
)
from pipeline.sources.columns.fields import MakeEvents, event_maker
from pipeline.sources.columns.json_lines import JsonColumns, can_find
from pipeline.sources.columns.types import ReadColumns
from pipeline.sources.field_rules import NO_RULES, FieldRules
from pipeline.sources.fields import (
    DROPPABLE,
    UNIX_EPOCH,
    TimeUnit,
    event_builder,
    fields_read,
    is_storable,
    number_text,
    plain_fields,
    time_reader,
)
from pipeline.sources.ignoring import ignorer

NOT_JSON = Refusal("not valid JSON")
NOT_AN_OBJECT = Refusal("not a JSON object")
NOT_STORABLE = Refusal("a text holds a NUL or half a surrogate pair")
_NOT_PLAIN = "is a list or an object"

# Of a number that is an id it does not matter how it is written.
IDENTITIES = frozenset({"user_id", "user_fallback", "item_id", "event_key", "given_session"})

ReadField = Callable[[dict[str, Any]], str | None]
ParseRecord = Callable[[dict[str, Any], bool], ParsedEvent | Refusal | Ignored]


class NumberText(str):
    """A fraction as JSON writes it, which a text of the same characters is not."""

    __slots__ = ()


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def json_decoder() -> json.JSONDecoder:
    """A decoder that keeps fractions as they are written and refuses NaN and infinity."""
    return json.JSONDecoder(parse_float=NumberText, parse_constant=_refuse_constant)


def field_reader(path: str | None) -> ReadField:
    """A function from a record to the text at a dotted path.

    It answers "" where the record has nothing there (or null), None where it has a list or an
    object.  A key that itself has dots is found too, at the top level.
    """
    if path is None:
        return lambda _record: ""
    first, *below = path.split(".")

    def read(record: dict[str, Any]) -> str | None:
        if below and path in record:
            value = record[path]
        else:
            value = record.get(first)
            for key in below:
                if not isinstance(value, dict):
                    return ""
                value = value.get(key)
        if isinstance(value, str):
            return value
        if value is None:
            return ""
        if isinstance(value, bool):
            return "true" if value else "false"
        return str(value) if isinstance(value, int) else None

    return read


def identity_reader(path: str | None) -> ReadField:
    """:func:`field_reader` of an id: ``7.0`` and ``7e0``, as numbers, are the id ``7``."""
    read = field_reader(path)

    def read_identity(record: dict[str, Any]) -> str | None:
        text = read(record)
        return number_text(text) if text.__class__ is NumberText else text

    return read_identity


@dataclass(frozen=True)
class JsonLinesSource:
    """A JSON-lines format: which dotted path feeds which field.

    ``file_hour``, when given, finds the arrival hour in a file's name: its first group is a date,
    its second an hour of the day.
    """

    name: str
    pattern: str
    columns: ColumnSettings
    time_unit: TimeUnit = "iso8601"
    epoch: Hour = UNIX_EPOCH
    default_event_type: str = "view"
    event_types: tuple[str, ...] = ()
    file_hour: re.Pattern[str] | None = None
    has_header: bool = False
    field_rules: FieldRules = NO_RULES

    @property
    def has_keys(self) -> bool:
        """See :class:`pipeline.sources.base.Source`."""
        return self.columns.event_key is not None

    def parser(self, header_line: str | None, file_name: str) -> Parser:  # noqa: ARG002 - no header
        """See :meth:`pipeline.sources.base.Source.parser`."""
        parse_record = self.record_parser()
        decode = json_decoder().decode

        def parse(line: str) -> ParsedEvent | Refusal | Ignored:
            try:
                record = decode(line)
            except (ValueError, RecursionError):
                return STRAY_RETURN if "\r" in line else NOT_JSON
            if not isinstance(record, dict):
                return NOT_AN_OBJECT
            # Only an escape can bring in what a line of valid text cannot hold.
            return parse_record(record, "\\u" in line)

        return parse

    def record_parser(self) -> ParseRecord:
        """What makes an event of the object that a line is.

        Its second argument says whether a text may hold what no table can.
        """
        rules = self.field_rules
        fields = fields_read(self.columns)
        readers = [
            identity_reader(path) if rules.trim and field in IDENTITIES else field_reader(path)
            for field, path in fields
        ]
        not_plain = [Refusal(f"{field} {_NOT_PLAIN}") for field, _ in fields]
        drops = [rules.drops and field in DROPPABLE for field, _ in fields]
        context_readers = [
            (field, field_reader(path)) for field, path in self.columns.context.items()
        ]
        build = event_builder(
            time_reader(self.time_unit, self.epoch, rules),
            self.default_event_type,
            self.event_types,
            rules,
            self.columns,
        )
        ignored = ignorer(
            rules, field_reader, field_reader(self.columns.event_type), self.default_event_type
        )

        def parse_record(
            record: dict[str, Any], may_hold_any: bool
        ) -> ParsedEvent | Refusal | Ignored:
            if ignored is not None and (answer := ignored(record)) is not None:
                return answer
            texts = []
            dropped = []
            for at, read in enumerate(readers):
                text = read(record)
                if text is None:
                    if not drops[at]:
                        return not_plain[at]
                    dropped.append(not_plain[at].reason)
                    text = ""
                texts.append(text)
            context = {}
            for field, read in context_readers:
                text = read(record)
                if text:
                    context[field] = text
                elif text is None:
                    dropped.append(f"context {field} {_NOT_PLAIN}")
            if may_hold_any and not all(map(is_storable, (*texts, *context.values()))):
                return NOT_STORABLE
            event = build(texts, context)
            if dropped and isinstance(event, ParsedEvent):
                return event._replace(dropped=(*dropped, *event.dropped))
            return event

        return parse_record

    def column_reader(self, header_line: str | None, file_name: str) -> ReadColumns | None:  # noqa: ARG002 - no header
        """See :meth:`pipeline.sources.base.Source.column_reader`."""
        fields = plain_fields(self.columns)
        make = self.event_maker()
        if fields is None or make is None:
            return None
        context = self.columns.context
        ignored_by = self.field_rules.ignored_by
        if not can_find([*fields.values(), *context.values(), *ignored_by]):
            return None
        exact = [fields[name] for name in IDENTITIES & fields.keys() if self.field_rules.trim]
        split = JsonColumns(fields, context, ignored_by, exact)
        return lambda block: make(split(block))

    def event_maker(self) -> MakeEvents | None:
        """What makes events of columns of texts, or None where only the parser can."""
        return event_maker(
            self.time_unit,
            self.epoch,
            self.default_event_type,
            self.event_types,
            self.field_rules,
        )

    def arrival_hour(self, file_name: str) -> Hour | None:
        """The hour in the file's name, or of a folder called like ``2016-03-14T13``."""
        match = self.file_hour.search(file_name) if self.file_hour else None
        if match is None:
            return hour_of_folder(file_name)
        return hour_or_none(f"{match[1]}T{int(match[2]):02d}")

    def rules(self) -> dict[str, Any]:
        """See :meth:`pipeline.sources.base.Source.rules`."""
        return rules_of(self, "json_lines")
