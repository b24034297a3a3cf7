"""What a source of raw logs is: a named format that turns one line into an event or a refusal."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields
from typing import Any, NamedTuple, Protocol
from urllib.parse import unquote

from pipeline.errors import HourglassError
from pipeline.hours import Hour
from pipeline.settings.section import Section
from pipeline.sources.columns.types import ReadColumns
from pipeline.sources.field_rules import FieldRules
from pipeline.sources.quoted_records.quotes import Quotes

_HOUR_FOLDER = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}")
# What Hive calls a folder whose column is null.
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"


class ParsedEvent(NamedTuple):
    """One interaction as its line tells it.

    ``event_time_us`` is microseconds since 1970 (UTC).  ``event_key`` is the log's own identity
    of the record; None where it has none, and the pipeline then derives one from the content.
    ``dropped`` says of each optional field that could not be read, and was left out, why.
    """

    event_time_us: int
    user_id: str
    item_id: str
    event_type: str
    value: float | None
    given_session: str | None
    context: dict[str, str]
    event_key: str | None
    dropped: tuple[str, ...] = ()


class UnreadableHeaderError(HourglassError):
    """A first line that is no header whatever the settings: it holds records, or is torn."""


class HeaderError(HourglassError):
    """A header that does not fit the settings.

    ``fault`` says so of its file; ``reason``, short, is why the records below it are refused.
    ``may_be_record``: the line reads like a record of a file that has no header.
    """

    def __init__(self, file_name: str, fault: str, reason: str) -> None:
        super().__init__(file_name, fault, reason)
        self.file_name, self.fault, self.reason = map(str, self.args)  # without secrets
        self.may_be_record = False

    def __str__(self) -> str:
        return f"{self.file_name}: {self.fault}"


class Refusal(NamedTuple):
    """Why a line is not an event: short, and the same text for the same kind of fault.

    ``event_type`` is the record's own where that is what is wrong; a summary names the most
    frequent ones.
    """

    reason: str
    event_type: str | None = None


class Ignored(NamedTuple):
    """Which rule of ``source.ignore`` says that a record is none of our business."""

    rule: str


class Record:
    """A record of a line that has several, or none that can be read without the lines before.

    ``event`` is what becomes of it.  ``text`` is what quarantine keeps of it: read again, alone, it
    is this record, and no other one of its line has the same.
    """

    __slots__ = ("_text", "event")

    def __init__(self, event: ParsedEvent | Refusal | Ignored, text: Callable[[], str]) -> None:
        self.event = event
        # Made when it is asked for: few records are refused.
        self._text = text

    @property
    def text(self) -> str:
        """The record as a line of its own."""
        return self._text()


#: What becomes of a line: it is a record, or has some, or none.
Parsed = ParsedEvent | Refusal | Ignored | list[Record]
Parser = Callable[[str], Parsed]


def events_of(parsed: Parsed) -> list[ParsedEvent | Refusal | Ignored]:
    """What becomes of each record of a line."""
    return [record.event for record in parsed] if isinstance(parsed, list) else [parsed]


STRAY_RETURN = Refusal("holds a carriage return")


class Source(Protocol):
    """A log format.  Sources are picklable; the parsers they hand out need not be."""

    @property
    def name(self) -> str:
        """What ``source.name`` calls it."""

    @property
    def pattern(self) -> str:
        """Glob of its files below ``source.path``: the settings' own, or else the format's."""

    @property
    def has_header(self) -> bool:
        """Whether the first line of each file names the columns (and so is not a record)."""

    @property
    def has_keys(self) -> bool:
        """Whether records have a field that is their ``event_key``."""

    @property
    def lines_stand_alone(self) -> bool:
        """Whether what a line becomes is told by the line and the header alone.

        Where it is not, a parser is given all lines of a file in their order, those that cannot be
        read too, and no file may be cut.
        """

    @property
    def record_quotes(self) -> Quotes | None:
        """Within what a record may have line ends; None where it is one physical line."""

    def parser(self, header_line: str | None, file_name: str) -> Parser:
        """A function that reads the lines of one file and never raises on one.

        Args:
            header_line: the file's first line where ``has_header``; None where it has no
                header, or none that can be read, and then every line is refused.
            file_name: named in the error.

        Raises:
            UnreadableHeaderError: the first line holds line ends of another kind than its own.
            HeaderError: the header lacks a column that is needed, or is no header.
        """

    def column_reader(self, header_line: str | None, file_name: str) -> ReadColumns | None:
        """What reads many lines of one file at once, or None where only the parser can.

        It never raises: of a header that cannot be read it makes None.
        """

    def arrival_hour(self, file_name: str) -> Hour | None:
        """The hour in the file's path, where the landing zone names its files so."""

    def rules(self) -> dict[str, Any]:
        """All that decides what a line becomes, ready for JSON (see :func:`rules_of`)."""


def rules_of(source: Source, line_format: str) -> dict[str, Any]:
    """The fields of a source, a dataclass, that decide what a line becomes.

    Its name and pattern do not.  A field at its default is left out, so that a field added later
    does not make rules of before look like others.
    """
    rules: dict[str, Any] = {"format": line_format}
    for field in fields(source):  # type: ignore[arg-type]
        value = getattr(source, field.name)
        if field.name in ("name", "pattern") or value == field.default:
            continue
        if isinstance(value, Section):
            rules[field.name] = value.model_dump(exclude_defaults=True)
        elif isinstance(value, FieldRules):
            rules.update(value.rules())
        elif isinstance(value, re.Pattern):
            rules[field.name] = value.pattern
        elif isinstance(value, Hour):
            rules[field.name] = str(value)
        elif field.name == "event_types":
            rules[field.name] = sorted(set(value))
        else:
            rules[field.name] = value
    return rules


def refuse_all(reason: str) -> Parser:
    """A parser for a file none of whose lines can be understood."""
    refusal = Refusal(reason)
    return lambda _line: refusal


def hour_of_folder(file_name: str) -> Hour | None:
    """The hour of the innermost folder called like ``2016-03-14T13``, if there is one."""
    for folder in reversed(file_name.replace("\\", "/").split("/")[:-1]):
        if _HOUR_FOLDER.fullmatch(folder):
            return hour_or_none(folder)
    return None


def folder_columns(file_name: str) -> dict[str, str]:
    """The columns that the folders of a file's path name, as Hive has them; of two the inner one.

    ``event_date=2024-01-05/country=de/part-0`` has two.  Names and values are as in a URL
    (``a%2Fb`` is ``a/b``); "" is nothing.
    """
    columns = {}
    for folder in file_name.split("/")[:-1]:
        name, equals, value = folder.partition("=")
        if name and equals:
            columns[_decoded(name)] = "" if value == _NO_VALUE else _decoded(value)
    return columns


def _decoded(text: str) -> str:
    """The text that a part of a URL stands for; the part itself where no table can hold that."""
    try:
        decoded = unquote(text, errors="strict")
    except UnicodeDecodeError:
        return text
    return text if "\0" in decoded else decoded


def hour_or_none(text: str) -> Hour | None:
    """The hour that a file's name tells, or None where it tells an impossible one."""
    try:
        return Hour.parse(text)
    except HourglassError:
        return None
