"""Logs of JSON lines: one object a line, its fields found by dotted paths."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.hours import Hour
from pipeline.settings.source import ColumnSettings
from pipeline.sources.base import (
    STRAY_RETURN,
    Ignored,
    Parsed,
    ParsedEvent,
    Parser,
    Record,
    Refusal,
    folder_columns,
    hour_of_folder,
    hour_or_none,
    rules_of,
)
from pipeline.sources.columns.fields import MakeEvents, event_maker
from pipeline.sources.columns.json_lines import JsonColumns, can_find
from pipeline.sources.columns.types import EventColumns, LineBlock, ReadColumns, TextColumns
from pipeline.sources.field_rules import NO_RULES, FieldRules
from pipeline.sources.fields import (
    DROPPABLE,
    UNIX_EPOCH,
    TimeUnit,
    event_builder,
    fields_read,
    is_storable,
    plain_fields,
    time_reader,
)
from pipeline.sources.ignoring import ignorer
from pipeline.sources.json_records.elements import ElementTexts, list_at
from pipeline.sources.json_records.readers import (
    MakeReader,
    Object,
    ReadField,
    Value,
    field_reader,
    filled_reader,
    identity_reader,
    json_decoder,
)
from pipeline.sources.paths import ELEMENT, below_list, nth_name, with_nth
from pipeline.sources.quoted_records.quotes import Quotes

NOT_JSON = Refusal("not valid JSON")
NOT_AN_OBJECT = Refusal("not a JSON object")
NOT_STORABLE = Refusal("a text holds a NUL or half a surrogate pair")
_NOT_PLAIN = "is a list or an object"

# Of a number that is an id it does not matter how it is written.
IDENTITIES = frozenset({"user_id", "user_fallback", "item_id", "event_key", "given_session"})

ParseRecord = Callable[[Object, bool], ParsedEvent | Refusal | Ignored]
ParseElement = Callable[[Object], ParsedEvent | Refusal | Ignored]


@dataclass(frozen=True)
class JsonLinesSource:
    """A JSON-lines format: which dotted path feeds which field.

    ``file_hour``, when given, finds the arrival hour in a file's name: its first group is a date,
    its second an hour of the day.  ``explode`` is the path of a list each of whose elements is a
    record: the other fields are those of its line.
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
    explode: str | None = None
    lines_stand_alone: ClassVar[bool] = True
    record_quotes: ClassVar[Quotes | None] = None

    @property
    def has_keys(self) -> bool:
        """See :class:`pipeline.sources.base.Source`."""
        return self.columns.event_key is not None

    def parser(self, header_line: str | None, file_name: str) -> Parser:  # noqa: ARG002 - no header
        """See :meth:`pipeline.sources.base.Source.parser`."""
        parse_record = self.record_parser(self._make_reader(folder_columns(file_name)))
        decode = json_decoder().decode
        explode = None if self.explode is None else self._exploding_parser(self.explode)

        def parse(line: str) -> Parsed:
            try:
                record = decode(line)
            except (ValueError, RecursionError):
                return STRAY_RETURN if "\r" in line else NOT_JSON
            if not isinstance(record, dict):
                return NOT_AN_OBJECT
            # Only an escape can bring in what a line of valid text cannot hold.
            may_hold_any = "\\u" in line
            if explode is None:
                return parse_record(record, may_hold_any)
            return explode(line, record, lambda record: parse_record(record, may_hold_any))

        return parse

    def _make_reader(self, folder: dict[str, str]) -> MakeReader:
        """What makes readers of paths: into the element, and to what only the folders say."""

        def make(path: str | None) -> ReadField:
            below = None
            if path is not None and self.explode is not None:
                below = below_list(path, self.explode)
            read = field_reader(path if below is None else ELEMENT + below)
            of_folder = folder.get(path or "", "")
            return filled_reader(read, of_folder) if of_folder else read

        return make

    def _exploding_parser(self, explode: str) -> Callable[[str, Object, ParseElement], Parsed]:
        """What makes records of a line, its object, and what makes an event of a record."""
        nth_key = nth_name(explode)
        not_a_list = Refusal(f"{explode} is not a list")
        keys = self.columns.key_columns
        numbers_keys = bool(keys) and all(below_list(key, explode) is None for key in keys)

        def parse(
            line: str,
            record: Object,
            parse_record: ParseElement,
        ) -> Parsed:
            def of_element(element: Value, nth: int) -> ParsedEvent | Refusal | Ignored:
                event = parse_record({**record, ELEMENT: element})
                if numbers_keys and isinstance(event, ParsedEvent):
                    return with_nth(event, nth)
                return event

            elements = list_at(record, explode)
            nth = record.get(nth_key)
            if nth.__class__ is int:
                # A record as quarantine keeps it.
                return of_element(elements, nth)
            if elements is not None and not isinstance(elements, list):
                return not_a_list
            texts = ElementTexts(line, explode)
            return [
                Record(of_element(element, nth), partial(texts.text, nth))
                for nth, element in enumerate(elements or [None])
            ]

        return parse

    def record_parser(self, make_reader: MakeReader = field_reader) -> ParseRecord:
        """What makes an event of the object that a line is.

        Its second argument says whether a text may hold what no table can.
        """
        rules = self.field_rules
        fields = fields_read(self.columns)
        readers = [
            identity_reader(make_reader(path))
            if rules.trim and field in IDENTITIES
            else make_reader(path)
            for field, path in fields
        ]
        not_plain = [Refusal(f"{field} {_NOT_PLAIN}") for field, _ in fields]
        drops = [rules.drops and field in DROPPABLE for field, _ in fields]
        context_readers = [
            (field, make_reader(path)) for field, path in self.columns.context.items()
        ]
        build = event_builder(
            time_reader(self.time_unit, self.epoch, rules),
            self.default_event_type,
            self.event_types,
            rules,
            self.columns,
        )
        ignored = ignorer(
            rules, make_reader, make_reader(self.columns.event_type), self.default_event_type
        )

        def parse_record(record: Object, may_hold_any: bool) -> ParsedEvent | Refusal | Ignored:
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
        if fields is None or make is None or self.explode is not None:
            return None
        context = self.columns.context
        ignored_by = self.field_rules.ignored_by
        if not can_find([*fields.values(), *context.values(), *ignored_by]):
            return None
        exact = [fields[name] for name in IDENTITIES & fields.keys() if self.field_rules.trim]
        split = JsonColumns(fields, context, ignored_by, exact)
        folder = {path: text for path, text in folder_columns(file_name).items() if text}
        if folder.keys().isdisjoint([*fields.values(), *context.values(), *ignored_by]):
            return lambda block: make(split(block))

        def filled(columns: dict[str, pa.Array], path_of: dict[str, str]) -> dict[str, pa.Array]:
            return {
                name: pc.if_else(pc.equal(texts, ""), folder[path_of[name]], texts)
                if path_of[name] in folder
                else texts
                for name, texts in columns.items()
            }

        def read(block: LineBlock) -> EventColumns:
            line, of_fields, of_context, ruled = split(block)
            by_rules = {path: path for path in ignored_by}
            return make(
                TextColumns(
                    line,
                    filled(of_fields, fields),
                    filled(of_context, context),
                    filled(ruled, by_rules),
                )
            )

        return read

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
