"""Web server access logs: the NASA traces as TSV, or Common and Combined Log Format lines."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from pipeline.hours import Hour
from pipeline.settings.settings import ColumnSettings, SourceSettings
from pipeline.sources.base import (
    STRAY_RETURN,
    ParsedEvent,
    Parser,
    Refusal,
    Source,
    hour_of_folder,
    rules_of,
)
from pipeline.sources.delimited import DelimitedSource
from pipeline.sources.fields import event_builder, instant_us

NAME = "access_log"
PATTERN = "**/*"

_TSV_COLUMNS = ColumnSettings(
    event_time="time",
    user_id="host",
    item_id="url",
    event_type="method",
    value="bytes",
    context={"response": "response"},
)
_LINE = re.compile(
    r"(?P<host>\S+) \S+ [^\[]*\[(?P<time>[^\]]*)\] "
    r'"(?P<request>(?:[^"\\]|\\.)*)" (?P<response>[0-9]{3}|-) (?P<bytes>[0-9]+|-)(?: .*)?'
)
_REQUEST = re.compile(r"(?P<method>[A-Za-z]+) (?P<url>\S+)(?: +HTTP/[0-9.]+)? *")
_TIME = re.compile(
    r"([0-9]{2})/([A-Za-z]{3})/([0-9]{4}):([0-9]{2}):([0-9]{2}):([0-9]{2})"
    r"(?: ([+-])([0-9]{2})([0-9]{2}))?"
)
_MONTHS = {
    name: month
    for month, name in enumerate(
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"], 1
    )
}

NOT_A_LOG_LINE = Refusal("not a Common Log Format line")
NOT_A_REQUEST = Refusal("its request is not a method and a URL")
BAD_TIME = Refusal("event_time is not a Common Log Format time")


def source(settings: SourceSettings, pattern: str) -> Source:
    """Requests of a host for a URL; the event's type is the method, its value the bytes sent.

    With ``source.header`` (the default) files are TSV with the header ``host logname time method
    url response bytes`` and times in Unix seconds; without it their lines are Common Log Format.
    """
    if not settings.header:
        return CommonLogSource(NAME, pattern, settings.event_types)
    return HeadedLogSource(
        NAME,
        pattern,
        _TSV_COLUMNS,
        delimiter="\t",
        quote=None,
        event_types=settings.event_types,
    )


@dataclass(frozen=True)
class HeadedLogSource(DelimitedSource):
    """The same requests as TSV; who has a server's own log is told how to read it."""

    def column_remedy(self, field: str, names: Sequence[str]) -> str:
        """See :meth:`DelimitedSource.column_remedy`."""
        if _LINE.fullmatch("\t".join(names)):
            return (
                "this is a line of a web server's own log: set source.header: false to read it so"
            )
        return super().column_remedy(field, names)


@dataclass(frozen=True)
class CommonLogSource:
    """Common Log Format; what Combined Log Format adds after the bytes is passed over."""

    name: str
    pattern: str
    event_types: tuple[str, ...] = ()
    has_header: bool = False
    has_keys: bool = False

    def parser(self, header_line: str | None, file_name: str) -> Parser:  # noqa: ARG002 - no header
        """See :meth:`pipeline.sources.base.Source.parser`."""
        build = event_builder(read_log_time, "GET", self.event_types)

        def parse(line: str) -> ParsedEvent | Refusal:
            match = _LINE.fullmatch(line)
            if match is None:
                return STRAY_RETURN if "\r" in line else NOT_A_LOG_LINE
            request = _REQUEST.fullmatch(match["request"])
            if request is None:
                return NOT_A_REQUEST
            size = "" if match["bytes"] == "-" else match["bytes"]
            context = {"response": match["response"]} if match["response"] != "-" else {}
            texts = (match["time"], match["host"], request["url"], request["method"], size, "", "")
            return build(texts, context)

        return parse

    def arrival_hour(self, file_name: str) -> Hour | None:
        """The hour of a folder called like ``2016-03-14T13``, else None."""
        return hour_of_folder(file_name)

    def rules(self) -> dict[str, Any]:
        """See :meth:`pipeline.sources.base.Source.rules`."""
        return rules_of(self, "common_log")


def read_log_time(text: str) -> int | Refusal:
    """Microseconds since 1970 of ``01/Jul/1995:00:00:01 -0400``; no offset means UTC."""
    match = _TIME.fullmatch(text)
    month = _MONTHS.get(match[2].title()) if match else None
    if match is None or month is None:
        return BAD_TIME
    zone = UTC
    if match[7]:
        offset = timedelta(hours=int(match[8]), minutes=int(match[9]))
        if offset >= timedelta(days=1):
            return BAD_TIME
        zone = timezone(-offset if match[7] == "-" else offset)
    try:
        instant = datetime(
            int(match[3]),
            month,
            int(match[1]),
            int(match[4]),
            int(match[5]),
            int(match[6]),
            tzinfo=zone,
        )
    except ValueError:
        return BAD_TIME
    return instant_us(instant)
