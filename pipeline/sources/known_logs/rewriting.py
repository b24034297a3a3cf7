"""Logs whose lines are read as others, which say in columns what a line says otherwise."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any, ClassVar, NamedTuple

from pipeline.hours import Hour
from pipeline.sources.base import STRAY_RETURN, Parsed, Parser, Record, Refusal, events_of
from pipeline.sources.columns.types import ReadColumns
from pipeline.sources.delimited import DelimitedSource
from pipeline.sources.quoted_records.quotes import Quotes


class Rewritten(NamedTuple):
    """A record of a line: as a line of delimited columns, and as quarantine keeps it."""

    line: str | Refusal
    text: str


Rewrite = Callable[[str], list[Rewritten] | Refusal]


@dataclass(frozen=True)
class Rewriting:
    """``begin`` makes, for each file, a function from a line to its records.

    It is given the file's header if it has one.  ``header`` makes of it that of the records.  Read
    again, alone, the text of a record is that record.
    """

    name: str
    begin: Callable[[str | None], Rewrite]
    header: Callable[[str], str] = str
    lines_stand_alone: bool = True


@dataclass(frozen=True)
class RewrittenSource:
    """A delimited log of other lines than those of its files; ``records`` says how these read."""

    name: str
    pattern: str
    records: DelimitedSource
    rewriting: Rewriting
    record_quotes: ClassVar[Quotes | None] = None

    @property
    def has_header(self) -> bool:
        """See :class:`pipeline.sources.base.Source`."""
        return self.records.has_header

    @property
    def has_keys(self) -> bool:
        """See :class:`pipeline.sources.base.Source`."""
        return self.records.has_keys

    @property
    def lines_stand_alone(self) -> bool:
        """See :class:`pipeline.sources.base.Source`."""
        return self.rewriting.lines_stand_alone

    def parser(self, header_line: str | None, file_name: str) -> Parser:
        """See :meth:`pipeline.sources.base.Source.parser`."""
        header = None if header_line is None else self.rewriting.header(header_line)
        parse_record = self.records.parser(header, file_name)
        rewrite = self.rewriting.begin(header_line)

        def record_of(rewritten: Rewritten) -> Record:
            line, text = rewritten
            (event,) = events_of(line if isinstance(line, Refusal) else parse_record(line))
            return Record(event, lambda: text)

        def parse(line: str) -> Parsed:
            records = rewrite(line)
            if isinstance(records, Refusal):
                return STRAY_RETURN if "\r" in line else records
            return [record_of(rewritten) for rewritten in records]

        return parse

    def column_reader(self, header_line: str | None, file_name: str) -> ReadColumns | None:  # noqa: ARG002 - see below
        """None: only the parser reads such lines."""
        return None

    def arrival_hour(self, file_name: str) -> Hour | None:
        """See :meth:`pipeline.sources.base.Source.arrival_hour`."""
        return self.records.arrival_hour(file_name)

    def rules(self) -> dict[str, Any]:
        """See :meth:`pipeline.sources.base.Source.rules`."""
        return {**self.records.rules(), "rewriting": self.rewriting.name}


# A list of news in a column of a view of MIND.

MIND_COLUMNS = ("impression", "user", "time", "history", "impressions")
_IMPRESSION = re.compile(r"([^-\s]+)-([01])")
_NOT_A_VIEW = Refusal("not the five columns of behaviors.tsv")
_NOT_LABELLED = Refusal("an impression does not say whether it was clicked")


def _impressions(_header: str | None) -> Rewrite:
    return _each_of("impressions", _shown_or_clicked)


def _history(_header: str | None) -> Rewrite:
    return _each_of("history", str)


def _each_of(column: str, cut: Callable[[str], str | Refusal]) -> Rewrite:
    """Every element of a column's list as a record: its view, the element, its number.

    A view ``7, ann, noon, , N1-0 N2-1`` has the records ``7, ann, noon, N1, 0, 0`` and ``7, ann,
    noon, N2, 1, 1``; quarantine would keep ``7, ann, noon, , N1-0, 0`` of the first.
    """
    at = MIND_COLUMNS.index(column)

    def rewrite(line: str) -> list[Rewritten] | Refusal:
        fields = line.split("\t")
        nth = None
        if len(fields) == len(MIND_COLUMNS) + 1 and fields[-1].isdecimal():
            nth = fields.pop()
        if len(fields) != len(MIND_COLUMNS):
            return _NOT_A_VIEW
        view = fields[:3]
        records = []
        for number, element in enumerate(fields[at].split()):
            name = nth or str(number)
            lists = [element if nr == at else "" for nr in range(3, len(MIND_COLUMNS))]
            columns = cut(element)
            records.append(
                Rewritten(
                    columns if isinstance(columns, Refusal) else "\t".join([*view, columns, name]),
                    "\t".join([*view, *lists, name]),
                )
            )
        return records

    return rewrite


def _shown_or_clicked(element: str) -> str | Refusal:
    match = _IMPRESSION.fullmatch(element)
    return "\t".join(match.groups()) if match else _NOT_LABELLED


MIND_IMPRESSIONS = Rewriting("mind impressions", _impressions)
MIND_HISTORY = Rewriting("mind history", _history)


# A day and the milliseconds of a session in it, as Diginetica has them.

TIME = "time"
_SEPARATOR = ";"
_MS_PER_DAY = 86_400_000
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_MOST_DIGITS = 15
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def _add_time(header: str) -> str:
    return f"{header}{_SEPARATOR}{TIME}"


def _times(header: str | None) -> Rewrite:
    names = [name.strip() for name in (header or "").split(_SEPARATOR)]
    day_at, ms_at = (
        names.index(name) if name in names else -1 for name in ("eventdate", "timeframe")
    )

    def rewrite(line: str) -> list[Rewritten] | Refusal:
        fields = line.split(_SEPARATOR)
        if len(fields) != len(names) or min(day_at, ms_at) < 0:
            return Refusal(f"{len(fields)} fields where {len(names)} were expected")
        time = _milliseconds(fields[day_at].strip(), fields[ms_at].strip())
        return [Rewritten(f"{line}{_SEPARATOR}{time}", line)]

    return rewrite


def _milliseconds(day: str, ms: str) -> str:
    """Milliseconds since 1970; what cannot be read stays, to be refused as what it is."""
    if not ms.isdecimal() or not ms.isascii() or len(ms) > _MOST_DIGITS:
        return ms and f"{day} {ms[:_MOST_DIGITS]}"
    if not _DAY.fullmatch(day):
        return day
    try:
        days = date.fromisoformat(day).toordinal() - _EPOCH_DAY
    except ValueError:
        return day
    return str(days * _MS_PER_DAY + int(ms))


DIGINETICA_TIMES = Rewriting("diginetica times", _times, _add_time)


# Ratings of Netflix, below the film that they are of.

_FILM = re.compile(r"([0-9]{1,9}):\s*")
_RATING_WITH_FILM = re.compile(r"([0-9]{1,9}):([^:]*,[^:]*)")
_LONGEST_RATING = 64
NO_FILM = Refusal("the film is not known: no line before says it, or one that cannot be read")


def _ratings(_header: str | None) -> Rewrite:
    """A function that knows of which film the lines are that it is given next.

    Of ``8:``, ``71,4,2005-02-06`` and ``9:`` only the second is a record, of the film 8.  After a
    line that may have been another film's, whatever it is, no rating is of a film that is known.
    """
    film: str | None = None

    def rewrite(line: str) -> list[Rewritten] | Refusal:
        nonlocal film
        heading = _FILM.fullmatch(line)
        if heading is not None:
            film = heading[1]
            return []
        whole = _RATING_WITH_FILM.fullmatch(line)
        if whole is not None:
            # As quarantine keeps a rating; in a file, a film whose line has lost its end.
            film = whole[1]
            return [Rewritten(f"{film},{whole[2]}", line)]
        if "," not in line or ":" in line or len(line) > _LONGEST_RATING:
            film = None
        if film is None:
            return NO_FILM
        return [Rewritten(f"{film},{line}", f"{film}:{line}")]

    return rewrite


NETFLIX_RATINGS = Rewriting("netflix ratings", _ratings, lines_stand_alone=False)
