"""Web server access logs: the NASA traces as TSV, or Common and Combined Log Format lines."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from ipaddress import ip_address
from typing import Any, ClassVar

from pipeline.errors import UsageError
from pipeline.hours import Hour
from pipeline.settings.source import ColumnSettings, SourceSettings
from pipeline.sources.base import (
    STRAY_RETURN,
    Ignored,
    ParsedEvent,
    Parser,
    Refusal,
    Source,
    hour_of_folder,
    rules_of,
)
from pipeline.sources.columns.fields import event_maker
from pipeline.sources.columns.log_lines import MONTHS, LogColumns
from pipeline.sources.columns.types import ReadColumns
from pipeline.sources.delimited import DelimitedSource
from pipeline.sources.field_rules import NO_RULES, FieldRules, field_rules_of
from pipeline.sources.fields import event_builder
from pipeline.sources.ignoring import ignorer
from pipeline.sources.quoted_records.quotes import Quotes
from pipeline.sources.times import UNIX_EPOCH, instant_us, local_zone

NAME = "access_log"
PATTERN = "**/*"
_METHOD = "GET"

_TSV_COLUMNS = ColumnSettings(
    event_time="time",
    user_id="host",
    item_id="url",
    event_type="method",
    value="bytes",
    context={"response": "response"},
)
_LINE = re.compile(
    r"(?P<head>\S+ \S+ [^\[]*)\[(?P<time>[^\]]*)\] "
    r'"(?P<request>(?:[^"\\]|\\.)*)" (?P<response>[0-9]{3}|-) (?P<bytes>[0-9]+|-)(?P<rest> .*)?'
)
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
# Before the client: the name of the server that it asked for, and the port.
_SERVER = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[^\s:,\[\]]+):[0-9]{1,5}")
_PORT = re.compile(r":[0-9]{1,5}$")
_ADDRESS_AND_PORT = re.compile(
    r"([0-9]+(?:\.[0-9]+){3}):[0-9]{1,5}|\[([0-9A-Fa-f:.]+)\](?::[0-9]{1,5})?"
)
_WITH_SERVER = 4  # server, client, ident, user
_NOBODY = frozenset({"", "-", "unknown"})
_REQUEST = re.compile(r"(?P<method>[A-Za-z]+) (?P<url>\S+)(?: +HTTP/[0-9.]+)? *")
_TIME = re.compile(
    r"([0-9]{2})/([A-Za-z]{3})/([0-9]{4}):([0-9]{2}):([0-9]{2}):([0-9]{2})"
    r"(?: ([+-])([0-9]{2})([0-9]{2}))?"
)
_MONTHS = {name: nth for nth, name in enumerate(MONTHS, 1)}

NOT_A_LOG_LINE = Refusal("not a Common Log Format line")
NOT_A_REQUEST = Refusal("its request is not a method and a URL")
BAD_TIME = Refusal("event_time is not a Common Log Format time")


def source(settings: SourceSettings, pattern: str) -> Source:
    """Requests of a host for a URL; the event's type is the method, its value the bytes sent.

    With ``source.header`` (the default) files are TSV with the header ``host logname time method
    url response bytes`` and times in Unix seconds; without it their lines are Common Log Format.
    """
    if not settings.header:
        return CommonLogSource(
            NAME, pattern, settings.event_types, field_rules=field_rules_of(settings)
        )
    return HeadedLogSource(
        NAME,
        pattern,
        _TSV_COLUMNS,
        delimiter="\t",
        quote=None,
        event_types=settings.event_types,
        field_rules=field_rules_of(settings),
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
    """Common and Combined Log Format, with or without the server's name before the client's.

    What stands after the bytes is passed over, except by ``source.ignore``, whose columns are
    those of :data:`IGNORE_COLUMNS`.
    """

    name: str
    pattern: str
    event_types: tuple[str, ...] = ()
    has_header: bool = False
    has_keys: bool = False
    field_rules: FieldRules = NO_RULES
    lines_stand_alone: ClassVar[bool] = True
    record_quotes: ClassVar[Quotes | None] = None

    def parser(self, header_line: str | None, file_name: str) -> Parser:  # noqa: ARG002 - no header
        """See :meth:`pipeline.sources.base.Source.parser`."""
        rules = self.field_rules
        zone = local_zone(rules)
        build = event_builder(
            lambda text: read_log_time(text, zone), _METHOD, self.event_types, rules
        )
        ignored = ignorer(rules, _ignore_column, _ignore_column("method"), _METHOD)

        def parse(line: str) -> ParsedEvent | Refusal | Ignored:
            match = _LINE.fullmatch(line)
            if match is None:
                return STRAY_RETURN if "\r" in line else NOT_A_LOG_LINE
            if ignored is not None and (answer := ignored(match)) is not None:
                return answer
            request = _REQUEST.fullmatch(match["request"])
            if request is None:
                return NOT_A_REQUEST
            size = "" if match["bytes"] == "-" else match["bytes"]
            context = {"response": match["response"]} if match["response"] != "-" else {}
            if server := server_of(match["head"]):
                context["server"] = server
            client = client_of(match["head"])
            texts = (match["time"], client, request["url"], request["method"], size, "", "")
            return build(texts, context)

        return parse

    def column_reader(self, header_line: str | None, file_name: str) -> ReadColumns | None:  # noqa: ARG002 - no header
        """See :meth:`pipeline.sources.base.Source.column_reader`."""
        rules = self.field_rules
        make = event_maker("iso8601", UNIX_EPOCH, _METHOD, self.event_types, rules)
        if make is None or not set(rules.ignored_by) <= set(IGNORE_COLUMNS):
            return None
        split = LogColumns(_LINE.pattern, _REQUEST.pattern, client_of, server_of, rules.ignored_by)
        return lambda block: make(split(block))

    def arrival_hour(self, file_name: str) -> Hour | None:
        """The hour of a folder called like ``2016-03-14T13``, else None."""
        return hour_of_folder(file_name)

    def rules(self) -> dict[str, Any]:
        """See :meth:`pipeline.sources.base.Source.rules`."""
        # The first kind took whatever stands first in a line for the client, the second brackets
        # of an address for a part of it, and passed over the server's name.
        return rules_of(self, "common_log 3")


def client_of(head: str) -> str:
    """Who asked, of what stands before a line's time: address or host; "" where nobody is named.

    The server's name before it (``shop.example:443 203.0.113.5 - -``) is passed over.  Of a list
    of addresses, as proxies make them, the first is the client's, and so it is without its port
    and, of IPv6, without brackets.
    """
    words = head.split()
    if _begins_with_server(words):
        words = words[1:]
    if "," not in words[0] and words[0] not in _NOBODY:
        return _without_port(words[0])
    for word in words:
        for address in word.split(","):
            if address not in _NOBODY:
                return _without_port(address)
        if not word.endswith(","):
            return ""
    return ""


def server_of(head: str) -> str:
    """The name, without its port, of the server that was asked; "" where a line does not tell."""
    words = head.split()
    if not _begins_with_server(words) or words[0] in _NOBODY:
        return ""
    return _PORT.sub("", words[0])


def _begins_with_server(words: Sequence[str]) -> bool:
    if len(words) < _WITH_SERVER or words[0].endswith(","):
        return False
    is_server = _SERVER.fullmatch(words[0]) is not None
    return is_server or _is_address(_without_port(words[1].split(",")[0]))


def _is_address(word: str) -> bool:
    try:
        ip_address(word)
    except ValueError:
        return False
    return True


def _without_port(client: str) -> str:
    match = _ADDRESS_AND_PORT.fullmatch(client)
    return client if match is None else match[1] or match[2]


#: What ``source.ignore`` may name of a line of the log.
IGNORE_COLUMNS = (
    "server",
    "host",
    "time",
    "request",
    "method",
    "url",
    "response",
    "bytes",
    "referer",
    "user_agent",
)


def _ignore_column(column: str) -> Callable[[re.Match[str]], str]:
    """What reads a column of a line, "" where a dash stands for nothing.

    Raises:
        UsageError: lines have no such column.
    """
    if column not in IGNORE_COLUMNS:
        raise UsageError(
            f"source.ignore names the column {column!r}: a web log has {', '.join(IGNORE_COLUMNS)}"
        )

    def read(match: re.Match[str]) -> str:
        if column == "host":
            text = client_of(match["head"])
        elif column == "server":
            text = server_of(match["head"])
        elif column in ("method", "url"):
            request = _REQUEST.fullmatch(match["request"])
            text = "" if request is None else request[column]
        elif column in ("referer", "user_agent"):
            quoted = _QUOTED.findall(match["rest"] or "")
            at = ("referer", "user_agent").index(column)
            text = quoted[at] if len(quoted) > at else ""
        else:
            text = match[column]
        # A request of a dash is a client that said nothing: rules name it so.
        return "" if text == "-" and column != "request" else text

    return read


def read_log_time(text: str, local: tzinfo = UTC) -> int | Refusal:
    """Microseconds since 1970 of ``01/Jul/1995:00:00:01 -0400``; no offset means ``local``."""
    match = _TIME.fullmatch(text)
    month = _MONTHS.get(match[2].title()) if match else None
    if match is None or month is None:
        return BAD_TIME
    zone: tzinfo | None = None
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
    return instant_us(instant, local)
